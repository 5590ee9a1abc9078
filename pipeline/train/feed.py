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
from utils.scoring import UNTRAINED
from utils.shards import Source, marks, sources
from utils.stage import Json


@dataclass(frozen=True)
class Rows:
    """Rows as the model takes them, int64 [N, L]: targets are already shifted, UNTRAINED where nothing is learned."""

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

    def ids(self, consumed: int, lanes: range) -> list[tuple[str, int]]:
        """What identifies each of these sequences: its source, and which of the source's it is."""

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
    inputs_NL = tokens_NP[:, :-1].copy()
    targets_NL = tokens_NP[:, 1:].copy()
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
    places_L = np.arange(starts_NL.shape[1])
    return places_L - np.maximum.accumulate(np.where(starts_NL, places_L, 0), axis=1)


class RunningText:
    """Pretrain: documents run on; sequence k is tokens [kL, kL + L], the last one padded, so that none is lost."""

    def __init__(self, source: Source, seq_len: int, edge: int, pad: int):
        self.source, self.seq_len, self.edge, self.pad = source, seq_len, edge, pad
        self._targets = source.tokens  # all tokens but the first, and the edge that closes the source

    def __len__(self) -> int:
        return math.ceil(self._targets / self.seq_len)

    def rows(self, indices: np.ndarray) -> Rows:
        tokens_NP = np.empty((len(indices), self.seq_len + 1), np.int64)
        ends_N = np.minimum(self._targets + 1 - indices * self.seq_len, self.seq_len + 1)
        for tokens_P, index, end in zip(tokens_NP, indices.tolist(), ends_N.tolist(), strict=True):
            start = index * self.seq_len
            stored = min(end, self.source.tokens - start)
            self.source.read(start, tokens_P[:stored])
            tokens_P[stored:] = self.edge  # at most one is real: the edge that closes the source
        return split_rows(tokens_NP, ends_N, self.edge, self.pad)


class BinnedDialogues:
    """Finetune: whole dialogues side by side in a row; only what their spans name is trained."""

    def __init__(self, source: Source, plan: Plan, seq_len: int, pad: int):
        self.source, self.plan, self.seq_len, self.pad = source, plan, seq_len, pad
        self._edges_B1 = np.asarray(plan.edges_B1)  # the same memory; a memmap's own slicing is slow
        self._pieces_P3 = np.asarray(plan.pieces_P3)

    def __len__(self) -> int:
        return len(self._edges_B1) - 1

    def rows(self, indices: np.ndarray) -> Rows:
        shape = (len(indices), self.seq_len)
        inputs_NL = np.full(shape, self.pad, np.int64)
        targets_NL = np.full(shape, UNTRAINED, np.int64)
        starts_NL = np.zeros(shape, bool)
        for row, index in enumerate(indices.tolist()):
            at = 0
            pieces = self._pieces_P3[self._edges_B1[index] : self._edges_B1[index + 1]]
            for document, start, end in pieces.tolist():
                starts_NL[row, at] = True
                self._lay(inputs_NL[row, at:], targets_NL[row, at:], document, start, end)
                at += end - start - 1
            if at < self.seq_len:
                starts_NL[row, at] = True
        return Rows(inputs_NL, targets_NL, positions(starts_NL))

    def _lay(self, inputs: np.ndarray, targets: np.ndarray, document: int, start: int, end: int) -> None:
        """Tokens [start, end) of a document at the beginning of these views; slot i predicts token start + 1 + i."""
        tokens, spans = self.source.document(document)
        inputs[: end - start - 1] = tokens[start : end - 1]
        for first, last in [(0, end)] if spans is None else spans:
            first, last = max(first, start + 1), min(last, end)
            if first < last:
                targets[first - start - 1 : last - start - 1] = tokens[first:last]


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
        self._reading = reading
        self.by_source = held_out(pack, verb, seq_len, cache, split="train")
        sizes = {name: len(sequences) for name, sequences in self.by_source.items()}
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

    def rows(self, consumed: int, lanes: range) -> Rows:
        source_N, index_N = self._placed(consumed, lanes)
        rows = Rows(*(np.empty((len(lanes), self.seq_len), np.int64) for _ in fields(Rows)))
        for number in np.unique(source_N).tolist():
            these_N = source_N == number
            some = self.by_source[self._names[number]].rows(index_N[these_N])
            for field in fields(Rows):
                getattr(rows, field.name)[these_N] = getattr(some, field.name)
        return self._reading(rows, consumed + lanes.start) if self._reading else rows

    def ids(self, consumed: int, lanes: range) -> list[tuple[str, int]]:
        source_N, index_N = self._placed(consumed, lanes)
        return [(self._names[number], index) for number, index in zip(source_N.tolist(), index_N.tolist(), strict=True)]

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


def held_out(pack: Path, verb: Verb, seq_len: int, cache: Path, split: str = "valid") -> dict[str, Sequences]:
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
