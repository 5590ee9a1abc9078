"""Attention inside documents on a GPU, by torch's kernel for runs of different lengths (`varlen_attn`, torch >= 2.10).

Queries, keys and values of all rows, laid end to end, come in with the places where documents begin; nothing is spent
on what a mask would discard. `why_no_varlen` says what keeps the kernel from serving, and then the mask does its work.
Its arguments have changed between torch versions: what this one knows is asked once.

Shapes: N tokens over all rows, H query heads, K key and value heads, E a head's width, D documents.
"""

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import torch

try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # torch < 2.10
    varlen_attn: Callable | None = None  # type: ignore[no-redef]


@cache
def _known() -> frozenset[str]:
    return frozenset(inspect.signature(varlen_attn).parameters) if varlen_attn is not None else frozenset()


def why_no_varlen(device: torch.device, dtype: torch.dtype, width: int, dropout: float) -> str:
    """What keeps the kernel from serving here; empty if it serves."""
    if torch.is_autocast_enabled(device.type):
        dtype = torch.get_autocast_dtype(device.type)
    if varlen_attn is None:
        return f"torch {torch.__version__} has no varlen_attn"
    if dtype not in (torch.bfloat16, torch.float16):
        return f"its kernel takes bf16 and fp16, not {dtype}"
    if torch.cuda.is_available() and torch.cuda.get_device_capability(device) < (8, 0):
        return "its kernel needs compute capability 8.0"
    if width > 256 or width % 8:
        return f"its kernel takes heads of at most 256, in eights, not {width}"
    return "it drops no attention weights" if dropout else ""


def document_edges(places_BT: torch.Tensor) -> torch.Tensor:
    """Where documents begin, and where the last ends, int32 [D + 1]; a GPU waits here, once a forward."""
    starts = (places_BT.flatten() == 0).nonzero().squeeze(1)
    return torch.nn.functional.pad(starts, (0, 1), value=places_BT.numel()).to(torch.int32)


def attend_runs(
    query_NHE: torch.Tensor,
    key_NKE: torch.Tensor,
    value_NKE: torch.Tensor,
    edges_D1: torch.Tensor,
    longest: int,
    scaling: float,
) -> torch.Tensor:
    """Causal attention inside documents, none of which is longer than `longest`."""
    assert varlen_attn is not None
    known, more = _known(), dict[str, Any]()
    if "window_size" in known:
        more["window_size"] = (-1, 0)  # everything before, nothing behind
    else:
        more["is_causal"] = True
    usual = query_NHE.shape[-1] ** -0.5
    if "scale" in known:
        more["scale"] = scaling
    elif scaling != usual:
        query_NHE = query_NHE * (scaling / usual)
    groups = query_NHE.shape[1] // key_NKE.shape[1]
    if groups > 1 and "enable_gqa" in known:
        more["enable_gqa"] = True
    elif groups > 1:
        key_NKE, value_NKE = (tensor.repeat_interleave(groups, dim=1) for tensor in (key_NKE, value_NKE))
    output: Any = varlen_attn(query_NHE, key_NKE, value_NKE, edges_D1, edges_D1, longest, longest, **more)
    return output  # type: ignore[no-any-return]
