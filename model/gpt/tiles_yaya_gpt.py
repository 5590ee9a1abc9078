"""Attention inside documents by batched matrix products: queries, keys and values come in, [N, H, E] goes out.

On a CPU the flash kernel multiplies bf16 at a fraction of what a matrix product reaches, its backward pass above all.
Here documents are padded to whole tiles, those of equal length are stacked, and a tile of queries meets all keys before
its end at once: a few large products, of few different shapes. The backward pass computes the weights again.
Scores are in the precision of the products, as in plain (eager) attention; softmax computes in float32.

Shapes: N tokens of D documents, laid end to end; R slots (tokens and padding) of every key head; C documents of one
padded length P, K key and value heads, H query heads, G of them for each key head, E a head's width.
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
class Slots:
    """An order of the R slots that the tokens and heads of a batch are laid out in."""

    source_R: torch.Tensor
    """The token and head, counted through [N, K], that a slot holds; padding repeats a document's last token."""
    padding: torch.Tensor
    """Which slots are padding."""
    place_NK: torch.Tensor
    """The slot of each token and head."""

    def laid_out(self, tensor_NHE: torch.Tensor, heads: int) -> torch.Tensor:
        """[R, G * E]: the query heads that share a key head stay side by side."""
        return tensor_NHE.reshape(len(tensor_NHE) * heads, -1).index_select(0, self.source_R)

    def by_token(self, tensor_RX: torch.Tensor, tokens: int, width: int) -> torch.Tensor:
        """The way back, to [N, H, E]."""
        return tensor_RX.index_select(0, self.place_NK).view(tokens, -1, width)


@dataclass(frozen=True)
class Stacks:
    """How documents are stacked by length, for one number of key heads."""

    shapes: list[tuple[int, int]]
    """(documents, padded length) of each stack."""
    keys: Slots
    """Stack by stack, [C, K, P]."""
    queries: Slots
    """Stack by stack, [tiles, C, K, TILE], so that a tile of queries lies in one piece."""

    def tiles(self, slots_RX: torch.Tensor, heads: int, width: int) -> Iterator[torch.Tensor]:
        """Each stack's part of a tensor laid out as queries: [tiles, C * K, TILE * G, E]."""
        for (count, length), part in zip(self.shapes, self._parts(slots_RX, heads), strict=True):
            yield part.view(length // TILE, count * heads, -1, width)

    def whole(self, slots_RE: torch.Tensor, heads: int) -> Iterator[torch.Tensor]:
        """Each stack's part of a tensor laid out as keys: [C * K, P, E]."""
        for (count, length), part in zip(self.shapes, self._parts(slots_RE, heads), strict=True):
            yield part.view(count * heads, length, -1)

    def _parts(self, slots_RX: torch.Tensor, heads: int) -> tuple[torch.Tensor, ...]:
        return slots_RX.split([count * heads * length for count, length in self.shapes])


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
        sources.append(tokens_CP[:, None] * heads + torch.arange(heads)[:, None])
        paddings.append((places_P >= inside_C1)[:, None].expand(sources[-1].shape))
    keys = _slots(sources, paddings, sum(lengths) * heads)
    queries = _slots([_by_tile(part) for part in sources], [_by_tile(part) for part in paddings], sum(lengths) * heads)
    return Stacks(shapes, keys, queries)


def _by_tile(slots_CKP: torch.Tensor) -> torch.Tensor:
    return slots_CKP.unflatten(2, (-1, TILE)).permute(2, 0, 1, 3)


def _slots(sources: list[torch.Tensor], paddings: list[torch.Tensor], count: int) -> Slots:
    source_R = torch.cat([part.flatten() for part in sources])
    is_padding_R = torch.cat([part.flatten() for part in paddings])
    real = (~is_padding_R).nonzero().squeeze(1)
    place_NK = torch.empty(count, dtype=torch.long)
    place_NK[source_R[real]] = real
    return Slots(source_R, is_padding_R.nonzero().squeeze(1), place_NK)


def _parted(numbers: list[int]) -> Iterator[list[int]]:
    """In parts of MOST, and what is left in parts of half of that, and so on."""
    size = MOST
    while numbers:
        if len(numbers) >= size:
            yield numbers[:size]
            numbers = numbers[size:]
        else:
            size //= 2


def weights(query: torch.Tensor, keys: torch.Tensor, future_MM: torch.Tensor) -> torch.Tensor:
    """Softmax over the keys up to the end of a tile of M places, G queries each: [C * K, M * G, keys]."""
    scores = torch.bmm(query, keys.transpose(1, 2))
    places = len(future_MM)
    scores.view(len(query), places, -1, keys.shape[1])[..., -places:] += future_MM[:, None]
    return scores.softmax(dim=-1)


class TiledAttention(torch.autograd.Function):
    """Causal attention inside documents."""

    @staticmethod
    def forward(
        ctx: Any, query_NHE: torch.Tensor, key_NKE: torch.Tensor, value_NKE: torch.Tensor, where: Stacks, scaling: float
    ) -> torch.Tensor:
        tokens, heads, width = key_NKE.shape
        query = where.queries.laid_out(query_NHE, heads).mul_(scaling)
        key, value = (where.keys.laid_out(tensor, heads) for tensor in (key_NKE, value_NKE))
        output, future_MM = torch.empty_like(query), _future(query)
        tiled = (where.tiles(tensor, heads, width) for tensor in (query, output))
        whole = (where.whole(tensor, heads) for tensor in (key, value))
        for q, out, k, v in zip(*tiled, *whole, strict=True):
            for tile in range(len(q)):
                end = (tile + 1) * TILE
                torch.bmm(weights(q[tile], k[:, :end], future_MM), v[:, :end], out=out[tile])
        ctx.save_for_backward(query, key, value)
        ctx.where, ctx.scaling, ctx.shape = where, scaling, (tokens, heads, width)
        return where.queries.by_token(output, tokens, width)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_NHE: torch.Tensor):
        where: Stacks = ctx.where
        tokens, heads, width = ctx.shape
        query, key, value = ctx.saved_tensors
        grad_out = where.queries.laid_out(grad_NHE, heads).index_fill_(0, where.queries.padding, 0.0)
        grads = grad_query, grad_key, grad_value = tuple(torch.empty_like(tensor) for tensor in (query, key, value))
        future_MM = _future(query)
        tiled = (where.tiles(tensor, heads, width) for tensor in (query, grad_out, grad_query))
        whole = (where.whole(tensor, heads) for tensor in (key, value, grad_key, grad_value))
        for q, do, dq, k, v, dk, dv in zip(*tiled, *whole, strict=True):
            for tile in reversed(range(len(q))):  # the last tile sees every key, and writes; the others add
                end = (tile + 1) * TILE
                seen, last = k[:, :end].contiguous(), tile == len(q) - 1
                p = weights(q[tile], seen, future_MM)
                dp = torch.bmm(do[tile], v[:, :end].transpose(1, 2))
                ds = torch._softmax_backward_data(dp, p, -1, p.dtype)
                torch.bmm(ds, seen, out=dq[tile])
                for total, left, right in ((dk, ds, q[tile]), (dv, p, do[tile])):
                    if last:
                        torch.bmm(left.transpose(1, 2), right, out=total)
                    else:
                        total[:, :end] += torch.bmm(left.transpose(1, 2), right)
        grad_query.mul_(ctx.scaling)
        orders = (where.queries, where.keys, where.keys)
        back = (order.by_token(grad, tokens, width) for order, grad in zip(orders, grads, strict=True))
        return *back, None, None


def _future(like: torch.Tensor) -> torch.Tensor:
    """Added to scores inside a tile: what is yet to come is out of sight."""
    return torch.full((TILE, TILE), float("-inf"), dtype=like.dtype).triu_(1)
