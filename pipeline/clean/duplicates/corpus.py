"""All records at once, as the few numbers that comparing needs; and tasks that go over the parts' columns.

Records are known by their *row*: parts in order, a part's rows in the order of its files. Who came first is another
question (rows are shuffled): a record's *position* counts what was read before it, whatever order that was read in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.clean.parts import KINDS, Part, read_band, read_measures
from pipeline.clean.store import Store
from utils.arrays import numpy_of


@dataclass(frozen=True)
class Corpus:
    """The parts of all sources, and where each one's rows and positions begin."""

    store: Store
    parts: tuple[Part, ...]
    read_before: tuple[int, ...]
    """For each part the records read before its piece."""

    @property
    def rows(self) -> int:
        """How many records there are."""
        return sum(part.rows for part in self.parts)

    def first_rows(self) -> np.ndarray:
        """The row at which each part begins, and behind the last one their number."""
        return np.concatenate([[0], np.cumsum([part.rows for part in self.parts])]).astype(np.int64)

    def column(self, name: str) -> np.ndarray:
        """One measure of every record."""
        none = np.zeros(0, KINDS[name])
        return np.concatenate([none, *(numpy_of(read_measures(self.store, part, [name])[name]) for part in self.parts)])

    def positions(self) -> np.ndarray:
        """Every record's position."""
        return self.column("ordinal") + np.repeat(self.read_before, [part.rows for part in self.parts]).astype(np.int64)

    def band(self, band: int) -> np.ndarray:
        """One band of every record."""
        return np.concatenate([np.zeros(0, np.uint64), *(read_band(self.store, part, band) for part in self.parts)])

    def split_rows(self, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Sorted rows, by part: (number of the part, rows within it)."""
        first = self.first_rows()
        bounds = np.searchsorted(rows, first)
        for number in range(len(self.parts)):
            if bounds[number] < bounds[number + 1]:
                yield number, rows[bounds[number] : bounds[number + 1]] - first[number]


def save(store: Store, name: str, values: np.ndarray) -> None:
    """An array for tasks to read."""
    with store.write(name) as file:
        np.save(file, values, allow_pickle=False)


def load(store: Store, name: str) -> np.ndarray:
    """What `save` wrote."""
    with store.read(name) as file:
        loaded: np.ndarray = np.load(file, allow_pickle=False)
        return loaded
