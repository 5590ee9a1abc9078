"""Near copies: candidates from the bands of the signatures, verified by the shingles they really share.

`candidates` looks at one band (a range of its hashes): records of one hash are compared with the first of them and
with their neighbour. `extract` takes the words of all candidates out of one part; `verify` compares the pairs of one
lot, whose words lie together. The similarity is Jaccard's, of sets of shingles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.clean.duplicates.corpus import Corpus, load, save
from pipeline.clean.duplicates.same import Range, first_of_run, repeats
from pipeline.clean.parts import read_band, read_rows
from pipeline.clean.text.codes import Codes, running
from pipeline.clean.text.shingles import LONG_SHINGLE, SHORT, SHORT_SHINGLE, mixed32, words_of
from utils.records import Record


@dataclass(frozen=True)
class Band:
    """One band, within a range of hashes."""

    range: Range
    band: int


@dataclass(frozen=True)
class Extract:
    """One part's candidates: rows within it, and to which lot each goes."""

    corpus: Corpus
    part: int
    rows: str
    """Saved array [2, K]: rows within the part, sorted by lot; and their lots."""


@dataclass(frozen=True)
class Lot:
    """Pairs to be verified together."""

    corpus: Corpus
    number: int
    parts: tuple[int, ...]
    """Those that hold words for it."""
    pairs: str
    """Saved array [2, K] of rows."""


def candidates(task: Band) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows, the earlier record first, that share this band."""
    corpus = task.range.corpus
    rows, hashes = task.range.repeated(lambda part: read_band(corpus.store, part, task.band))
    order = np.lexsort((corpus.positions(rows), hashes))
    rows, hashes = rows[order], hashes[order]
    again = repeats(hashes)
    first = first_of_run(again)
    later = np.flatnonzero(again)
    beside = later[first[later] != later - 1]
    pairs = np.stack([np.append(first[later], beside - 1), np.append(later, beside)])
    return rows[pairs[0]], rows[pairs[1]]


def extract(task: Extract) -> None:
    """Write the words of a part's candidates, lot by lot."""
    corpus = task.corpus
    rows, lots = load(corpus.store, task.rows)
    wanted = np.unique(rows)
    points, counts = [], []
    for start in range(0, len(wanted), 4096):
        some = wanted[start : start + 4096]
        said = [said_in(record) for _, record in read_rows(corpus.store, corpus.parts[task.part], some)]
        words = words_of(Codes(said))
        points.append(words.points_M)
        counts.append(words.counts_R)
    all_points, all_counts = np.concatenate(points), np.concatenate(counts)
    ends = np.cumsum(all_counts)
    place = np.searchsorted(wanted, rows)
    for lot in np.unique(lots).tolist():
        here = place[lots == lot]
        spans = [all_points[ends[p] - all_counts[p] : ends[p]] for p in here.tolist()]
        name = words_file(task.part, lot)
        save(corpus.store, f"{name}.words.npy", np.concatenate(spans))
        save(corpus.store, f"{name}.rows.npy", np.stack([rows[lots == lot], all_counts[here]]))


def words_file(part: int, lot: int) -> str:
    """Where a part's words for a lot lie."""
    return f"work/near/{lot:05d}-{part:06d}"


def said_in(record: Record) -> str:
    """All that a record says, as one text: what `measure` took for its words."""
    if record["kind"] == "text":
        return str(record["text"])
    turns = [m for name in ("messages", "chosen", "rejected") for m in record[name] or ()]
    return "\n".join(text for m in turns for text in (m["content"], m["reasoning"]) if text)


def verify(lot: Lot) -> np.ndarray:
    """The similarity of each pair of the lot."""
    store, first = lot.corpus.store, lot.corpus.first_rows()
    rows, counts, points = [], [], []
    for part in lot.parts:
        here = load(store, f"{words_file(part, lot.number)}.rows.npy")
        rows.append(here[0] + first[part])
        counts.append(here[1])
        points.append(load(store, f"{words_file(part, lot.number)}.words.npy"))
    all_rows, all_counts, all_points = np.concatenate(rows), np.concatenate(counts), np.concatenate(points)
    order = np.argsort(all_rows)
    places = [order[np.searchsorted(all_rows, side, sorter=order)] for side in load(store, lot.pairs)]
    starts = np.cumsum(all_counts) - all_counts
    return similarities(all_points, starts, all_counts, places[0], places[1])


def similarities(
    points: np.ndarray, starts: np.ndarray, counts: np.ndarray, left: np.ndarray, right: np.ndarray
) -> np.ndarray:
    """Jaccard's similarity of the shingle sets of records `left[i]` and `right[i]`, a few hundred pairs at a time."""
    found = np.zeros(len(left))
    step = 256
    for at in range(0, len(left), step):
        a, b = left[at : at + step], right[at : at + step]
        width = np.where(np.minimum(counts[a], counts[b]) >= SHORT, LONG_SHINGLE, SHORT_SHINGLE)
        sets_a = _shingle_keys(points, starts[a], counts[a], width)
        sets_b = _shingle_keys(points, starts[b], counts[b], width)
        sizes = (
            np.bincount(sets_a >> np.uint64(32), minlength=len(a)),
            np.bincount(sets_b >> np.uint64(32), minlength=len(a)),
        )
        both = np.concatenate([sets_a, sets_b])
        both.sort()
        shared = np.bincount(both[1:][both[1:] == both[:-1]] >> np.uint64(32), minlength=len(a))
        union = sizes[0] + sizes[1] - shared
        found[at : at + step] = np.where(union > 0, shared / np.maximum(union, 1), 0.0)
    return found


def _shingle_keys(points: np.ndarray, starts: np.ndarray, counts: np.ndarray, width: np.ndarray) -> np.ndarray:
    """The distinct (pair << 32 | shingle) of some records, sorted."""
    keys = []
    for wide in np.unique(width).tolist():
        pairs = np.flatnonzero(width == wide)
        lengths = np.maximum(counts[pairs] - wide + 1, 0)
        owner = np.repeat(pairs, lengths)
        place = running(starts[pairs], lengths)
        h = points[place]
        for step in range(1, wide):
            h = h * np.uint32(0x9E3779B1) + points[place + step]
        keys.append(owner.astype(np.uint64) << np.uint64(32) | mixed32(h))
    if not keys:
        return np.zeros(0, np.uint64)
    sorted_keys = np.concatenate(keys)
    sorted_keys.sort()
    return sorted_keys[np.concatenate([[True], sorted_keys[1:] != sorted_keys[:-1]])[: len(sorted_keys)]]
