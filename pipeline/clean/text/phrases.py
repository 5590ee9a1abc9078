"""Which texts of a batch hold one of many literal phrases, for a nanosecond a character where none stands.

    ads().count_T(Codes(["扫码关注公众号", "今天天气好"])) == [2, 0]

A table in the cache says which hashed pairs of neighbouring code points begin a phrase; where one does, the first
three code points are compared exactly, and only what is left (a place in thousands) is looked at in Python. That is
faster than `re`, whose alternation tries a thousand phrases at every character of a text that holds one. Counts are
those of a regular expression of all phrases, longest first: from the left, without overlaps. Case counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from pipeline.clean.text.codes import Codes

WORDS = Path(__file__).parent / "words"
TAIL = 150
"""Characters from the end in which a stock ending has its phrase: the longest of them is 120, its heart in front."""

_STEP = 1 << 16
"""Code points hashed at a time: the pairs' hashes stay in the cache."""
_FACTOR = np.uint16(0x9E37)


@dataclass(frozen=True)
class Found:
    """A phrase at a place: the text's number in the batch, and the characters before it."""

    text: int
    start: int
    phrase: str


class Phrases:
    """Literal phrases of two characters or more, looked for all at once."""

    def __init__(self, phrases: Iterable[str]):
        self._by_pair: dict[str, list[str]] = {}
        for phrase in sorted(set(phrases), key=len, reverse=True):
            if len(phrase) < 2:
                raise ValueError(f"a phrase has two characters or more, not {phrase!r}")
            self._by_pair.setdefault(phrase[:2], []).append(phrase)
        every = [phrase for some in self._by_pair.values() for phrase in some]
        self._pairs = _keys([phrase for phrase in every if len(phrase) == 2], 2)
        self._triples = _keys([phrase for phrase in every if len(phrase) > 2], 3)
        self._table = np.zeros(1 << 16, bool)
        self._table[[_hashes(Codes([phrase]).points_N[:2])[0] for phrase in every]] = True

    def count_T(self, codes: Codes) -> np.ndarray:
        """How many phrases each text holds."""
        counts_T = np.zeros(len(codes.texts), np.int32)
        for found in self.found(codes):
            counts_T[found.text] += 1
        return counts_T

    def hits(self, text: str) -> list[str]:
        """The phrases of one text, in order."""
        return [found.phrase for found in self.found(Codes([text]))]

    def found(self, codes: Codes) -> Iterator[Found]:
        """Every phrase of every text, in order."""
        places = self._places(codes.points_N)
        texts = np.searchsorted(codes.ends_T, places, side="right")
        starts = places - codes.starts_T[texts]
        last, free = -1, 0
        for text, start in zip(texts.tolist(), starts.tolist(), strict=True):
            if text == last and start < free:
                continue
            phrase = self._longest(codes.texts[text], start)
            if phrase:
                last, free = text, start + len(phrase)
                yield Found(text, start, phrase)

    def _longest(self, text: str, start: int) -> str | None:
        """The longest phrase that stands here."""
        here = self._by_pair.get(text[start : start + 2], ())
        return next((phrase for phrase in here if text.startswith(phrase, start)), None)

    def _places(self, points_N: np.ndarray) -> np.ndarray:
        """Where the first three code points of a phrase stand, or both of a short one."""
        candidates = [_NOWHERE]
        for begin in range(0, len(points_N) - 1, _STEP):
            hashes = _hashes(points_N[begin : begin + _STEP + 1])
            candidates.append(np.flatnonzero(self._table.take(hashes.astype(np.int64))) + begin)
        places = np.concatenate(candidates)
        is_phrase = _among(_packed(points_N, places, 2), self._pairs)
        is_phrase |= _among(_packed(points_N, places, 3), self._triples)
        return places[is_phrase]


_NOWHERE = np.zeros(0, np.int64)


def _hashes(points: np.ndarray) -> np.ndarray:
    """A 16-bit hash of each pair of neighbours."""
    halves = points.astype(np.uint16)
    return halves[:-1] * _FACTOR + halves[1:]


def _packed(points_N: np.ndarray, places: np.ndarray, width: int) -> np.ndarray:
    """The two or three code points at each place in one number: 21 bits are a code point."""
    packed = points_N[places].astype(np.uint64)
    for step in range(1, width):
        packed = (packed << np.uint64(21)) | points_N.take(places + step, mode="clip")
    return packed


def _keys(phrases: list[str], width: int) -> np.ndarray:
    """The first code points of phrases as sorted numbers."""
    firsts = [_packed(Codes([p]).points_N, np.zeros(1, np.int64), width)[0] for p in phrases]
    return np.unique(np.array(firsts, np.uint64))


def _among(values: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Which of these are one of the sorted keys."""
    if not len(keys):
        return np.zeros(len(values), bool)
    return keys[np.minimum(np.searchsorted(keys, values), len(keys) - 1)] == values


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


def stock_tails_T(codes: Codes) -> np.ndarray:
    """Which texts end in a stock ending."""
    ends_T = np.zeros(len(codes.texts), bool)
    for found in tails().found(codes):
        ends_T[found.text] |= found.start >= len(codes.texts[found.text]) - TAIL
    return ends_T


def stock_tail(text: str) -> bool:
    """Does this text end in a stock ending?"""
    return bool(stock_tails_T(Codes([text]))[0])
