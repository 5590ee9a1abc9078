"""The second half of cleaning: which records stay, and in which split. Seconds, from measures; no corpus is read.

Every record gets its bits of rules that hit (`rules.py`), its split (or none), the group that keeps it together with
its question's siblings, and the number of records it stands for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pipeline.clean.config import CleanConfig, Rules, threshold
from pipeline.clean.duplicates import near
from pipeline.clean.duplicates.corpus import Corpus, save
from pipeline.clean.duplicates.same import ALIVE, Cap, Range, beyond, duplicates
from pipeline.clean.duplicates.survivors import Survival, survivors, united
from pipeline.clean.engines import Map
from pipeline.clean.parts import read_measures
from pipeline.clean.rules import (
    BEFORE_DUPLICATES,
    DUPLICATE,
    MEASURED,
    NEAR,
    PER_ANSWER,
    PER_QUESTION,
    bit,
    hits,
)
from pipeline.clean.text.shingles import BANDS
from utils.hashing import mixed64
from utils.records import SPLITS

ROWS_AT_ONCE = 8_000_000
"""Records whose hashes one task holds."""
CHARACTERS_AT_ONCE = 6_000_000
"""Characters of the pairs that one task verifies."""
OUT = -1


@dataclass(frozen=True)
class Choice:
    """What is decided of every row."""

    bits: np.ndarray
    split: np.ndarray
    """Its place in SPLITS, or OUT."""
    group: np.ndarray
    cluster_size: np.ndarray
    near: Survival
    """Near copies that went, and what stayed for them."""


@dataclass(frozen=True)
class Judge:
    """A part, and the rules of its source."""

    corpus: Corpus
    part: int
    rules: Rules


def choose(corpus: Corpus, rules: Sequence[Rules], sources: Sequence[str], config: CleanConfig, run: Map) -> Choice:
    """Decide; `rules` and `sources` stand beside the corpus's parts."""
    judged = [Judge(corpus, part, rules[part]) for part in range(len(corpus.parts))]
    bits = np.concatenate([np.zeros(0, np.uint32), *run(judge, judged)])
    alive = (bits & BEFORE_DUPLICATES) == 0
    cluster_size = np.ones(corpus.rows, np.int32)
    ranges = [Range(corpus, i, n) for n in [1 + corpus.rows // ROWS_AT_ONCE] for i in range(n)]

    save(corpus.store, ALIVE, alive)
    for gone, stays in run(duplicates, ranges):
        bits[gone] |= bit(DUPLICATE)
        alive[gone] = False
        np.add.at(cluster_size, stays, 1)
    for rule, column in ((PER_QUESTION, "group"), (PER_ANSWER, "answer")):
        limits = _per_row(corpus, [threshold(r, rule) or 0 for r in rules], np.int32)
        if limits.any():
            save(corpus.store, ALIVE, alive)
            save(corpus.store, "work/limits.npy", limits)
            for gone in run(beyond, [Cap(one, column, "work/limits.npy") for one in ranges]):
                bits[gone] |= bit(rule)
                alive[gone] = False
    survival = _near(corpus, rules, alive, ranges, run)
    bits[survival.gone] |= bit(NEAR)
    np.add.at(cluster_size, survival.stays, cluster_size[survival.gone])

    group = corpus.column("group")
    group = united(group, group[survival.gone], group[survival.stays])
    split = _splits(group, bits == 0, _per_row(corpus, _numbers(sources), np.int32), config)
    return Choice(bits, split, group, cluster_size, survival)


def judge(task: Judge) -> np.ndarray:
    """The bits of each of a part's records for the rules that look at one record."""
    return hits(read_measures(task.corpus.store, task.corpus.parts[task.part], MEASURED), task.rules)


def _numbers(sources: Sequence[str]) -> list[int]:
    names = list(dict.fromkeys(sources))
    return [names.index(source) for source in sources]


def _per_row(corpus: Corpus, of_parts: Sequence[float], kind: type) -> np.ndarray:
    return np.repeat(np.array(of_parts, kind), [part.rows for part in corpus.parts])


# ---------------------------------------------------------------- near copies


def _near(corpus: Corpus, rules: Sequence[Rules], alive: np.ndarray, ranges: Sequence[Range], run: Map) -> Survival:
    least = _per_row(corpus, [threshold(r, "near") or 0.0 for r in rules], np.float64)
    if not least.any():
        return Survival(np.zeros(0, np.int64), np.zeros(0, np.int64))
    save(corpus.store, ALIVE, alive & (least > 0))
    earlier, later = _pairs(corpus, ranges, run)
    earlier, later = _by_component(earlier, later)
    similarity = _verified(corpus, earlier, later, run)
    same = similarity >= np.maximum(least[earlier], least[later])
    earlier, later = earlier[same], later[same]
    return survivors(earlier, later, corpus.positions(earlier), corpus.positions(later))


def _pairs(corpus: Corpus, ranges: Sequence[Range], run: Map) -> tuple[np.ndarray, np.ndarray]:
    """All candidates, each once; merged band by band, so that their number and not the bands' sum is held."""
    known = np.zeros(0, np.uint64)
    tasks = [near.Band(one, band) for band in range(BANDS) for one in ranges]
    rows = np.uint64(max(corpus.rows, 1))
    for earlier, later in run(near.candidates, tasks):
        known = np.union1d(known, earlier.astype(np.uint64) * rows + later.astype(np.uint64))
    return (known // rows).astype(np.int64), (known % rows).astype(np.int64)


def _by_component(earlier: np.ndarray, later: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pairs, those of records that hang together side by side, so that few records fall into two lots."""
    component = united(earlier, earlier, later)
    order = np.lexsort((later, earlier, component))
    return earlier[order], later[order]


def _verified(corpus: Corpus, earlier: np.ndarray, later: np.ndarray, run: Map) -> np.ndarray:
    """The true similarity of each pair."""
    if not len(earlier):
        return np.zeros(0)
    chars = corpus.column("chars")
    lot_of_pair = np.cumsum(chars[earlier].astype(np.int64) + chars[later]) // CHARACTERS_AT_ONCE
    bounds = np.append(np.flatnonzero(np.diff(lot_of_pair, prepend=-1)), len(earlier))
    lots = []
    wanted = []
    for number, (start, end) in enumerate(pairwise(bounds.tolist())):
        pairs = np.stack([earlier[start:end], later[start:end]])
        save(corpus.store, f"work/near/{number:05d}.pairs.npy", pairs)
        rows = np.unique(pairs)
        wanted.append(np.stack([rows, np.full(len(rows), number)]))
        parts = np.unique(corpus.parts_of(rows))
        lots.append(near.Lot(corpus, number, tuple(parts.tolist()), f"work/near/{number:05d}.pairs.npy"))
    list(run(near.extract, list(_extracts(corpus, np.concatenate(wanted, axis=1)))))
    return np.concatenate(list(run(near.verify, lots)))


def _extracts(corpus: Corpus, wanted: np.ndarray) -> Iterator[near.Extract]:
    rows, lots = wanted[:, np.argsort(wanted[0], kind="stable")]
    at = 0
    for part, within in corpus.split_rows(rows):
        name = f"work/near/part-{part:06d}.npy"
        save(corpus.store, name, np.stack([within, lots[at : at + len(within)]]))
        at += len(within)
        yield near.Extract(corpus, part, name)


# ---------------------------------------------------------------- splits


def points_of(group: np.ndarray, seed: int) -> np.ndarray:
    """For each group a point between 0 and 1 that depends on it and the seed alone."""
    salt = mixed64(np.array([(seed + 1) & 0xFFFFFFFFFFFFFFFF], np.uint64))
    return mixed64(group ^ salt) / 2.0**64


def _splits(group: np.ndarray, kept: np.ndarray, source: np.ndarray, config: CleanConfig) -> np.ndarray:
    """Each kept row's split, by its group; a source of which nothing would train gives its last group to train."""
    point = points_of(group, config.seed)
    split = np.where(point < config.test, 2, np.where(point < config.test + config.valid, 1, 0)).astype(np.int8)
    split[~kept] = OUT
    rescued = []
    for number in np.unique(source[kept]):
        mine = np.flatnonzero((source == number) & kept)
        if not (split[mine] == 0).any():
            rescued.append(group[mine[np.lexsort((group[mine], point[mine]))[-1]]])
    if rescued:
        split[np.isin(group, np.array(rescued, np.uint64)) & kept] = 0
    return split


assert SPLITS == ("train", "valid", "test")
