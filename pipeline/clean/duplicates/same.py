"""Records that say exactly the same, and those beyond the first few of one question or one answer.

A task looks at one range of hashes, so that no process has to hold all of them; `alive` and `position` are arrays
over all rows that the stage has saved.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.clean.duplicates.corpus import Corpus, load

ALIVE, POSITION = "work/alive.npy", "work/position.npy"


@dataclass(frozen=True)
class Range:
    """Hashes whose share of all hashes lies between index/count and (index+1)/count."""

    corpus: Corpus
    index: int
    count: int

    def of(self, hashes: np.ndarray) -> np.ndarray:
        """Which hashes lie in it."""
        if self.count == 1:
            return np.ones(len(hashes), bool)
        return (hashes >> np.uint64(40)) * np.uint64(self.count) >> np.uint64(24) == np.uint64(self.index)


@dataclass(frozen=True)
class Cap:
    """At most `most[source]` records of one hash in `column` (0: no limit)."""

    range: Range
    column: str
    limits: str
    """Saved array: for each row its limit."""


def duplicates(part: Range) -> tuple[np.ndarray, np.ndarray]:
    """Rows that say what an earlier record says, and for each the row of the first that says it."""
    a = part.corpus.column("hash_a")
    rows = np.flatnonzero(part.of(a) & load(part.corpus.store, ALIVE))
    a = a[rows]
    b = part.corpus.column("hash_b")[rows]
    order = np.lexsort((load(part.corpus.store, POSITION)[rows], b, a))
    rows, a, b = rows[order], a[order], b[order]
    again = np.zeros(len(rows), bool)
    again[1:] = (a[1:] == a[:-1]) & (b[1:] == b[:-1])
    return rows[again], rows[_first_of_run(again)][again]


def beyond(cap: Cap) -> np.ndarray:
    """Rows that come too late: enough earlier records have the same hash."""
    store = cap.range.corpus.store
    hashes = cap.range.corpus.column(cap.column)
    rows = np.flatnonzero(cap.range.of(hashes) & load(store, ALIVE))
    hashes = hashes[rows]
    order = np.lexsort((load(store, POSITION)[rows], hashes))
    rows, hashes = rows[order], hashes[order]
    again = np.zeros(len(rows), bool)
    again[1:] = hashes[1:] == hashes[:-1]
    rank = np.arange(len(rows)) - _first_of_run(again)
    limits = load(store, cap.limits)[rows]
    return rows[(limits > 0) & (rank >= limits)]


def _first_of_run(again: np.ndarray) -> np.ndarray:
    """For each place the place of the last one that is no repetition."""
    return np.maximum.accumulate(np.where(again, 0, np.arange(len(again))))
