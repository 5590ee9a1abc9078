"""What a set of replies is worth: counts come in, shares with their 95 % intervals go out. Pure functions."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from utils.stage import Json


@dataclass(frozen=True)
class Reply:
    """A question that was asked, what should have come back, and what did."""

    question: str
    expected: str
    said: str
    source: str
    system: str = ""

    @property
    def exact(self) -> bool:
        return self.said == self.expected


def wilson(hits: int, asked: int) -> tuple[float, float]:
    """The 95 % interval of a share; unlike the usual one it stays honest near 0 and 1 and for few questions."""
    if not asked:
        return 0.0, 1.0
    z = 1.959964
    share, spread = hits / asked, z * z / asked
    middle = (share + spread / 2) / (1 + spread)
    reach = z / (1 + spread) * math.sqrt(share * (1 - share) / asked + spread / asked / 4)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def similarity(said: str, expected: str) -> float:
    """The share of characters that two texts have in common, in order: 1 if equal, 0 if nothing matches."""
    return difflib.SequenceMatcher(None, said, expected, autojunk=False).ratio()


def score(replies: Sequence[Reply]) -> Json:
    """Exact matches and their interval, and how near the replies came on the whole."""
    exact = sum(reply.exact for reply in replies)
    asked = len(replies)
    low, high = wilson(exact, asked)
    return {
        "exact": exact,
        "asked": asked,
        "share": exact / asked if asked else 0.0,
        "interval": [low, high],
        "similarity": sum(similarity(r.said, r.expected) for r in replies) / asked if asked else 0.0,
    }


def by_source(replies: Sequence[Reply]) -> dict[str, Json]:
    """`score` for each corpus that the questions come from."""
    names = sorted({reply.source for reply in replies})
    return {name: score([reply for reply in replies if reply.source == name]) for name in names}
