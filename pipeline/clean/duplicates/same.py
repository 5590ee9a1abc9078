"""Records that say exactly the same, and those beyond the first few of one question or one answer.

A task looks at one range of hashes, part by part, so that no process has to hold all of them; `ALIVE` is an array
over all rows that the stage has saved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.clean.duplicates.corpus import Corpus, load
from pipeline.clean.parts import Part, read_measures
from utils.arrays import numpy_of

ALIVE = "work/alive.npy"


@dataclass(frozen=True)
class Range:
    """Hashes whose share of all hashes lies between index/count and (index+1)/count."""

    corpus: Corpus
    index: int
    count: int

    def repeated(self, hashes_of: Callable[[Part], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Rows that are alive and whose hash, in this range, another such row shares; and their hashes."""
        alive, first = load(self.corpus.store, ALIVE), self.corpus.first_rows()
        rows, hashes = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)]
        for number, part in enumerate(self.corpus.parts):
            mine = hashes_of(part)
            here = np.flatnonzero(self._holds(mine) & alive[first[number] : first[number + 1]])
            rows.append(here + first[number])
            hashes.append(mine[here])
        all_rows, all_hashes = np.concatenate(rows), np.concatenate(hashes)
        order = np.argsort(all_hashes, kind="stable")
        all_rows, all_hashes = all_rows[order], all_hashes[order]
        again = repeats(all_hashes)
        shared = again | np.append(again[1:], False)
        return all_rows[shared], all_hashes[shared]

    def _holds(self, hashes: np.ndarray) -> np.ndarray:
        if self.count == 1:
            return np.ones(len(hashes), bool)
        return (hashes >> np.uint64(40)) * np.uint64(self.count) >> np.uint64(24) == np.uint64(self.index)


@dataclass(frozen=True)
class Cap:
    """At most so many records of one hash in `column`; `limits` is saved, for each row its limit (0: none)."""

    range: Range
    column: str
    limits: str


def duplicates(hashes: Range) -> tuple[np.ndarray, np.ndarray]:
    """Rows that say what an earlier record says, and for each the row of the first that says it."""
    rows, a = hashes.repeated(measure_of(hashes.corpus, "hash_a"))
    b = hashes.corpus.values("hash_b", rows)
    order = np.lexsort((hashes.corpus.positions(rows), b, a))
    rows, a, b = rows[order], a[order], b[order]
    again = repeats(a) & repeats(b)
    return rows[again], rows[first_of_run(again)][again]


def beyond(cap: Cap) -> np.ndarray:
    """Rows that come too late: enough earlier records have the same hash."""
    corpus = cap.range.corpus
    rows, hashes = cap.range.repeated(measure_of(corpus, cap.column))
    order = np.lexsort((corpus.positions(rows), hashes))
    rows, hashes = rows[order], hashes[order]
    rank = np.arange(len(rows)) - first_of_run(repeats(hashes))
    limits = load(corpus.store, cap.limits)[rows]
    return rows[(limits > 0) & (rank >= limits)]


def measure_of(corpus: Corpus, name: str) -> Callable[[Part], np.ndarray]:
    """How to read a measure of a part."""
    return lambda part: numpy_of(read_measures(corpus.store, part, [name])[name])


def repeats(values: np.ndarray) -> np.ndarray:
    """Which of the sorted values are the one before them."""
    again = np.zeros(len(values), bool)
    again[1:] = values[1:] == values[:-1]
    return again


def first_of_run(again: np.ndarray) -> np.ndarray:
    """For each place the place of the last one that is no repetition."""
    return np.maximum.accumulate(np.where(again, 0, np.arange(len(again))))
