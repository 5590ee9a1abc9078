"""A decoder-only language model: token ids come in; logits, a loss, or each token's nats go out.

Tensor for tensor it is Qwen3 (same names, shapes and arithmetic), so its folders export to what runs Qwen3,
and Qwen3's load here. It differs where Qwen3 in transformers goes wrong or wastes: packed documents never
see each other, a cache exists only when asked for, and `targets=` trains without the logits of a whole
batch.

    model(input_ids, labels=ids)                        # Hugging Face's meaning: shifted inside, mean loss
    model(input_ids, targets=next_ids, position_ids=…)  # already shifted, -100 untrained: loss_sum, count

Shapes: B rows, T tokens of a row, D hidden width, N trained tokens, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from transformers import GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.cache_utils import Cache, DynamicCache
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import BaseModelOutputWithPast, ModelOutput
from transformers.utils import can_return_tuple, logging
from transformers.utils.output_capturing import capture_outputs

from .configuration_yaya_gpt import YayaGPTConfig
from .documents_yaya_gpt import Documents, documents, positions_in_documents
from .head_yaya_gpt import YayaGPTHead
from .layers_yaya_gpt import (
    YayaGPTAttention,
    YayaGPTDecoderLayer,
    YayaGPTResidualLinear,
    YayaGPTRMSNorm,
    rotations,
)
from .varlen_yaya_gpt import why_no_varlen

logger = logging.get_logger(__name__)


@dataclass
class YayaOutput(ModelOutput):
    """What the model answers; a field nobody asked for is None."""

    loss: torch.Tensor | None = None
    """Mean nats a token (`labels=`)."""
    logits: torch.Tensor | None = None
    """[B, T, V]; None with `targets=`."""
    loss_sum: torch.Tensor | None = None
    """Sum of nats over the trained tokens, float32 (`targets=`); with `label_smoothing` the smoothed loss."""
    count: torch.Tensor | None = None
    """How many tokens are trained, on the device."""
    nats: torch.Tensor | None = None
    """[B, T] float32, 0 where untrained (`per_token=True`), never smoothed; differentiable where gradients are on."""
    past_key_values: Cache | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class YayaGPTPreTrainedModel(PreTrainedModel):
    """What both models share with transformers."""

    config: YayaGPTConfig
    config_class = YayaGPTConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["YayaGPTDecoderLayer"]  # noqa: RUF012
    _skip_keys_device_placement = ["past_key_values"]  # noqa: RUF012
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_flex_attn = True
    _can_compile_fullgraph = True
    _supports_attention_backend = True
    _can_record_outputs = {"hidden_states": YayaGPTDecoderLayer, "attentions": YayaGPTAttention}  # noqa: RUF012

    def _init_weights(self, module: nn.Module) -> None:
        # transformers asks this only of modules that own weights, when the code is not its own
        super()._init_weights(module)
        if isinstance(module, YayaGPTResidualLinear):
            init.zeros_(module.weight)


class YayaGPTModel(YayaGPTPreTrainedModel):
    """The decoder without its head."""

    def __init__(self, config: YayaGPTConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(YayaGPTDecoderLayer(config, layer) for layer in range(config.num_hidden_layers))
        self.norm = YayaGPTRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.gradient_checkpointing = False
        self.post_init()

    @capture_outputs
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | dict | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs,
    ) -> BaseModelOutputWithPast:
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        hidden_BTD = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        # None means no cache: one made unasked in training would let packed documents see each other.
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        mask, packed, places_BT = self._who_sees_whom(hidden_BTD, attention_mask, position_ids, past_key_values)
        if position_ids is None:
            seen = past_key_values.get_seq_length() if past_key_values is not None else 0
            position_ids = (torch.arange(hidden_BTD.shape[1], device=hidden_BTD.device) + seen)[None]
        rope = self.config.rope_parameters or {}
        rotation = rotations(position_ids, cast("int", self.config.head_dim), rope["rope_theta"], hidden_BTD.dtype)
        for layer in self.layers:
            hidden_BTD = layer(
                hidden_BTD,
                rotation=rotation,
                attention_mask=mask,
                position_ids=position_ids if places_BT is None else places_BT,  # flash kernels read edges here
                past_key_values=past_key_values,
                use_cache=use_cache,
                documents=packed,
                **kwargs,
            )
        hidden_BTD = self.norm(hidden_BTD)
        return BaseModelOutputWithPast(last_hidden_state=hidden_BTD, past_key_values=past_key_values)

    def _who_sees_whom(
        self,
        hidden_BTD: torch.Tensor,
        attention_mask: torch.Tensor | dict | None,
        position_ids: torch.Tensor | None,
        past_key_values: Cache | None,
    ) -> tuple[Any, Documents | None, torch.Tensor | None]:
        """The mask for the config's kernel, or the documents for what needs none; and places in documents.

        Asked once a forward, because looking for edges makes a GPU wait.
        """
        if isinstance(attention_mask, dict):  # prepared by generate, by kind of layer
            return attention_mask["full_attention"], None, None
        places_BT = self._packed_places(hidden_BTD, attention_mask, position_ids, past_key_values)
        if places_BT is not None:
            attention_mask = None
            if self.config._attn_implementation == "sdpa" and self._knows_documents(hidden_BTD):
                heads = cast("int", self.config.num_key_value_heads)
                return None, documents(places_BT, hidden_BTD.dtype, heads), places_BT
        tracing = torch.compiler.is_compiling()  # then transformers reads the positions itself
        mask = create_causal_mask(
            config=self.config,
            inputs_embeds=hidden_BTD,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            position_ids=position_ids if tracing else places_BT,
        )
        return mask, None, places_BT

    def _knows_documents(self, hidden_BTD: torch.Tensor) -> bool:
        """Is there something better than a mask for packed rows on this device? If not, a GPU's user is told why."""
        device = hidden_BTD.device
        if device.type != "cuda":
            return device.type == "cpu"
        dropout = self.config.attention_dropout if self.training else 0.0
        why_not = why_no_varlen(device, hidden_BTD.dtype, cast("int", self.config.head_dim), dropout)
        if why_not:
            logger.warning_once(f"packed rows go through a mask, which is slower than varlen_attn: {why_not}")
        return not why_not

    def _packed_places(
        self,
        hidden_BTD: torch.Tensor,
        attention_mask: torch.Tensor | None,
        position_ids: torch.Tensor | None,
        past_key_values: Cache | None,
    ) -> torch.Tensor | None:
        """Each token's place in its document; None if no row is packed; refused where it cannot be right."""
        rows, length = hidden_BTD.shape[:2]
        kernel = self.config._attn_implementation or ""
        prepared = kernel.startswith("paged") or (attention_mask is not None and attention_mask.ndim != 2)
        if position_ids is None or length == 1 or prepared or torch.compiler.is_compiling():
            return None
        mask_BT = None if attention_mask is None else attention_mask[:, -length:]
        places_BT = positions_in_documents(position_ids.expand(rows, -1), mask_BT)
        if places_BT is None:
            return None
        if past_key_values is not None:
            raise ValueError("packed rows (position_ids start again) cannot use a cache: use_cache=False")
        if "flash" in kernel and rows > 1:
            raise ValueError(f"{kernel} keeps packed documents apart in one row only: use sdpa, or one row a call")
        return places_BT


class YayaGPTForCausalLM(YayaGPTPreTrainedModel, GenerationMixin):
    """The decoder with its head: one door for training, scoring and generation."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012

    def __init__(self, config: YayaGPTConfig) -> None:
        super().__init__(config)
        self.model = YayaGPTModel(config)
        self.vocab_size = config.vocab_size
        self.lm_head = YayaGPTHead(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def set_output_embeddings(self, new_embeddings: nn.Linear) -> None:
        """Resizing the vocabulary makes a plain linear layer; it becomes a head again here."""
        head = YayaGPTHead(1, 1, bias=False, device="meta")
        head.in_features, head.out_features = new_embeddings.in_features, new_embeddings.out_features
        head.weight = new_embeddings.weight
        self.lm_head = head

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | dict | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        targets: torch.Tensor | None = None,
        per_token: bool = False,
        label_smoothing: float = 0.0,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        num_items_in_batch: int | torch.Tensor | None = None,
        **kwargs,
    ) -> YayaOutput:
        if labels is not None and targets is not None:
            raise ValueError("give labels (shifted inside, mean loss) or targets (already shifted, sum), not both")
        states = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )
        output = YayaOutput(
            past_key_values=states.past_key_values,
            hidden_states=states.hidden_states,
            attentions=states.attentions,
        )
        hidden_BTD = states.last_hidden_state
        if targets is not None:
            output.loss_sum, output.count, output.nats = self._score(hidden_BTD, targets, per_token, label_smoothing)
            return output
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        output.logits = self.lm_head(hidden_BTD[:, kept])
        if labels is not None:
            output.loss = self.loss_function(
                logits=output.logits,
                labels=labels,
                vocab_size=self.config.vocab_size,
                num_items_in_batch=num_items_in_batch,
            )
        return output

    def _score(
        self, hidden_BTD: torch.Tensor, targets_BT: torch.Tensor, per_token: bool, label_smoothing: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Summed loss, trained tokens, and nats by token if asked. Only trained positions reach the head.

        With nothing trained the sum is 0 and still hangs on every parameter, which DDP needs.
        """
        if targets_BT.shape != hidden_BTD.shape[:2]:
            raise ValueError(
                f"targets are {list(targets_BT.shape)}, the input is {list(hidden_BTD.shape[:2])}: "
                "targets hold, at each place, the token that follows it"
            )
        targets, hidden_ND = targets_BT.flatten(), hidden_BTD.flatten(0, 1)
        if torch.compiler.is_compiling():  # a graph's shapes may not depend on what is trained
            loss_sum, nats_N = self.lm_head(hidden_ND, targets, per_token, label_smoothing)
            return loss_sum, (targets != -100).sum(), nats_N.view_as(targets_BT) if per_token else None
        trained_N = (targets != -100).nonzero().squeeze(1)
        loss_sum, nats_N = self.lm_head(hidden_ND[trained_N], targets[trained_N], per_token, label_smoothing)
        count = torch.tensor(len(trained_N), device=loss_sum.device)
        if not per_token:
            return loss_sum, count, None
        nats_BT = nats_N.new_zeros(targets.shape).index_put((trained_N,), nats_N).view_as(targets_BT)
        return loss_sum, count, nats_BT


YayaGPTForCausalLM.register_for_auto_class("AutoModelForCausalLM")
YayaGPTModel.register_for_auto_class("AutoModel")

__all__ = ["YayaGPTForCausalLM", "YayaGPTModel", "YayaGPTPreTrainedModel", "YayaOutput"]
