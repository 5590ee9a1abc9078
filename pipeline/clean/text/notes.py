"""What mending did, for a person to read: the ledger, and a few texts of each rule before and after.

The samples are those with the smallest hashes, so that they do not depend on how texts were cut into batches or which
process saw them, and notes can be merged in any order.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import xxhash

from pipeline.clean.text.codes import Codes
from pipeline.clean.text.ledger import Ledger, Tally
from pipeline.clean.text.rule import Rule
from utils.stage import Json

SAMPLES = 20
"""Kept of each rule."""

EXCERPT = 120
"""Characters of a sample, around its first change."""

_WRITTEN = re.compile("[0-9A-Za-z]")


class Notes:
    """Filled by `mend`."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.samples: dict[str, dict[int, tuple[str, str]]] = {}
        """By rule and by the hash of the text before: excerpts before and after."""

    def add(self, rule: Rule, before: Codes, after: Codes) -> None:
        """The texts that a rule changed."""
        self.ledger.add(rule.name, Tally.of(before), Tally.of(after))
        kept = self.samples.setdefault(rule.name, {})
        most = max(kept) if len(kept) >= SAMPLES else None
        for old, new in zip(before.texts, after.texts, strict=True):
            key = xxhash.xxh3_64_intdigest(old.encode("utf-8", "surrogatepass"))
            if (most is None or key < most) and key not in kept:
                kept[key] = excerpts(old, new, rule.secret)
                _cut(kept)
                most = max(kept) if len(kept) >= SAMPLES else None

    def merge(self, other: Notes) -> None:
        """Take over what other notes hold."""
        self.ledger.merge(other.ledger)
        for rule, samples in other.samples.items():
            kept = self.samples.setdefault(rule, {})
            kept.update(samples)
            _cut(kept)

    def to_json(self) -> Json:
        """By rule: its entry in the ledger and its samples, in the order of their hashes."""
        return {
            rule: entry | {"samples": [[key, *self.samples[rule][key]] for key in sorted(self.samples[rule])]}
            for rule, entry in self.ledger.to_json().items()
        }

    @classmethod
    def from_json(cls, data: Json) -> Notes:
        """The notes `to_json` wrote."""
        notes = cls()
        notes.ledger = Ledger.from_json(data)
        notes.samples = {rule: {key: (a, b) for key, a, b in row["samples"]} for rule, row in data.items()}
        return notes


def _cut(kept: dict[int, tuple[str, str]]) -> None:
    while len(kept) > SAMPLES:
        del kept[max(kept)]


def excerpts(before: str, after: str, secret: bool = False) -> tuple[str, str]:
    """Both texts around the first place where they differ."""
    start = max(0, _first_difference(before, after) - EXCERPT // 3)
    shown = _excerpt(before, start)
    return _WRITTEN.sub("*", shown) if secret else shown, _excerpt(after, start)


def _excerpt(text: str, start: int) -> str:
    shown = text[start : start + EXCERPT].encode("utf-8", "backslashreplace").decode()
    return ("…" if start else "") + shown + ("…" if len(text) > start + EXCERPT else "")


def _first_difference(a: Sequence[str], b: Sequence[str]) -> int:
    """By halves: comparing slices costs less than comparing characters."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[:middle] == b[:middle]:
            low = middle
        else:
            high = middle - 1
    return low
