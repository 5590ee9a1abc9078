"""The layers of a `yaya_gpt` model: hidden states come in and go out, by Qwen3's names and arithmetic.

Statistics (norms, angles, softmax) are computed in float32, products in the precision of the weights.

Shapes: B rows, T tokens of a row, D hidden width, H query heads, K key and value heads, E a head's width.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import cast

import torch
from torch import nn
from transformers.activations import ACT2FN
from transformers.cache_utils import Cache
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .configuration_yaya_gpt import YayaGPTConfig
from .documents_yaya_gpt import Documents, attend_within_documents
from .parts_yaya_gpt import Norm, NormAndTurn, SwiGLU, computed_again, rms_norm, swiglu


class YayaGPTRMSNorm(nn.Module):
    """Scales to a root mean square of one; the statistics in float32."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return cast("torch.Tensor", Norm.apply(hidden, self.weight, self.eps))


class YayaGPTHeadNorm(YayaGPTRMSNorm):
    """The norm of queries or keys, head by head, and their rotation behind it."""

    def forward(self, heads: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return cast("torch.Tensor", NormAndTurn.apply(heads, self.weight, cosine, sine, self.eps))


def rotations(
    position_ids_BT: torch.Tensor, size: int, theta: float, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine of each position's angles, [B, T, 1, E / 2].

    Computed anew each forward rather than kept in a buffer: a buffer that is not saved comes out of
    `from_pretrained` as garbage, and `.bfloat16()` would round it.
    """
    powers = torch.arange(0, size, 2, dtype=torch.float32, device=position_ids_BT.device) / size
    angles = (position_ids_BT[..., None].float() * (1.0 / theta**powers))[:, :, None]
    return angles.cos().to(dtype), angles.sin().to(dtype)


def eager_attention(
    module: "YayaGPTAttention",
    query_BHTE: torch.Tensor,
    key_BKTE: torch.Tensor,
    value_BKTE: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention spelled out, softmax in float32; the only kind that can show its weights."""
    groups = module.num_key_value_groups
    key_BHTE, value_BHTE = (tensor.repeat_interleave(groups, dim=1) for tensor in (key_BKTE, value_BKTE))
    weights_BHTT = query_BHTE @ key_BHTE.transpose(2, 3) * scaling
    if attention_mask is not None:
        weights_BHTT = weights_BHTT + attention_mask
    weights_BHTT = weights_BHTT.softmax(dim=-1, dtype=torch.float32).to(query_BHTE.dtype)
    weights_BHTT = nn.functional.dropout(weights_BHTT, dropout, module.training)
    return (weights_BHTT @ value_BHTE).transpose(1, 2).contiguous(), weights_BHTT


class YayaGPTResidualLinear(nn.Linear):
    """What a block adds to the residual stream. Starts at zero, so each block grows from the identity."""


class YayaGPTAttention(nn.Module):
    """Grouped-query attention with normalised queries and keys, by whatever kernel the config names."""

    is_causal = True

    def __init__(self, config: YayaGPTConfig, layer_idx: int) -> None:
        super().__init__()
        self.config = config
        self.layer_idx = layer_idx
        self.head_dim: int = cast("int", config.head_dim)
        key_value_heads = cast("int", config.num_key_value_heads)
        self.num_key_value_groups = config.num_attention_heads // key_value_heads
        self.scaling = self.head_dim**-0.5
        inner, shared = config.num_attention_heads * self.head_dim, key_value_heads * self.head_dim
        self.q_proj = nn.Linear(config.hidden_size, inner, bias=config.attention_bias)
        self.k_proj = nn.Linear(config.hidden_size, shared, bias=config.attention_bias)
        self.v_proj = nn.Linear(config.hidden_size, shared, bias=config.attention_bias)
        self.o_proj = YayaGPTResidualLinear(inner, config.hidden_size, bias=config.attention_bias)
        self.q_norm = YayaGPTHeadNorm(self.head_dim, config.rms_norm_eps)
        self.k_norm = YayaGPTHeadNorm(self.head_dim, config.rms_norm_eps)

    def project(
        self, hidden_BTD: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries, keys and values, normalised and turned."""
        heads = (*hidden_BTD.shape[:-1], -1, self.head_dim)
        query_BTHE = self.q_norm(self.q_proj(hidden_BTD).view(heads), cosine, sine)
        key_BTKE = self.k_norm(self.k_proj(hidden_BTD).view(heads), cosine, sine)
        return query_BTHE, key_BTKE, self.v_proj(hidden_BTD).view(heads)

    def forward(
        self,
        hidden_BTD: torch.Tensor,
        rotation: tuple[torch.Tensor, torch.Tensor],
        attention_mask: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        documents: Documents | None = None,
        **kwargs,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        query_BTHE, key_BTKE, value_BTKE = self.project(hidden_BTD, *rotation)
        dropout = self.config.attention_dropout if self.training else 0.0
        weights = None
        if documents is not None:
            output = attend_within_documents(query_BTHE, key_BTKE, value_BTKE, documents, self.scaling, dropout)
        else:
            query, key, value = (tensor.transpose(1, 2) for tensor in (query_BTHE, key_BTKE, value_BTKE))
            if past_key_values is not None:
                key, value = past_key_values.update(key, value, self.layer_idx)
            kernel = self.config._attn_implementation
            attend: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(kernel, eager_attention)
            output, weights = attend(
                self, query, key, value, attention_mask, dropout=dropout, scaling=self.scaling, **kwargs
            )
        return self.o_proj(output.reshape(*hidden_BTD.shape[:-1], -1)), weights


class YayaGPTMLP(nn.Module):
    """SwiGLU."""

    def __init__(self, config: YayaGPTConfig) -> None:
        super().__init__()
        inner = cast("int", config.intermediate_size)
        self.gate_proj = nn.Linear(config.hidden_size, inner, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, inner, bias=False)
        self.down_proj = YayaGPTResidualLinear(inner, config.hidden_size, bias=False)
        self.act_fn = ACT2FN[config.hidden_act]
        self.swiglu = config.hidden_act == "silu"

    def forward(self, hidden_BTD: torch.Tensor, sparing: bool = False) -> torch.Tensor:
        gate, up = self.gate_proj(hidden_BTD), self.up_proj(hidden_BTD)
        product = SwiGLU.apply(gate, up) if self.swiglu else self.act_fn(gate) * up
        if not (sparing and self.swiglu):
            return self.down_proj(product)
        with computed_again(product, partial(swiglu, gate.detach(), up.detach())):
            return self.down_proj(product)


class YayaGPTDecoderLayer(GradientCheckpointingLayer):
    """Attention, then feed-forward, each added to the residual stream."""

    sparing = False
    """Compute norms and the feed-forward's product again in the backward pass, rather than keeping them."""

    def __init__(self, config: YayaGPTConfig, layer_idx: int) -> None:
        super().__init__()
        self.self_attn = YayaGPTAttention(config, layer_idx)
        self.mlp = YayaGPTMLP(config)
        self.input_layernorm = YayaGPTRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = YayaGPTRMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, hidden_BTD: torch.Tensor, **kwargs) -> torch.Tensor:
        unit_BTD = self.input_layernorm(hidden_BTD)
        with self._spared(self.input_layernorm, hidden_BTD, unit_BTD):
            attended_BTD = self.self_attn(unit_BTD, **kwargs)[0]
        return self.feed(hidden_BTD, attended_BTD)

    def feed(self, hidden_BTD: torch.Tensor, attended_BTD: torch.Tensor) -> torch.Tensor:
        """What stands behind attention."""
        hidden_BTD = hidden_BTD + attended_BTD
        unit_BTD = self.post_attention_layernorm(hidden_BTD)
        with self._spared(self.post_attention_layernorm, hidden_BTD, unit_BTD):
            return hidden_BTD + self.mlp(unit_BTD, self._spares())

    def _spares(self) -> bool:
        return self.sparing and torch.is_grad_enabled() and not torch.compiler.is_compiling()

    def _spared(self, norm: YayaGPTRMSNorm, hidden: torch.Tensor, unit: torch.Tensor) -> AbstractContextManager[None]:
        """In here a norm's output is not kept: what it takes to have it again is."""
        if not self._spares():
            return nullcontext()
        return computed_again(unit, partial(rms_norm, hidden.detach(), norm.weight.detach().clone(), norm.eps))
