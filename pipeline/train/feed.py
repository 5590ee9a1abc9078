"""Token shards come in, rows of a batch go out: a pure function of one integer, the sequences consumed.

Nothing here knows of processes, steps or torch. A feed is asked for the rows `lanes` of the batch that begins at
sequence `consumed`; who asks, and for how many at a time, changes nothing. In a row the documents stand end to end,
and positions start again at each one's first token (and at the row's), which is how the model tells them apart.

Shapes: N rows, L = seq_len, P = L + 1 tokens of a row before they become inputs and targets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

import numpy as np

from pipeline.train.bins import Plan, planned
from pipeline.train.config import Verb
from pipeline.train.order import assigned, permuted, weights
from utils.chat import END_OF_TEXT, PAD, TURN
from utils.console import UserError
from utils.memory import keep_freed
from utils.scoring import UNTRAINED
from utils.shards import Source, marks, ranges, sources
from utils.stage import Json


@dataclass(frozen=True)
class Rows:
    """Rows as the model takes them, [N, L]: targets are already shifted, UNTRAINED where nothing is learned.

    int32, which is half the memory to fill; the loop widens them for torch, a micro-batch at a time.
    """

    input_ids: np.ndarray
    targets: np.ndarray
    position_ids: np.ndarray


Reading = Callable[[Rows, int], Rows]
"""What is made of rows as they are read, given the number of the first; it may depend on nothing else."""


class Feed(Protocol):
    """Where the loop gets its rows."""

    @property
    def sequences(self) -> int:
        """How many make an epoch."""

    def rows(self, consumed: int, lanes: range) -> Rows:
        """Rows `lanes` of the batch that begins at sequence `consumed`."""

    def cursors(self) -> Json:
        """State beyond `consumed`, as JSON, of the lanes that were asked for here; most feeds have none."""

    def seek(self, cursors: Json) -> None:
        """Go on from the cursors of all lanes."""


class Sequences(Protocol):
    """The sequences of one source, in stored order."""

    def __len__(self) -> int: ...

    def rows(self, indices: np.ndarray) -> Rows:
        """These sequences."""


# ---------------------------------------------------------------- rows


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

    def __init__(self, source: Source, seq_len: int, edge: int, pad: int):
        self.source, self.seq_len, self.edge, self.pad = source, seq_len, edge, pad
        self._targets = source.tokens  # all tokens but the first, and the edge that closes the source

    def __len__(self) -> int:
        return math.ceil(self._targets / self.seq_len)

    def rows(self, indices: np.ndarray) -> Rows:
        starts_N = indices * self.seq_len
        ends_N = np.minimum(self._targets + 1 - starts_N, self.seq_len + 1)
        tokens_T = self.source.take(starts_N, np.minimum(starts_N + ends_N, self.source.tokens))
        if len(tokens_T) == len(indices) * (self.seq_len + 1):
            return split_rows(tokens_T.reshape(len(indices), -1), ends_N, self.edge, self.pad)
        stored_N = np.minimum(ends_N, self.source.tokens - starts_N)
        tokens_NP = np.full((len(indices), self.seq_len + 1), self.edge)  # of these one is real: it closes the source
        tokens_NP[np.arange(self.seq_len + 1) < stored_N[:, None]] = tokens_T
        return split_rows(tokens_NP, ends_N, self.edge, self.pad)


class BinnedDialogues:
    """Finetune: whole dialogues side by side in a row; only what their spans name is trained."""

    def __init__(self, source: Source, plan: Plan, seq_len: int, pad: int):
        self.source, self.plan, self.seq_len, self.pad = source, plan, seq_len, pad

    def __len__(self) -> int:
        return len(self.plan.edges_B2) - 1

    def rows(self, indices: np.ndarray) -> Rows:
        shape = (len(indices), self.seq_len)
        first_N2, end_N2 = self.plan.edges_B2[indices], self.plan.edges_B2[indices + 1]
        pieces_N, stretches_N = (end_N2 - first_N2).T
        starts_M, ends_M = self.plan.pieces_P2[ranges(first_N2[:, 0], pieces_N)].astype(np.int64).T
        tokens_T = self.source.take(starts_M, ends_M)
        tokens_T = np.append(tokens_T, tokens_T.dtype.type(self.pad))
        sources_F, positions_F = slots(ends_M - starts_M, pieces_N, self.seq_len)
        firsts_S, ends_S = self.plan.trained_S2[ranges(first_N2[:, 1], stretches_N)].astype(np.int64).T
        row_S = np.repeat(np.arange(len(indices)) * self.seq_len, stretches_N)
        learned_K = ranges(firsts_S + row_S, ends_S - firsts_S)
        targets_F = np.full(len(sources_F), UNTRAINED, np.int32)
        targets_F[learned_K] = tokens_T[sources_F[learned_K] + 1]
        inputs_F = tokens_T.take(sources_F, mode="clip").astype(np.int32)
        return Rows(inputs_F.reshape(shape), targets_F.reshape(shape), positions_F.astype(np.int32).reshape(shape))


def slots(lengths_M: np.ndarray, pieces_N: np.ndarray, seq_len: int) -> tuple[np.ndarray, np.ndarray]:
    """For each slot of rows of pieces, one row behind the other: which token is its input, and its position.

    The pieces' tokens are counted end to end; what is padding gets a number beyond them. Its positions start again.
    """
    before_M1 = np.concatenate([[0], np.cumsum(lengths_M - 1)])  # slots that are taken, over all rows
    edges_N1 = np.concatenate([[0], np.cumsum(pieces_N)])
    rows_N = np.arange(len(pieces_N)) * seq_len
    at_M = before_M1[:-1] + np.repeat(rows_N - before_M1[edges_N1[:-1]], pieces_N)
    padding_N = rows_N + np.diff(before_M1[edges_N1])
    padding_Q = padding_N[padding_N < rows_N + seq_len]
    tokens = np.cumsum(lengths_M)
    begins_R = np.concatenate([at_M, padding_Q])
    tokens_R = np.concatenate([tokens - lengths_M, np.full(len(padding_Q), tokens[-1])])
    order_R = np.argsort(begins_R, kind="stable")
    sizes_R = np.diff(begins_R[order_R], append=len(pieces_N) * seq_len)
    positions_F = ranges(np.zeros_like(sizes_R), sizes_R)
    return np.repeat(tokens_R[order_R], sizes_R) + positions_F, positions_F


# ---------------------------------------------------------------- feeds


class ShardFeed:
    """Packed shards in an order drawn from the seed, sources mixed by their shares."""

    def __init__(
        self,
        pack: Path,
        verb: Verb,
        seq_len: int,
        seed: int,
        mix: Mapping[str, float],
        cache: Path,
        reading: Reading | None = None,
    ):
        keep_freed()  # a batch is some megabytes, made anew every step: clearing pages would take as long as reading
        self._reading = reading
        self.by_source = sequences_of(pack, verb, "train", seq_len, cache)
        sizes = {name: len(sequences) for name, sequences in self.by_source.items()}
        if not any(sizes.values()) and self.counts.get("documents"):
            raise UserError(f"{verb}.seq_len = {seq_len}: no turn that is trained fits in a row; give longer rows")
        if not any(sizes.values()):
            raise UserError(f"{pack / verb}: nothing to train on there; give clean.inputs records of that kind")
        self._weights = weights(sizes, mix, f"{verb}.mix")
        self._names = list(self._weights)
        self.seq_len, self._seed = seq_len, seed
        self.left_aside = [name for name in sizes if name not in self._weights]
        """Sources that the mix gives no share, or that hold nothing."""

    @property
    def sequences(self) -> int:
        return sum(len(self.by_source[name]) for name in self._names)

    @property
    def counts(self) -> dict[str, int]:
        """What binning did, over all sources; nothing for pretrain."""
        total: dict[str, int] = {}
        for sequences in self.by_source.values():
            for name, count in sequences.plan.counts.items() if isinstance(sequences, BinnedDialogues) else ():
                total[name] = total.get(name, 0) + count
        return total

    @property
    def a_row_holds(self) -> tuple[float, float] | None:
        """Dialogues and slots taken in a row, on average over the mix; nothing for pretrain."""
        dialogues = slots = 0.0
        for name, weight in self._weights.items():
            sequences = self.by_source[name]
            if not isinstance(sequences, BinnedDialogues):
                return None
            dialogues += weight * sequences.plan.counts["pieces"] / len(sequences)
            slots += weight * sequences.plan.counts["slots"] / len(sequences)
        total = sum(self._weights.values())
        return dialogues / total, slots / total

    def rows(self, consumed: int, lanes: range) -> Rows:
        source_N, index_N = self._placed(consumed, lanes)
        rows = Rows(*(np.empty((len(lanes), self.seq_len), np.int32) for _ in fields(Rows)))
        for number in np.unique(source_N).tolist():
            these_N = source_N == number
            some = self.by_source[self._names[number]].rows(index_N[these_N])
            if len(some.targets) == len(lanes):
                rows = some
                break
            for field in fields(Rows):
                getattr(rows, field.name)[these_N] = getattr(some, field.name)
        return self._reading(rows, consumed + lanes.start) if self._reading else rows

    def cursors(self) -> Json:
        return {}

    def seek(self, cursors: Json) -> None:
        assert not cursors, "shards have no state beyond the sequences consumed"

    def _placed(self, consumed: int, lanes: range) -> tuple[np.ndarray, np.ndarray]:
        """Each lane's source, and which of its sequences: every source turns over its own epochs."""
        positions_N = np.arange(consumed + lanes.start, consumed + lanes.stop)
        source_N, ordinal_N = assigned(positions_N, list(self._weights.values()))
        index_N = np.empty_like(ordinal_N)
        for number in np.unique(source_N).tolist():
            name = self._names[number]
            size = len(self.by_source[name])
            epoch_N = ordinal_N // size
            for epoch in np.unique(epoch_N[source_N == number]).tolist():
                these_N = (source_N == number) & (epoch_N == epoch)
                index_N[these_N] = permuted(ordinal_N[these_N] % size, size, f"{self._seed}/{name}/{epoch}")
        return source_N, index_N


def sequences_of(pack: Path, verb: Verb, split: str, seq_len: int, cache: Path) -> dict[str, Sequences]:
    """A split's sequences by source: fixed, complete, each byte in one of them. Empty if the split is."""
    ids = marks(pack)
    pad, edge, turn = ids[PAD], ids[END_OF_TEXT], ids[TURN]
    found = sources(pack, verb, split)
    if verb == "pretrain":
        return {name: RunningText(source, seq_len, edge, pad) for name, source in found.items()}
    plans = {name: planned(source, seq_len, turn, cache) for name, source in found.items()}
    return {name: BinnedDialogues(source, plans[name], seq_len, pad) for name, source in found.items()}


def batches(sequences: Sequences, rows: int, rank: int = 0, world: int = 1) -> Iterator[Rows]:
    """All sequences, `rows` at a time; of every `world` batches the one that is this rank's."""
    for start in range(rank * rows, len(sequences), world * rows):
        yield sequences.rows(np.arange(start, min(start + rows, len(sequences))))
