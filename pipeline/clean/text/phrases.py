"""Which texts of a batch hold one of many literal phrases, for a nanosecond a character where none stands.

    ads().count_T(Codes(["扫码关注公众号", "今天天气好"])) == [2, 0]

A table in the cache says which hashed pairs of neighbouring code points may begin a phrase, larger ones whether four
do (or as many as a short phrase has); there, hashes of as many code points as it has are compared, the longest first.
That is faster than `re`, whose alternation tries a thousand phrases at every character of a text that holds one.
Counts are those of a regular expression of all phrases, longest first: from the left, without overlaps. Case counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np

from pipeline.clean.text.codes import Codes, among

WORDS = Path(__file__).parent / "words"
_BEGINS = 4
"""Code points of a phrase's beginning that are looked at first,"""
_BEGIN_BITS = 20
"""and the bits of their hash: so many that few others share one, and few enough for the cache."""
TAIL = 150
"""Characters from the end in which a stock ending has its phrase: the longest of them is 120, its heart in front."""


class Phrases:
    """Literal phrases of two characters or more, looked for all at once."""

    def __init__(self, phrases: Iterable[str]):
        self._by_length: dict[int, np.ndarray] = {}
        self._table = np.zeros(1 << 16, bool)
        self._begins = {width: np.zeros(1 << _BEGIN_BITS, bool) for width in range(2, _BEGINS + 1)}
        some = sorted(set(phrases))
        for phrase in some:
            if len(phrase) < 2:
                raise ValueError(f"a phrase has two characters or more, not {phrase!r}")
            codes, width = Codes([phrase]), min(len(phrase), _BEGINS)
            self._table[codes.pairs_N[0]] = True
            self._begins[width][_begin(codes.points_N, np.zeros(1, np.int64), width)] = True
        for length in sorted({len(phrase) for phrase in some}, reverse=True):
            hashes = [_hashes(Codes([p]).points_N, np.zeros(1, np.int64), length)[0] for p in some if len(p) == length]
            self._by_length[length] = np.unique(np.array(hashes, np.uint64))

    def count_T(self, codes: Codes, candidates: np.ndarray | None = None) -> np.ndarray:
        """How many phrases each text holds; `candidates`: the places where one may begin, if they are known."""
        return np.bincount(self._found(codes, candidates)[0], minlength=len(codes.texts)).astype(np.int32)

    def hits(self, text: str) -> list[str]:
        """The phrases of one text, in order."""
        _, starts, lengths = self._found(Codes([text]))
        return [text[a : a + b] for a, b in zip(starts.tolist(), lengths.tolist(), strict=True)]

    def near_end_T(self, codes: Codes, candidates: np.ndarray | None = None) -> np.ndarray:
        """Which texts hold a phrase that begins among their last TAIL characters."""
        texts, starts, _ = self._found(codes, candidates)
        near_T = np.zeros(len(codes.texts), bool)
        near_T[texts[starts >= codes.lengths_T[texts] - 1 - TAIL]] = True
        return near_T

    def _found(self, codes: Codes, candidates: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Texts, starts and lengths of the phrases: from left to right the longest, none over another."""
        places, lengths = self._matches(codes, candidates)
        chosen, free = [], 0
        for number, (place, length) in enumerate(zip(places.tolist(), lengths.tolist(), strict=True)):
            if place >= free:
                chosen.append(number)
                free = place + length
        places, lengths = places[chosen], lengths[chosen]
        texts = np.searchsorted(codes.ends_T, places, side="right")
        return texts, places - codes.starts_T[texts], lengths

    def _matches(self, codes: Codes, places: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Every place where a phrase begins, and the length of the longest that does."""
        if places is None:
            places = np.flatnonzero(self._table[codes.pairs_N])
        room = codes.ends_T[np.searchsorted(codes.ends_T, places, side="right")] - 1 - places
        lengths = np.zeros(len(places), np.int64)
        for width in range(_BEGINS, 1, -1):
            begun = np.flatnonzero(self._begins[width][_begin(codes.points_N, places, width)])
            for length, known in self._by_length.items():
                if min(length, _BEGINS) == width:
                    inside = begun[(lengths[begun] == 0) & (room[begun] >= length)]
                    matching = among(_hashes(codes.points_N, places[inside], length), known)
                    lengths[inside[matching]] = length
        return places[lengths > 0], lengths[lengths > 0]


def candidates(codes: Codes, lists: tuple[Phrases, ...]) -> list[np.ndarray]:
    """For each list the places where one of its phrases may begin: all lists in one look at the characters."""
    bits_N = _common_table(lists)[codes.pairs_N]
    places = np.flatnonzero(bits_N != 0)
    bits = bits_N[places]
    return [places[bits & (1 << number) != 0] for number in range(len(lists))]


@cache
def _common_table(lists: tuple[Phrases, ...]) -> np.ndarray:
    table = np.zeros(1 << 16, np.uint8)
    for number, one in enumerate(lists):
        table |= one._table.astype(np.uint8) << number
    return table


def _begin(points_N: np.ndarray, places: np.ndarray, width: int) -> np.ndarray:
    """A hash of _BEGIN_BITS of the first code points from each place on."""
    mixed = np.zeros(len(places), np.uint32)
    for step in range(width):
        mixed = (mixed + np.take(points_N, places + step, mode="clip")) * np.uint32(0x9E3779B1)
        mixed ^= mixed >> np.uint32(15)
    return mixed >> np.uint32(32 - _BEGIN_BITS)


def _hashes(points_N: np.ndarray, places: np.ndarray, length: int) -> np.ndarray:
    """A 64-bit hash of so many code points from each place on."""
    hashes = np.zeros(len(places), np.uint64)
    for step in range(length):
        hashes = (hashes ^ points_N[places + step]) * np.uint64(0x9E3779B97F4A7C15)
        hashes ^= hashes >> np.uint64(29)
    return hashes


def read_words(path: Path) -> list[str]:
    """The lines of a list of phrases, without its comments."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


@cache
def ads() -> Phrases:
    """Advertisements, appeals to readers, notes about copies and sources."""
    return Phrases(read_words(WORDS / "ads.txt"))


@cache
def vulgar() -> Phrases:
    """Vulgar words."""
    return Phrases(read_words(WORDS / "vulgar.txt"))


@cache
def tails() -> Phrases:
    """The hearts of stock endings of medical answers."""
    return Phrases(read_words(WORDS / "tails.txt"))
