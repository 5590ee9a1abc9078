"""Do no harm: what every rule must leave as it found it, counted before and after.

decimals   digit, full stop, digit
urls       `://` and `www.`
words      runs of Latin letters
letters    Latin letters
unmatched  brackets and quotes without a partner: the only count that may not rise; the others may not fall

A text that one rule mends does not make up for another that it breaks: `worse` counts texts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from pipeline.clean.text.codes import BRACKET, BRACKETS, DIGIT, LATIN, Codes
from pipeline.clean.text.rule import Rule
from utils.stage import Json

COUNTS = ("decimals", "urls", "words", "letters", "unmatched")
Loss = tuple[str, str, int]
"""A rule, which of the counts it made worse, and in how many texts."""


@dataclass(frozen=True)
class Tally:
    """What each text of a batch holds, count by count."""

    counts_CT: np.ndarray

    @classmethod
    def of(cls, codes: Codes) -> Tally:
        """Count, a nanosecond or two a character."""
        if not codes.texts:
            return cls(np.zeros((len(COUNTS), 0), np.int64))
        counted = (_decimals(codes), _urls(codes), *_words_and_letters(codes), _unmatched(codes))
        return cls(np.stack([each_T.astype(np.int64) for each_T in counted]))


def _decimals(codes: Codes) -> np.ndarray:
    spots = codes.spots
    return spots.count_T((spots.points_S == ord(".")) & spots.before(DIGIT) & spots.after(DIGIT))


def _urls(codes: Codes) -> np.ndarray:
    spots = codes.spots
    colons = np.flatnonzero(spots.points_S == ord(":"))
    schemes = colons[(spots.points_behind(colons, 1) == ord("/")) & (spots.points_behind(colons, 2) == ord("/"))]
    dots = np.flatnonzero(spots.points_S == ord("."))
    for steps in (-1, -2, -3):
        dots = dots[spots.points_behind(dots, steps) == ord("w")]
    found = np.zeros(len(spots.points_S), bool)
    found[schemes] = found[dots] = True
    return spots.count_T(found)


def _words_and_letters(codes: Codes) -> tuple[np.ndarray, np.ndarray]:
    is_latin_N = (codes.kinds_N & np.uint16(LATIN)) != 0
    begins_N = is_latin_N.copy()
    begins_N[1:] &= ~is_latin_N[:-1]
    return codes.count_T(begins_N), codes.count_T(is_latin_N)


def _unmatched(codes: Codes) -> np.ndarray:
    spots = codes.spots
    brackets = np.flatnonzero(spots.of(BRACKET))
    points = spots.points_S[brackets]
    texts = np.searchsorted(codes.ends_T, spots.places_S[brackets], "right")
    unmatched_T = np.zeros(len(codes.texts), np.int64)
    for pair in BRACKETS:
        opens = points == ord(pair[0])
        ours = opens | (points == ord(pair[1]))
        if ours.any():
            _add_unmatched(unmatched_T, texts[ours], np.where(opens[ours], 1, -1))
    return unmatched_T


def _add_unmatched(unmatched_T: np.ndarray, texts: np.ndarray, steps: np.ndarray) -> None:
    """Of one kind of bracket, whose texts and steps (1 opens, -1 closes) are given in their order."""
    depths = np.cumsum(steps)
    first = np.flatnonzero(np.diff(texts, prepend=-1))
    outside = depths[first] - steps[first]
    never_opened = np.maximum(outside - np.minimum.reduceat(depths, first), 0)
    left_open = depths[np.append(first[1:], len(texts)) - 1] - outside + never_opened
    unmatched_T[texts[first]] += never_opened + left_open


@dataclass
class Entry:
    """What one rule did to the texts it changed."""

    texts: int = 0
    before: list[int] = field(default_factory=lambda: [0] * len(COUNTS))
    after: list[int] = field(default_factory=lambda: [0] * len(COUNTS))
    worse: list[int] = field(default_factory=lambda: [0] * len(COUNTS))
    """How many texts hold fewer (of `unmatched`: more) than before."""


class Ledger:
    """The entries of all rules; adds up over batches and processes."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}

    def add(self, rule: str, before: Tally, after: Tally) -> None:
        """The same texts before and after a rule."""
        rises_CT = after.counts_CT - before.counts_CT
        rises_CT[-1] *= -1  # unmatched
        changed = Entry(
            before.counts_CT.shape[1],
            before.counts_CT.sum(axis=1).tolist(),
            after.counts_CT.sum(axis=1).tolist(),
            (rises_CT < 0).sum(axis=1).tolist(),
        )
        self._add(rule, changed)

    def merge(self, other: Ledger) -> None:
        """Take over what another ledger holds."""
        for rule, entry in other.entries.items():
            self._add(rule, entry)

    def _add(self, rule: str, entry: Entry) -> None:
        mine = self.entries.setdefault(rule, Entry())
        mine.texts += entry.texts
        for theirs, ours in ((entry.before, mine.before), (entry.after, mine.after), (entry.worse, mine.worse)):
            ours[:] = [a + b for a, b in zip(ours, theirs, strict=True)]

    def harm(self, rules: Iterable[Rule]) -> list[Loss]:
        """What rules made worse although they may not."""
        losses = []
        for rule in rules:
            worse = self.entries.get(rule.name, Entry()).worse
            losses += [(rule.name, c, n) for c, n in zip(COUNTS, worse, strict=True) if n and c not in rule.harms]
        return losses

    def to_json(self) -> Json:
        """By rule: the texts changed, and of each count that is not zero [before, after, texts made worse]."""
        return {
            rule: {"texts": e.texts}
            | {count: [*row] for count, *row in zip(COUNTS, e.before, e.after, e.worse, strict=True) if any(row)}
            for rule, e in sorted(self.entries.items())
        }

    @classmethod
    def from_json(cls, data: Json) -> Ledger:
        """The ledger `to_json` wrote."""
        ledger = cls()
        for rule, row in data.items():
            before, after, worse = zip(*(row.get(count, (0, 0, 0)) for count in COUNTS), strict=True)
            ledger.entries[rule] = Entry(row["texts"], list(before), list(after), list(worse))
        return ledger
