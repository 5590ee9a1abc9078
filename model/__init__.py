"""The architectures. A family name and its fields, or a folder, come in; a transformers model goes out.

Importing this package registers every family with AutoConfig, AutoModel and AutoModelForCausalLM, so that a
folder saved here loads without remote code. The import costs what transformers' model classes cost (four to
five seconds on a slow core), and next to nothing after them.
"""

import json
import types
import typing
from dataclasses import fields as dataclass_fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from .gpt import YayaGPTConfig, YayaGPTForCausalLM, YayaGPTModel

FAMILIES: dict[str, type[PreTrainedConfig]] = {"gpt": YayaGPTConfig}
"""Family name, as a recipe says it, to the class of its config."""


def _register() -> None:
    AutoConfig.register(YayaGPTConfig.model_type, YayaGPTConfig, exist_ok=True)
    AutoModel.register(YayaGPTConfig, YayaGPTModel, exist_ok=True)
    AutoModelForCausalLM.register(YayaGPTConfig, YayaGPTForCausalLM, exist_ok=True)


_register()


def family_fields(family: str) -> dict[str, Any]:
    """A family's own config names, as in its config.json, and their types; rope_theta is among them."""
    if family not in FAMILIES:
        nearest = _nearest(family, FAMILIES)
        raise ValueError(f"model.family={family!r} is unknown{nearest}; there are {_listed(FAMILIES)}")
    config_class = FAMILIES[family]
    inherited = {field.name for field in dataclass_fields(PreTrainedConfig)}
    own: dict[str, Any] = {
        field.name: field.type for field in dataclass_fields(config_class) if field.name not in inherited
    }
    if "rope_parameters" in own:
        own["rope_theta"] = float
    return own


def family_config(family: str, fields: dict[str, Any]) -> PreTrainedConfig:
    """The family's config with these fields, the rest at their defaults. A wrong field is a ValueError."""
    known = family_fields(family)
    for name, value in fields.items():
        if name not in known:
            raise ValueError(f"model.{name} is not a field of family {family}{_nearest(name, known)}")
        if not _fits(value, known[name]):
            raise ValueError(f"model.{name}={value!r} must be {_type_name(known[name])}")
    return FAMILIES[family](**fields)


def build(config: PreTrainedConfig) -> PreTrainedModel:
    """A new model in float32. Its first weights follow torch's global seed, which is the caller's."""
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def load(folder: str | Path, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """The model saved in a folder, by our own classes; its saved precision unless `dtype` says otherwise.

    Code that lies in the folder never runs: transformers would ask whether it may, and take a line from a pipe for yes.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} holds no config.json: give a saved model's folder, as runs/demo/pretrain/model")
    if not any(folder.glob("*.safetensors")):
        raise ValueError(f"{folder} has a config.json but no *.safetensors: the weights are missing, copy them again")
    _refuse_unknown_type(folder / "config.json")
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    if config.model_type == "qwen3":  # the same tensors under the same names
        config = YayaGPTConfig.from_qwen3(config)
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=dtype or "auto",
            trust_remote_code=False,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # refused below, in one line
            output_loading_info=True,
        )
    except SafetensorError as error:
        raise ValueError(f"{folder} holds a broken *.safetensors ({error}): copy the weights again") from error
    model, notes = loaded
    if notes["missing_keys"]:  # transformers would only warn, and speak with random weights
        raise ValueError(f"{folder} lacks weights, {min(notes['missing_keys'])} among them: copy the weights again")
    others = [str(name) for name in notes["unexpected_keys"]] + [str(name[0]) for name in notes["mismatched_keys"]]
    if others:
        raise ValueError(
            f"{folder / 'config.json'} does not describe the weights beside it, {min(others)} among them: "
            "copy config.json and the weights again"
        )
    return model


def _refuse_unknown_type(path: Path) -> None:
    """Read as JSON, before transformers looks for code that would understand another type."""
    try:
        kind = json.loads(path.read_text(encoding="utf-8"))["model_type"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} is damaged: no JSON with a model_type; copy the model folder again") from None
    known = [*(family.model_type for family in FAMILIES.values()), "qwen3"]
    if kind not in known:
        raise ValueError(f"{path} says model_type {kind!r}; there are {_listed(known)}: give a model of one of them")


def layer_matrices(model: PreTrainedModel) -> list[str]:
    """Names of the matrices that map one hidden state to another: all but the tables of embedding and head."""
    ends: list[Any] = [model.get_input_embeddings(), model.get_output_embeddings()]
    tables = {id(end.weight) for end in ends if end is not None}
    return [name for name, weight in model.named_parameters() if weight.ndim == 2 and id(weight) not in tables]


def checkpoint_activations(model: PreTrainedModel, kind: str) -> None:
    """What the backward pass computes again: nothing (none), norms and products of the feed-forward (selective), or
    whole layers (full). It costs time and saves memory in that order; losses and gradients stay what they are."""
    if kind not in ("none", "selective", "full"):
        raise ValueError(f"gradient_checkpointing={kind!r}: give none, selective or full")
    for layer in _layers(model):
        layer.sparing = kind == "selective"
    if kind == "full":
        model.activation_checkpointing_enable()
    else:
        model.activation_checkpointing_disable()


def compile_layers(model: PreTrainedModel) -> None:
    """Compile what stands between the layers' attention, which stays as it is: it takes documents of any length.

    Every layer has the same code, so it is compiled once, at the first forward and backward pass of each shape."""
    for layer in _layers(model):
        layer.input_layernorm.forward = torch.compile(layer.input_layernorm.forward, fullgraph=True)
        layer.self_attn.project = torch.compile(layer.self_attn.project, fullgraph=True)
        layer.feed = torch.compile(layer.feed, fullgraph=True)


def _layers(model: PreTrainedModel) -> typing.Iterable[Any]:
    base: Any = model.base_model
    return base.layers  # type: ignore[no-any-return]


def matrix_parameters(model: PreTrainedModel) -> int:
    """Weights that multiply every token: all matrices, the head once, the embedding table (a lookup) not."""
    table: Any = model.get_input_embeddings().weight
    head: Any = model.get_output_embeddings()
    inside = sum(weight.numel() for weight in model.parameters() if weight.ndim >= 2 and weight is not table)
    return inside + (table.numel() if head is not None and head.weight is table else 0)


def flops_per_token(config_or_model: PreTrainedConfig | PreTrainedModel, seq_len: int) -> int:
    """Floating-point operations that training spends on a token, forward and backward: the unit of MFU.

    6 for each matrix weight (one product forward, two backward, each a multiplication and an addition), and
    for attention 12 for each layer, head, dimension and position seen, of which a causal row sees half on
    average. Documents shorter than the row spend less; recomputation spends more and does not count.
    """
    if isinstance(config_or_model, PreTrainedModel):
        model = config_or_model
    else:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config_or_model)
    return 6 * matrix_parameters(model) + flops_per_pair(model) * seq_len // 2


def flops_per_pair(model: PreTrainedModel) -> int:
    """What attention spends on a pair of tokens of which the later sees the earlier: two products of a head's width,
    forward, and twice that backward."""
    config: Any = model.config
    if not hasattr(config, "num_attention_heads"):
        return 0
    return 12 * int(config.num_hidden_layers * config.num_attention_heads * config.head_dim)


def _fits(value: Any, kind: Any) -> bool:
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return any(_fits(value, option) for option in typing.get_args(kind))
    if typing.get_origin(kind) is list:
        return isinstance(value, list) and all(_fits(item, typing.get_args(kind)[0]) for item in value)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return value is None if kind is type(None) else isinstance(value, typing.get_origin(kind) or kind)


def _type_name(kind: Any) -> str:
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return " or ".join(_type_name(option) for option in typing.get_args(kind))
    return words.get(kind) or f"a {(typing.get_origin(kind) or kind).__name__}"


def _nearest(name: str, known: typing.Iterable[str]) -> str:
    close = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f": did you mean {close[0]!r}?" if close else ""


def _listed(names: typing.Iterable[str]) -> str:
    return ", ".join(sorted(names))


__all__ = [
    "FAMILIES",
    "build",
    "checkpoint_activations",
    "compile_layers",
    "family_config",
    "family_fields",
    "flops_per_pair",
    "flops_per_token",
    "layer_matrices",
    "load",
    "matrix_parameters",
]
