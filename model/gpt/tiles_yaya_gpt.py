"""Attention inside documents by batched matrix products: queries, keys and values come in, [N, H, E] goes out.

On a CPU the flash kernel multiplies bf16 at a fraction of what a matrix product reaches, its backward pass above all.
Here documents are padded to whole tiles, those of equal length are stacked, and a tile of queries meets all keys before
its end at once: a few large products, of few different shapes. The backward pass computes the weights again.
Scores are in the precision of the products, as in plain (eager) attention; softmax computes in float32.

Shapes: N tokens over all rows, laid end to end; R slots (tokens and padding) of every key head; C documents of one
padded length P, K key and value heads, G query heads for each of them, E a head's width.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.function import once_differentiable

TILE = 128
"""Queries that meet their keys at once; the padding is half of it a document."""

MOST = 8
"""Documents in a stack, at most: stacks are of 8, 4, 2 or 1, because every new shape costs a product its plan."""


@dataclass(frozen=True)
class Stacks:
    """Where each token of a batch lies when its documents are stacked by length; for one number of key heads."""

    shapes: list[tuple[int, int]]
    """(documents, padded length) of each stack."""
    source_R: torch.Tensor
    """The token and head, counted through [N, K], that a slot holds; padding repeats a document's last token."""
    padding: torch.Tensor
    """Which slots are padding."""
    place_NK: torch.Tensor
    """The slot of each token and head."""

    def of(self, slots_RX: torch.Tensor, heads: int) -> Iterator[torch.Tensor]:
        """Each stack's part of a tensor over slots, as [C * K, P, …]."""
        sizes = [count * heads * length for count, length in self.shapes]
        for (count, length), part in zip(self.shapes, slots_RX.split(sizes), strict=True):
            yield part.view(count * heads, length, -1)


def stacks(lengths: list[int], heads: int) -> Stacks:
    """Documents of these lengths, end to end, stacked."""
    lengths_D = torch.tensor(lengths)
    padded_D = (lengths_D + TILE - 1) // TILE * TILE
    starts_D = lengths_D.cumsum(0) - lengths_D
    by_length: dict[int, list[int]] = defaultdict(list)
    for number, padded in enumerate(padded_D.tolist()):
        by_length[padded].append(number)
    shapes, sources, paddings = [], [], []
    for padded, some in ((padded, some) for padded, numbers in by_length.items() for some in _parted(numbers)):
        shapes.append((len(some), padded))
        places_P, inside_C1 = torch.arange(padded), lengths_D[some][:, None]
        tokens_CP = starts_D[some][:, None] + torch.minimum(places_P, inside_C1 - 1)
        source_CKP = tokens_CP[:, None] * heads + torch.arange(heads)[:, None]
        sources.append(source_CKP.flatten())
        paddings.append((places_P >= inside_C1)[:, None].expand(source_CKP.shape).flatten())
    source_R, is_padding_R = torch.cat(sources), torch.cat(paddings)
    place_NK = torch.empty(sum(lengths) * heads, dtype=torch.long)
    real = (~is_padding_R).nonzero().squeeze(1)
    place_NK[source_R[real]] = real
    return Stacks(shapes, source_R, is_padding_R.nonzero().squeeze(1), place_NK)


def _parted(numbers: list[int]) -> Iterator[list[int]]:
    """In parts of MOST, and what is left in parts of half of that, and so on."""
    size = MOST
    while numbers:
        if len(numbers) >= size:
            yield numbers[:size]
            numbers = numbers[size:]
        else:
            size //= 2


def weights(query: torch.Tensor, keys: torch.Tensor, hidden_MM: torch.Tensor) -> torch.Tensor:
    """Softmax over the keys up to the end of a tile of M places, G queries each: [C * K, M * G, keys]."""
    scores = torch.bmm(query, keys.transpose(1, 2))
    places = len(hidden_MM)
    scores.view(len(query), places, -1, keys.shape[1])[..., -places:] += hidden_MM[:, None]
    return scores.softmax(dim=-1)


class TiledAttention(torch.autograd.Function):
    """Causal attention inside documents."""

    @staticmethod
    def forward(
        ctx: Any, query_NHE: torch.Tensor, key_NKE: torch.Tensor, value_NKE: torch.Tensor, where: Stacks, scaling: float
    ) -> torch.Tensor:
        heads = key_NKE.shape[1]
        groups = query_NHE.shape[1] // heads
        query = _stacked(query_NHE, heads, where).mul_(scaling)
        key, value = (_stacked(tensor, heads, where) for tensor in (key_NKE, value_NKE))
        output = torch.empty_like(query)
        hidden_MM = _hidden(query)
        for q, k, v, out in zip(*(where.of(tensor, heads) for tensor in (query, key, value, output)), strict=True):
            q, out = (tensor.unflatten(2, (groups, -1)).flatten(1, 2) for tensor in (q, out))
            for end in range(TILE, k.shape[1] + 1, TILE):
                tile = slice((end - TILE) * groups, end * groups)
                out[:, tile] = torch.bmm(weights(q[:, tile], k[:, :end], hidden_MM), v[:, :end])
        ctx.save_for_backward(query, key, value)
        ctx.where, ctx.scaling, ctx.heads, ctx.groups = where, scaling, heads, groups
        return output.index_select(0, where.place_NK).view_as(query_NHE)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_NHE: torch.Tensor):
        where, heads, groups = ctx.where, ctx.heads, ctx.groups
        grad_out = _stacked(grad_NHE, heads, where).index_fill_(0, where.padding, 0.0)
        saved = ctx.saved_tensors
        grads = tuple(torch.empty_like(tensor) for tensor in saved)
        hidden_MM = _hidden(grad_out)
        for q, k, v, do, dq, dk, dv in zip(*(where.of(t, heads) for t in (*saved, grad_out, *grads)), strict=True):
            q, do, dq = (tensor.unflatten(2, (groups, -1)).flatten(1, 2) for tensor in (q, do, dq))
            length = k.shape[1]
            for end in range(length, 0, -TILE):  # the last tile sees every key, and writes; the others add
                tile = slice((end - TILE) * groups, end * groups)
                p = weights(q[:, tile], k[:, :end], hidden_MM)
                dp = torch.bmm(do[:, tile], v[:, :end].transpose(1, 2))
                ds = torch._softmax_backward_data(dp, p, -1, p.dtype)
                dq[:, tile] = torch.bmm(ds, k[:, :end])
                for total, part in (
                    (dk, torch.bmm(ds.transpose(1, 2), q[:, tile])),
                    (dv, torch.bmm(p.transpose(1, 2), do[:, tile])),
                ):
                    total.copy_(part) if end == length else total[:, :end].add_(part)
        grad_query, grad_key, grad_value = (grad.index_select(0, where.place_NK) for grad in grads)
        width = grad_NHE.shape[-1]
        by_token = (grad_query.mul_(ctx.scaling), grad_key, grad_value)
        return *(grad.view(len(grad_NHE), -1, width) for grad in by_token), None, None


def _stacked(tensor_NHE: torch.Tensor, heads: int, where: Stacks) -> torch.Tensor:
    """[R, G * E]: the query heads that share a key head stay side by side."""
    return tensor_NHE.reshape(len(tensor_NHE) * heads, -1).index_select(0, where.source_R)


def _hidden(like: torch.Tensor) -> torch.Tensor:
    """Added to scores inside a tile: what is yet to come is out of sight."""
    return torch.full((TILE, TILE), float("-inf"), dtype=like.dtype).triu_(1)
