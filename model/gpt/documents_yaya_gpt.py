"""Documents packed into rows: position ids come in; where documents begin, and attention inside them, go out.

A row is packed when its position ids start again. Everywhere, transformers' own masks keep documents apart; what
never computes what a mask discards is several times faster: on a GPU a kernel for runs (`varlen_yaya_gpt.py`), on a
CPU tiles in bf16 (`tiles_yaya_gpt.py`) and a loop over the documents in float32.

Shapes: B rows, T tokens of a row, N tokens over all rows, H query heads, K key and value heads, E a head's width,
D documents.
"""

from dataclasses import dataclass
from itertools import groupby

import torch
from torch.nn.functional import scaled_dot_product_attention

from .tiles_yaya_gpt import Stacks, TiledAttention, stacks
from .varlen_yaya_gpt import attend_runs, document_edges


def positions_in_documents(position_ids_BT: torch.Tensor, mask_BT: torch.Tensor | None) -> torch.Tensor | None:
    """Each token's place in its own document, or None where every row is one document.

    A document begins where a token's position does not follow that of the token before it. A mask's zeros are
    padding, whose positions mean nothing (a left-padded prompt's jump there); in a packed row padding is a
    document of its own, so that no real token sees it.
    """
    real_BT = torch.ones_like(position_ids_BT, dtype=torch.bool) if mask_BT is None else mask_BT.bool()
    places_T = torch.arange(position_ids_BT.shape[1], device=position_ids_BT.device)
    latest_BT = torch.where(real_BT, places_T, -1).cummax(dim=-1).values
    before_BT = latest_BT.roll(1, dims=-1)  # the place of the last real token before each
    before_BT[:, 0] = -1
    steps_BT = position_ids_BT - position_ids_BT.gather(1, before_BT.clamp_min(0))
    jumps_BT = (steps_BT <= 0) | ((steps_BT != 1) & (before_BT == places_T - 1))
    edges_BT = jumps_BT & real_BT & (before_BT >= 0)
    if not edges_BT.any():
        return None
    edges_BT[:, 1:] |= real_BT[:, 1:] != real_BT[:, :-1]
    return places_T - torch.where(edges_BT, places_T, 0).cummax(dim=-1).values


def document_runs(places_BT: torch.Tensor) -> list[tuple[int, int]]:
    """(length, how many) of neighbouring documents of one length, over all rows laid end to end.

    Neighbours of one length go through attention together: rows that are one document each, or padding whose
    positions are all zero, would otherwise cost a call a document.
    """
    starts = (places_BT == 0).flatten().nonzero().flatten().tolist()
    ends = [*starts[1:], places_BT.numel()]
    lengths = (end - start for start, end in zip(starts, ends, strict=True))
    return [(length, len(list(run))) for length, run in groupby(lengths)]


@dataclass(frozen=True)
class Documents:
    """The documents of packed rows, as attention takes them; made once a forward."""

    runs: list[tuple[int, int]]
    """On a CPU: (length, how many) of neighbours."""
    edges_D1: torch.Tensor | None = None
    """On a GPU: where they begin, and where the last ends."""
    longest: int = 0
    """No document is longer, as far as is known without looking."""
    stacks: Stacks | None = None
    """For products below float32; in float32 the flash kernel is the faster one."""


def documents(places_BT: torch.Tensor, dtype: torch.dtype, key_value_heads: int) -> Documents:
    """What the GPU's kernel needs; or the CPU's loop, and its tiles if they serve."""
    if places_BT.device.type == "cuda":
        return Documents([], document_edges(places_BT), places_BT.shape[1])
    runs = document_runs(places_BT)
    if dtype != torch.bfloat16:
        return Documents(runs)
    lengths = [length for length, count in runs for _ in range(count)]
    return Documents(runs, stacks=stacks(lengths, key_value_heads))


def attend_within_documents(
    query_BTHE: torch.Tensor,
    key_BTKE: torch.Tensor,
    value_BTKE: torch.Tensor,
    documents: Documents,
    scaling: float,
    dropout: float,
) -> torch.Tensor:
    """Causal attention inside each document; comes back as [B, T, H, E]."""
    query, key, value = (tensor.flatten(0, 1) for tensor in (query_BTHE, key_BTKE, value_BTKE))
    if documents.edges_D1 is not None:
        output: torch.Tensor = attend_runs(query, key, value, documents.edges_D1, documents.longest, scaling)
    elif documents.stacks is not None and not dropout:
        output = TiledAttention.apply(query, key, value, documents.stacks, scaling)
    else:
        output = _loop(query, key, value, documents.runs, scaling, dropout)
    return output.view_as(query_BTHE)


def _loop(
    query_NHE: torch.Tensor,
    key_NKE: torch.Tensor,
    value_NKE: torch.Tensor,
    runs: list[tuple[int, int]],
    scaling: float,
    dropout: float,
) -> torch.Tensor:
    """Document by document, neighbours of one length together."""
    sizes = [length * count for length, count in runs]
    # split, not slices: its backward is one concatenation, a slice's is a full-size tensor of zeros each
    parts = (tensor.split(sizes) for tensor in (query_NHE, key_NKE, value_NKE))
    shared, outputs = query_NHE.shape[1] != key_NKE.shape[1], []
    for (length, count), *query_key_value in zip(runs, *parts, strict=True):
        query, key, value = (part.unflatten(0, (count, length)).transpose(1, 2) for part in query_key_value)
        output = scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scaling, dropout_p=dropout, enable_gqa=shared
        )
        outputs.append(output.transpose(1, 2).flatten(0, 1))
    return torch.cat(outputs)
