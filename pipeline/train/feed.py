"""Token shards come in, rows of a batch go out: a pure function of one integer, the sequences consumed.

Nothing here knows of processes, steps or torch. A feed is asked for the rows `lanes` of the batch that begins at
sequence `consumed`; who asks, and for how many at a time, changes nothing.

Shapes: N rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from pipeline.train.bins import planned
from pipeline.train.config import Verb
from pipeline.train.order import assigned, permuted_in_groups, weights
from pipeline.train.rows import BinnedDialogues, Layout, Rows, RunningText
from utils.chat import END_OF_TEXT, PAD, TURN
from utils.console import UserError
from utils.memory import keep_freed
from utils.shards import marks, sources
from utils.stage import Json

Reading = Callable[[Rows, int], Rows]
"""What is made of rows as they are read, given the number of the first; it may depend on nothing else."""


class Feed(Protocol):
    """Where the loop gets its rows."""

    @property
    def sequences(self) -> int:
        """How many make an epoch."""

    def rows(self, consumed: int, lanes: range) -> Rows:
        """Rows `lanes` of the batch that begins at sequence `consumed`."""

    def ids(self, consumed: int, lanes: range) -> list[list[str]]:
        """The records that each of these rows is made from."""

    def cursors(self) -> Json:
        """State beyond `consumed`, as JSON, of the lanes that were asked for here; most feeds have none."""

    def seek(self, cursors: Json) -> None:
        """Go on from the cursors of all lanes."""


@dataclass(frozen=True)
class Sequences:
    """The sequences of one source, in stored order."""

    layout: Layout
    number: int

    def __len__(self) -> int:
        return self.layout.sizes[self.number]

    def rows(self, indices: np.ndarray) -> Rows:
        """These sequences."""
        return self.layout.rows(np.full(len(indices), self.number), indices)


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
        names, self._layout = laid_out(pack, verb, "train", seq_len, cache)
        self.by_source = each(names, self._layout)
        sizes = {name: len(sequences) for name, sequences in self.by_source.items()}
        if not any(sizes.values()) and self.counts.get("documents"):
            raise UserError(f"{verb}.seq_len = {seq_len}: no turn that is trained fits in a row; give longer rows")
        if not any(sizes.values()):
            raise UserError(f"{pack / verb}: nothing to train on there; give clean.inputs records of that kind")
        self._weights = weights(sizes, mix, f"{verb}.mix")
        self._names = list(self._weights)
        self._numbers = np.array([self.by_source[name].number for name in self._names])
        self._sizes = [sizes[name] for name in self._names]
        self.seq_len, self._seed = seq_len, seed
        self.left_aside = [name for name in sizes if name not in self._weights]
        """Sources that the mix gives no share, or that hold nothing."""

    @property
    def sequences(self) -> int:
        return sum(self._sizes)

    @property
    def counts(self) -> dict[str, int]:
        """What binning did, over all sources; nothing for pretrain."""
        total: dict[str, int] = {}
        for plan in self._layout.plans if isinstance(self._layout, BinnedDialogues) else ():
            for name, count in plan.counts.items():
                total[name] = total.get(name, 0) + count
        return total

    @property
    def a_row_holds(self) -> tuple[float, float] | None:
        """Dialogues and slots taken in a row, on average over the mix; nothing for pretrain."""
        if not isinstance(self._layout, BinnedDialogues):
            return None
        dialogues = slots = 0.0
        total = sum(self._weights.values())
        for number, size, weight in zip(self._numbers, self._sizes, self._weights.values(), strict=True):
            counts = self._layout.plans[number].counts
            dialogues += weight / total * counts["pieces"] / size
            slots += weight / total * counts["slots"] / size
        return dialogues, slots

    def rows(self, consumed: int, lanes: range) -> Rows:
        source_N, index_N = self._placed(consumed, lanes)
        rows = self._layout.rows(self._numbers[source_N], index_N)
        return self._reading(rows, consumed + lanes.start) if self._reading else rows

    def ids(self, consumed: int, lanes: range) -> list[list[str]]:
        source_N, index_N = self._placed(consumed, lanes)
        return self._layout.ids(self._numbers[source_N], index_N)

    def cursors(self) -> Json:
        return {}

    def seek(self, cursors: Json) -> None:
        assert not cursors, "shards have no state beyond the sequences consumed"

    def _placed(self, consumed: int, lanes: range) -> tuple[np.ndarray, np.ndarray]:
        """Each lane's source, and which of its sequences: every source turns over its own epochs."""
        positions_N = np.arange(consumed + lanes.start, consumed + lanes.stop)
        source_N, ordinal_N = assigned(positions_N, list(self._weights.values()))
        size_N = np.array(self._sizes)[source_N]
        # an epoch of a source is a group of its own, with an order of its own
        groups, group_N = np.unique(ordinal_N // size_N * len(self._names) + source_N, return_inverse=True)
        turns = [divmod(group, len(self._names)) for group in groups.tolist()]
        keys = [f"{self._seed}/{self._names[number]}/{epoch}" for epoch, number in turns]
        sizes = [self._sizes[number] for _, number in turns]
        return source_N, permuted_in_groups(ordinal_N % size_N, group_N, sizes, keys)


def sequences_of(pack: Path, verb: Verb, split: str, seq_len: int, cache: Path) -> dict[str, Sequences]:
    """A split's sequences by source: fixed, complete, each byte in one of them. Empty if the split is."""
    return each(*laid_out(pack, verb, split, seq_len, cache))


def each(names: Sequence[str], layout: Layout) -> dict[str, Sequences]:
    """The sequences of each source that is laid out there."""
    return {name: Sequences(layout, number) for number, name in enumerate(names)}


def laid_out(pack: Path, verb: Verb, split: str, seq_len: int, cache: Path) -> tuple[list[str], Layout]:
    """A split's sources by name, and how the sequences of each become rows."""
    ids = marks(pack)
    pad, edge, turn = ids[PAD], ids[END_OF_TEXT], ids[TURN]
    by_name = sources(pack, verb, split)
    names, found = list(by_name), list(by_name.values())
    if verb == "pretrain":
        return names, RunningText(found, seq_len, edge, pad)
    plans = [planned(source, seq_len, turn, cache) for source in found]
    return names, BinnedDialogues(found, plans, seq_len, pad)


def batches(sequences: Sequences, rows: int, rank: int = 0, world: int = 1) -> Iterator[Rows]:
    """All sequences, `rows` at a time; of every `world` batches the one that is this rank's."""
    for start in range(rank * rows, len(sequences), world * rows):
        yield sequences.rows(np.arange(start, min(start + rows, len(sequences))))
