"""Sequences of shards come in, rows come out: inputs, targets already shifted, and positions.

In a row the documents stand end to end, and positions start again at each one's first token (and at the row's), which
is how the model tells them apart. Rows of several sources are laid out together, because what numpy takes to begin is
a good part of what a batch costs.

Shapes: N rows, L = seq_len, P = L + 1 tokens of a row before they become inputs and targets, F = N x L slots,
M pieces of dialogues, T tokens of theirs, S trained stretches, K trained slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np

from pipeline.train.bins import Plan
from utils.scoring import UNTRAINED
from utils.shard_ids import Ids
from utils.shards import Source, ranges


@dataclass(frozen=True)
class Rows:
    """Rows as the model takes them, [N, L]: targets are already shifted, UNTRAINED where nothing is learned.

    int32, which is half the memory to fill; the loop widens them for torch, a micro-batch at a time.
    """

    input_ids: np.ndarray
    targets: np.ndarray
    position_ids: np.ndarray


class Layout(Protocol):
    """How the sequences of several sources become rows."""

    @property
    def sizes(self) -> Sequence[int]:
        """How many sequences each source has."""

    def rows(self, source_N: np.ndarray, index_N: np.ndarray) -> Rows:
        """Of each of these sources, this sequence."""

    def ids(self, source_N: np.ndarray, index_N: np.ndarray) -> list[list[str]]:
        """The documents that each of these rows is made from, in the order in which they stand there."""


def one_run(sources: Sequence[Source]) -> tuple[Source, np.ndarray]:
    """Sources as one run of tokens, and where each begins in it."""
    run = Source("all", [entry for source in sources for entry in source.entries])
    return run, np.cumsum([0, *(source.tokens for source in sources)])[:-1]


# ---------------------------------------------------------------- pretrain


def split_rows(tokens_NP: np.ndarray, ends_N: np.ndarray, edge: int, pad: int) -> Rows:
    """Rows of running text: `edge` opens a document, and row i holds tokens up to ends_N[i], padding behind.

    The last token is a target only. A target may lie across an edge: a document's end is learned, too.
    """
    inputs_NL = tokens_NP[:, :-1].astype(np.int32)
    targets_NL = tokens_NP[:, 1:].astype(np.int32)
    starts_NL = inputs_NL == edge
    for row in np.flatnonzero(ends_N < tokens_NP.shape[1]).tolist():
        last = int(ends_N[row]) - 1  # this token is a target; as an input it has nothing to predict
        inputs_NL[row, last:] = pad
        targets_NL[row, last:] = UNTRAINED
        starts_NL[row, last] = True
        starts_NL[row, last + 1 :] = False
    return Rows(inputs_NL, targets_NL, positions(starts_NL))


def positions(starts_NL: np.ndarray) -> np.ndarray:
    """Each place's distance from the last start at or before it; a row begins with one."""
    firsts_NL = starts_NL.copy()
    firsts_NL[:, 0] = True
    begins_M = np.flatnonzero(firsts_NL)
    places_F = np.arange(firsts_NL.size, dtype=np.int32)
    places_F -= np.repeat(begins_M.astype(np.int32), np.diff(begins_M, append=firsts_NL.size))
    return places_F.reshape(starts_NL.shape)


class RunningText:
    """Pretrain: documents run on; sequence k is tokens [kL, kL + L], the last one padded, so that none is lost."""

    def __init__(self, sources: Sequence[Source], seq_len: int, edge: int, pad: int):
        self.seq_len, self.edge, self.pad = seq_len, edge, pad
        self._run, self._begins = one_run(sources)
        self._ids = Ids(self._run)
        self._tokens = np.array([source.tokens for source in sources], np.int64)
        self.sizes = (-(-self._tokens // seq_len)).tolist()  # targets: all but the first, and the edge that closes

    def rows(self, source_N: np.ndarray, index_N: np.ndarray) -> Rows:
        shape = (len(index_N), self.seq_len + 1)
        begins_N, starts_N = self._begins[source_N], index_N * self.seq_len
        left_N = self._tokens[source_N] - starts_N
        stored_N = np.minimum(left_N, shape[1])
        tokens_T = self._run.take(begins_N + starts_N, begins_N + starts_N + stored_N)
        ends_N = np.minimum(left_N + 1, shape[1])
        if len(tokens_T) == shape[0] * shape[1]:
            return split_rows(tokens_T.reshape(shape), ends_N, self.edge, self.pad)
        tokens_NP = np.full(shape, self.edge)  # of these one is real: it closes the source
        tokens_NP[np.arange(shape[1]) < stored_N[:, None]] = tokens_T
        return split_rows(tokens_NP, ends_N, self.edge, self.pad)

    def ids(self, source_N: np.ndarray, index_N: np.ndarray) -> list[list[str]]:
        """By the inputs: so each target is one document's, and the edge behind a document is its end."""
        starts_N = index_N * self.seq_len
        ends_N = np.minimum(starts_N + self.seq_len, self._tokens[source_N])
        begins_N = self._begins[source_N]
        return self._ids.between(begins_N + starts_N, begins_N + ends_N)


# ---------------------------------------------------------------- finetune


class BinnedDialogues:
    """Finetune: whole dialogues side by side in a row; only what their spans name is trained."""

    def __init__(self, sources: Sequence[Source], plans: Sequence[Plan], seq_len: int, pad: int):
        self.plans, self.seq_len, self.pad = plans, seq_len, pad
        self._run, self._begins = one_run(sources)
        self._ids = Ids(self._run)
        self.sizes = [len(plan.edges_B2) - 1 for plan in plans]

    def rows(self, source_N: np.ndarray, index_N: np.ndarray) -> Rows:
        shape = (len(index_N), self.seq_len)
        rows_N = np.argsort(source_N, kind="stable")
        places_M2, pieces_N, firsts_S, ends_S, stretches_N = self._planned(source_N[rows_N], index_N[rows_N])
        tokens_T = self._run.take(places_M2[:, 0], places_M2[:, 1])
        tokens_T = np.append(tokens_T, tokens_T.dtype.type(self.pad))
        sources_F, positions_F = slots(places_M2[:, 1] - places_M2[:, 0], pieces_N, rows_N, self.seq_len)
        learned_K = ranges(firsts_S + np.repeat(rows_N * self.seq_len, stretches_N), ends_S - firsts_S)
        targets_F = np.full(len(sources_F), UNTRAINED, np.int32)
        targets_F[learned_K] = tokens_T[sources_F[learned_K] + 1]
        inputs_F = tokens_T.take(sources_F, mode="clip").astype(np.int32)
        return Rows(inputs_F.reshape(shape), targets_F.reshape(shape), positions_F.astype(np.int32).reshape(shape))

    def ids(self, source_N: np.ndarray, index_N: np.ndarray) -> list[list[str]]:
        """A dialogue of which a row holds several pieces is named once."""
        rows_N = np.argsort(source_N, kind="stable")
        places_M2, pieces_N, *_ = self._planned(source_N[rows_N], index_N[rows_N])
        owners_M = self._ids.between(places_M2[:, 0], places_M2[:, 1])
        edges = np.cumsum([0, *pieces_N]).tolist()
        found: list[list[str]] = [[] for _ in rows_N]
        for row, first, end in zip(rows_N.tolist(), edges, edges[1:], strict=False):
            found[row] = list(dict.fromkeys(name for owners in owners_M[first:end] for name in owners))
        return found

    def _planned(self, source_N: np.ndarray, index_N: np.ndarray) -> tuple[np.ndarray, ...]:
        """The plans of these rows, which are sorted by source: where the pieces lie in the run of all sources, how many
        each row has, the slots at which what is trained begins and ends, and how many such stretches each row has."""
        numbers, starts = np.unique(source_N, return_index=True)
        held: list[np.ndarray] = [np.empty((0, 2), np.int64)]
        places: list[np.ndarray] = [np.empty((0, 2), np.int64)]
        trained: list[np.ndarray] = [np.empty((0, 2), np.int64)]
        for number, (start, end) in zip(numbers.tolist(), pairwise([*starts.tolist(), len(index_N)]), strict=True):
            plan, index_R = self.plans[number], index_N[start:end]
            first_R2 = plan.edges_B2[index_R]
            held_R2 = plan.edges_B2[index_R + 1] - first_R2
            held.append(held_R2)
            pieces_M2 = plan.pieces_P2[ranges(first_R2[:, 0], held_R2[:, 0])]
            places.append(pieces_M2.astype(np.int64) + self._begins[number])
            trained.append(plan.trained_S2[ranges(first_R2[:, 1], held_R2[:, 1])])
        held_N2, trained_S2 = np.concatenate(held), np.concatenate(trained)
        return np.concatenate(places), held_N2[:, 0], trained_S2[:, 0], trained_S2[:, 1], held_N2[:, 1]


def slots(
    lengths_M: np.ndarray, pieces_N: np.ndarray, rows_N: np.ndarray, seq_len: int
) -> tuple[np.ndarray, np.ndarray]:
    """For each slot of rows of pieces, which token is its input, and its position; row rows_N[i] has pieces_N[i].

    The pieces' tokens are counted end to end; what is padding gets a number beyond them. Its positions start again.
    """
    before_M1 = np.concatenate([[0], np.cumsum(lengths_M - 1)])  # slots that are taken, over all rows
    edges_N1 = np.concatenate([[0], np.cumsum(pieces_N)])
    first_N = rows_N * seq_len
    at_M = before_M1[:-1] + np.repeat(first_N - before_M1[edges_N1[:-1]], pieces_N)
    padding_N = first_N + np.diff(before_M1[edges_N1])
    padding_Q = padding_N[padding_N < first_N + seq_len]
    tokens_M1 = np.concatenate([[0], np.cumsum(lengths_M)])
    begins_R = np.concatenate([at_M, padding_Q])
    tokens_R = np.concatenate([tokens_M1[:-1], np.full(len(padding_Q), tokens_M1[-1])])
    order_R = np.argsort(begins_R, kind="stable")
    sizes_R = np.diff(begins_R[order_R], append=len(pieces_N) * seq_len)
    positions_F = ranges(np.zeros_like(sizes_R), sizes_R)
    return np.repeat(tokens_R[order_R], sizes_R) + positions_F, positions_F
