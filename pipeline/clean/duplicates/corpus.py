"""All records at once, as the few numbers that comparing needs; and tasks that go over the parts' columns.

Records are known by their *row*: parts in order, a part's rows in the order of its files. Who came first is another
question (rows are shuffled): a record's *position* counts what was read before it, whatever order that was read in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.clean.parts import KINDS, Part, read_measures
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
        columns = (numpy_of(read_measures(self.store, part, [name])[name]) for part in self.parts)
        return np.concatenate([np.zeros(0, KINDS[name]), *columns])

    def positions(self, rows: np.ndarray) -> np.ndarray:
        """The positions of some rows."""
        return self.values("ordinal", rows) + np.array(self.read_before, np.int64)[self.parts_of(rows)]

    def parts_of(self, rows: np.ndarray) -> np.ndarray:
        """The number of each row's part."""
        return np.searchsorted(self.first_rows(), rows, side="right") - 1

    def values(self, name: str, rows: np.ndarray) -> np.ndarray:
        """A measure of some rows."""
        order = np.argsort(rows, kind="stable")
        found = [
            numpy_of(read_measures(self.store, self.parts[part], [name])[name])[within]
            for part, within in self.split_rows(rows[order])
        ]
        values: np.ndarray = np.empty(len(rows), KINDS[name])
        values[order] = np.concatenate([values[:0], *found])
        return values

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
    """What `save` wrote; of a local store only those of its pages that are looked at."""
    if store.is_local:
        mapped: np.ndarray = np.load(store.path(name), mmap_mode="r", allow_pickle=False)
        return mapped
    with store.read(name) as file:
        loaded: np.ndarray = np.load(file, allow_pickle=False)
        return loaded
