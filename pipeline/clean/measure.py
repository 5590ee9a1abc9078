"""What is measured of every record, so that rules are thresholds over columns and can be cut anew without reading.

`parts.MEASURES` lists the columns; beside them stand what identifies a record (`hash`), its question (`group`) and its
answer, and the bands of its signature. All of it comes from one pass over the batch's code points.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import xxhash

from pipeline.clean.batch import ASSISTANT, TEXT, USER, WHAT, Batch
from pipeline.clean.exams import Exams
from pipeline.clean.parts import KINDS, MEASURES
from pipeline.clean.text import codes as c
from pipeline.clean.text.codes import Codes, running
from pipeline.clean.text.flags import tables_T, translations_T
from pipeline.clean.text.phrases import ads, candidates, tails, vulgar
from pipeline.clean.text.shingles import Words, bands, signatures, words_of
from pipeline.clean.text.swaps import swap_phrases
from utils.arrays import arrow
from utils.hashing import mixed64

GRAMS = (2, 3, 4)
LEAST_FOR_GRAMS = 50
"""Characters below which a frequent pair says nothing."""

_EXACT_FROM = 0.12
"""Shares of frequent grams are upper bounds below this, and exact above."""


@dataclass(frozen=True)
class Measured:
    """A batch's measures, and the hashes of its signatures' bands, [BANDS, R]."""

    columns: pa.Table
    bands: np.ndarray


def measure(batch: Batch, seed: int, source: str, exams: Exams) -> Measured:
    """Measure a batch whose fields are mended."""
    codes = Codes(batch.fields)
    counts_R = np.array(batch.counts_R, np.int64)
    roles_F = np.array(batch.roles_F, np.int8) & WHAT
    lengths_F = codes.lengths_T - 1
    per_record = _PerRecord(np.cumsum(counts_R) - counts_R)

    words_F = words_of(codes)
    words_R = words_F.regrouped(per_record.sum(words_F.counts_R))
    hashes = _hashes(batch, words_F, roles_F, source)
    chars_R = np.maximum(per_record.sum(lengths_F), 1)
    letters_R = np.maximum(per_record.sum(codes.count_T((codes.kinds_N & np.uint16(c.HAN | c.LATIN)) != 0)), 1)
    asked = roles_F == USER
    required = (roles_F == TEXT) | (roles_F == ASSISTANT)
    grams = _top_grams(codes, per_record, chars_R)
    for_ads, for_vulgar, for_swaps, for_tails = candidates(codes, (ads(), vulgar(), swap_phrases(), tails()))

    def count(kind: int) -> np.ndarray:
        return per_record.sum(codes.count_T((codes.kinds_N & np.uint16(kind)) != 0))

    columns = {
        "ordinal": np.array(batch.ordinals, np.int64),
        "key": mixed64(hashes["hash_a"] ^ mixed64(np.array([seed & 0xFFFFFFFFFFFFFFFF], np.uint64))),
        **hashes,
        "chars": per_record.sum(lengths_F),
        "bytes": per_record.sum(_bytes(codes)),
        "shortest": per_record.least(np.where(required, lengths_F, 1 << 30)),
        "blank": per_record.least(np.where(required | asked, lengths_F, 1)) == 0,
        "score": np.array(batch.scores, np.float32),
        "han": count(c.HAN) / letters_R,
        "digits": count(c.DIGIT) / chars_R,
        "symbols": count(c.SYMBOL) / chars_R,
        "repeated_lines": per_record.sum(_repeated_lines(codes)) / chars_R,
        "top_2gram": grams[0],
        "top_3gram": grams[1],
        "top_4gram": grams[2],
        "sentences": count(c.SENTENCE_END),
        "ads": per_record.sum(ads().count_T(codes, for_ads)),
        "vulgar": per_record.sum(vulgar().count_T(codes, for_vulgar)),
        "swaps": per_record.sum(swap_phrases().count_T(codes, for_swaps)) * 100 / chars_R,
        "tail": per_record.any(tails().near_end_T(codes, for_tails) & required),
        "table": per_record.any(tables_T(codes, asked)),
        "translation": per_record.any(translations_T(codes, asked)),
        "leaked": per_record.any(exams.found_in(words_F)),
    }
    table = pa.table([arrow(columns[name].astype(kind)) for name, kind in KINDS.items()], schema=MEASURES)
    return Measured(table, bands(signatures(words_R)))


class _PerRecord:
    """Answers about fields become answers about records; every record has a field."""

    def __init__(self, starts_R: np.ndarray):
        self.starts_R = starts_R

    def sum(self, values_F: np.ndarray) -> np.ndarray:
        return np.add.reduceat(values_F, self.starts_R, dtype=np.int64)

    def least(self, values_F: np.ndarray) -> np.ndarray:
        return np.minimum.reduceat(values_F, self.starts_R)

    def any(self, values_F: np.ndarray) -> np.ndarray:
        return np.logical_or.reduceat(values_F, self.starts_R)


def _hashes(batch: Batch, words_F: Words, roles_F: np.ndarray, source: str) -> dict[str, np.ndarray]:
    """What identifies each record, its question and its answer; the record itself, where it has none."""
    whole = [xxhash.xxh3_128_intdigest(said) for said in batch.saying()]
    low = np.array([h & 0xFFFFFFFFFFFFFFFF for h in whole], np.uint64)
    high = np.array([h >> 64 for h in whole], np.uint64)
    owner_F = np.repeat(np.arange(len(batch)), batch.counts_R)
    group, answer = low.copy(), low.copy()
    for hashes, role in ((group, USER), (answer, ASSISTANT)):
        places = np.flatnonzero(roles_F == role)
        places = places[np.diff(owner_F[places], prepend=-1) != 0]  # the first of each record
        hashes[owner_F[places]] = _said(words_F, places, batch.fields)
    for r, siblings in enumerate(batch.siblings):
        if siblings:
            group[r] = xxhash.xxh3_64_intdigest(f"{source}/{siblings}".encode())
    return {"hash_a": low, "hash_b": high, "group": group, "answer": answer}


def _said(words_F: Words, places: np.ndarray, fields: Sequence[str]) -> np.ndarray:
    """The hash of the words of each of these fields (of the field itself if it has no words, and of no record)."""
    hashes = words_F.hashes(places)
    for i in np.flatnonzero(words_F.counts_R[places] == 0).tolist():
        hashes[i] = xxhash.xxh3_64_intdigest(fields[places[i]].encode(), seed=1)
    return hashes


def _bytes(codes: Codes) -> np.ndarray:
    """UTF-8 bytes of each text."""
    points_N = codes.points_N
    more_N = (points_N >= 0x80).view(np.uint8)
    more_N += points_N >= 0x800
    more_N += points_N >= 0x10000
    return codes.lengths_T - 1 + codes.count_T(more_N)


def _repeated_lines(codes: Codes) -> np.ndarray:
    """Characters in lines that stood before, of each text."""
    lines_T = codes.count_T(codes.points_N == 10) - 1
    repeated = np.zeros(len(codes.texts), np.int32)
    for text in np.flatnonzero(lines_T).tolist():
        lines = codes.texts[text].split("\n")
        if len(set(lines)) == len(lines):
            continue
        counted = Counter(line for line in lines if line.strip())
        repeated[text] = sum(len(line) * (times - 1) for line, times in counted.items() if times > 1)
    return repeated


def _top_grams(codes: Codes, per_record: _PerRecord, chars_R: np.ndarray) -> list[np.ndarray]:
    """The share of characters in the most frequent 2, 3 and 4 in a row, of records of LEAST_FOR_GRAMS and more.

    No longer gram is more frequent than its first two characters. So pairs are counted first, in small tables by
    hash: an upper bound for all three, and all that is told of records in which nothing is frequent.
    """
    begins_R = codes.starts_T[per_record.starts_R]
    sizes_R = np.append(begins_R[1:], len(codes.points_N)) - begins_R
    most_R = np.where(chars_R >= LEAST_FOR_GRAMS, _most_frequent(codes.points_N, begins_R, sizes_R, 2), 0)
    shares = [np.minimum(most_R * width / chars_R, 1.0) for width in GRAMS]
    for share, width in zip(shares, GRAMS, strict=True):
        for most_frequent in (_most_frequent, _exact_top):
            asked = np.flatnonzero(share >= _EXACT_FROM)
            if len(asked):
                most = most_frequent(codes.points_N, begins_R[asked], sizes_R[asked], width)
                share[asked] = np.minimum(most * width / chars_R[asked], share[asked])
    return shares


def _most_frequent(points_N: np.ndarray, begins: np.ndarray, sizes: np.ndarray, width: int) -> np.ndarray:
    """How often the most frequent `width` characters in a row occur in some records, or a little more.

    They are counted in a small table of each record, by hash.
    """
    tables = np.left_shift(1, np.clip(np.ceil(np.log2(sizes)).astype(np.int64), 6, 10))
    bases = np.cumsum(tables) - tables
    if sizes.sum() < len(points_N):
        points_N = points_N[running(begins, sizes)]
    hashes = points_N.copy()
    for step in range(1, width):
        hashes *= np.uint32(0x9E3779B1)
        hashes[:-step] += points_N[step:]
    hashes ^= hashes >> np.uint32(15)
    hashes &= np.repeat((tables - 1).astype(np.uint32), sizes)
    table = np.zeros(int(tables.sum()), np.int32)
    place = hashes + np.repeat(bases, sizes)
    np.add.at(table, place, np.int32(1))
    into_the_next = (np.cumsum(sizes)[:, None] - np.arange(1, width)).ravel()
    np.subtract.at(table, place[into_the_next], np.int32(1))
    return np.maximum.reduceat(table, bases)


def _exact_top(points_N: np.ndarray, begins: np.ndarray, sizes: np.ndarray, width: int) -> np.ndarray:
    """How often the most frequent `width` characters in a row occur in some records, line ends left out."""
    counts = np.maximum(sizes - width + 1, 0)
    owner = np.repeat(np.arange(len(sizes)), counts)
    place = running(begins, counts)
    grams = mixed64(owner.astype(np.uint64))
    across = np.zeros(len(owner), bool)
    for step in range(width):
        points = points_N[place + step]
        grams = mixed64(grams ^ points)
        across |= points == 10
    order = np.argsort(grams[~across])
    grams, owner = grams[~across][order], owner[~across][order]
    edges = (
        np.flatnonzero(np.concatenate([[True], grams[1:] != grams[:-1], [True]])) if len(grams) else np.zeros(1, int)
    )
    most = np.zeros(len(sizes), np.int64)
    np.maximum.at(most, owner[edges[:-1]], np.diff(edges))
    return most
