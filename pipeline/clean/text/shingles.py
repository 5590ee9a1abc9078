"""What a record says as numbers that can be compared: its words' code points, hashes of a few in a row, signatures.

`Words` are the letters, digits and Han characters of all records of a batch, in lower case, one array behind the
other (M: words' characters of all records; R: records). Near copies share most of their *shingles*, the hashes of
five characters in a row (three in texts of under 40). A *signature* is a sample of them that keeps that share:
one hash cuts the shingles into bins, the smallest of each bin is kept (one permutation hashing), and bins that stay
empty are filled by throwing the shingles again with another hash, so that short records fill theirs too. BANDS
hashes of ROWS bins each then find candidates: two records of similarity s share a band with probability
1 - (1 - s^ROWS)^BANDS, half at s = 0.69, 0.99 at 0.82 (ideal hashing). Candidates are verified (`duplicates/near.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xxhash

from pipeline.clean.text.codes import WORD, Codes
from utils.hashing import mixed64

BANDS, ROWS = 16, 7
BINS = 112
SHORT = 40
"""Words' characters below which shingles are of three."""
LONG_SHINGLE, SHORT_SHINGLE = 5, 3
_ROUNDS = 12
"""Times that shingles are thrown at most: three of them, thrown twelve times, fill a quarter of the bins."""
_FEW_EMPTY = BINS // 8
"""Empty bins that are filled from others of the record: throwing again would cost more than it tells."""
_EMPTY = np.uint32(0xFFFFFFFF)
_BASE32 = np.uint32(0x9E3779B1)
_TOUR = np.stack([np.random.Generator(np.random.PCG64(bin_)).permutation(BINS) for bin_ in range(BINS)])
"""For each bin the order in which the others are asked."""


@dataclass(frozen=True)
class Words:
    """The words of R records (or fields) as one array of code points."""

    points_M: np.ndarray
    counts_R: np.ndarray

    @cached_property
    def starts_R(self) -> np.ndarray:
        """Where each record begins."""
        return np.cumsum(self.counts_R) - self.counts_R

    @cached_property
    def shingles_M(self) -> np.ndarray:
        """The hash of every LONG_SHINGLE characters in a row, those across two records among them."""
        return shingles(self.points_M, LONG_SHINGLE)

    def hashes(self, records: np.ndarray) -> np.ndarray:
        """A hash of all the words of each of these records."""
        starts = self.starts_R[records] * 4
        spans = zip(starts.tolist(), (starts + self.counts_R[records] * 4).tolist(), strict=True)
        return np.array([xxhash.xxh3_64_intdigest(self._data[a:b]) for a, b in spans], np.uint64)

    @cached_property
    def _data(self) -> memoryview:
        return memoryview(self.points_M.tobytes())

    def regrouped(self, counts_R: np.ndarray) -> Words:
        """The same words as those of fewer, longer records."""
        again = Words(self.points_M, counts_R)
        again.__dict__["shingles_M"] = self.shingles_M
        return again


def words_of(codes: Codes) -> Words:
    """Of each text's code points those that are words, Latin letters in lower case."""
    is_word_N = (codes.kinds_N & np.uint16(WORD)) != 0
    points_M = codes.points_N[is_word_N]
    points_M = points_M + np.where((points_M - np.uint32(65)) < np.uint32(26), np.uint32(32), np.uint32(0))
    return Words(points_M, codes.count_T(is_word_N).astype(np.int64))


def mixed32(values: np.ndarray, salt: int = 0) -> np.ndarray:
    """Each 32-bit number's hash (the finaliser of MurmurHash3)."""
    h = values ^ np.uint32(salt)
    h ^= h >> np.uint32(16)
    h *= np.uint32(0x85EBCA6B)
    h ^= h >> np.uint32(13)
    h *= np.uint32(0xC2B2AE35)
    h ^= h >> np.uint32(16)
    return h


def shingles(points_M: np.ndarray, width: int) -> np.ndarray:
    """The hash of every `width` characters in a row; neighbours of two records are to be taken out by the caller."""
    count = max(len(points_M) - width + 1, 0)
    h = points_M[:count].copy()
    for step in range(1, width):
        h *= _BASE32
        h += points_M[step : step + count]
    return mixed32(h)


def signatures(words: Words) -> np.ndarray:
    """BINS smallest hashes of each record, [R, BINS]; of too few words for a short shingle all are equal."""
    records = len(words.counts_R)
    signature = np.full(records * BINS, _EMPTY, np.uint32)
    long_R = words.counts_R >= SHORT
    for width, wanted_R in ((LONG_SHINGLE, long_R), (SHORT_SHINGLE, ~long_R)):
        if wanted_R.any():
            _throw(signature, *_shingles_with_owner(words, width, wanted_R))
    table = signature.reshape(records, BINS)
    _borrow(table)
    return table


def _shingles_with_owner(words: Words, width: int, wanted_R: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The shingles of the wanted records, and whose each is."""
    hashes = words.shingles_M if width == LONG_SHINGLE else shingles(words.points_M, width)
    counts_R = np.where(wanted_R, np.maximum(words.counts_R - width + 1, 0), 0)
    owner = np.repeat(np.arange(len(counts_R), dtype=np.uint32), counts_R)
    inside = np.zeros(len(words.points_M) + 1, np.int8)  # +1 where a record's shingles begin, -1 behind the last
    some = counts_R > 0
    np.add.at(inside, words.starts_R[some], 1)
    np.add.at(inside, (words.starts_R + counts_R)[some], -1)
    return hashes[np.cumsum(inside[: len(hashes)], dtype=np.int8).view(bool)], owner


def _throw(signature: np.ndarray, hashes: np.ndarray, owner: np.ndarray) -> None:
    """Fill the bins of the owners; each round throws the shingles of those with many empty bins anew."""
    empty = signature == _EMPTY
    for salt in range(_ROUNDS):
        if not len(hashes):
            return
        h = hashes if salt == 0 else mixed32(hashes, salt * 0x3C6EF372 & 0xFFFFFFFF)
        place = h >> np.uint32(16)
        place *= np.uint32(BINS)
        place >>= np.uint32(16)
        place += owner * np.uint32(BINS)
        if salt == 0:
            np.minimum.at(signature, place, h)
        else:
            here = empty[place]
            np.minimum.at(signature, place[here], h[here])
        empty = signature == _EMPTY
        lacking = (np.count_nonzero(empty.reshape(-1, BINS), axis=1) > _FEW_EMPTY)[owner]
        hashes, owner = hashes[lacking], owner[lacking]


def _borrow(table: np.ndarray) -> None:
    """A bin that stayed empty takes the value of another of its record: the first filled one on its fixed tour."""
    record, bin_ = np.nonzero(table == _EMPTY)
    filled_before = table != _EMPTY
    todo = filled_before.any(axis=1)[record]
    record, bin_ = record[todo], bin_[todo]
    for step in range(_TOUR.shape[1]):
        if not len(record):
            return
        source = _TOUR[bin_, step]
        found = filled_before[record, source]
        table[record[found], bin_[found]] = table[record[found], source[found]] + np.uint32(
            step * 0x9E3779B1 & 0xFFFFFFFF
        )
        record, bin_ = record[~found], bin_[~found]


def bands(signature: np.ndarray) -> np.ndarray:
    """The hash of each band, [BANDS, R] uint64."""
    rows = signature.astype(np.uint64).reshape(len(signature), BANDS, ROWS)
    found = np.zeros((BANDS, len(signature)), np.uint64)
    with np.errstate(over="ignore"):
        for row in range(ROWS):
            found = mixed64(found ^ rows[:, :, row].T)
    return found
