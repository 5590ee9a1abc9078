"""Which rules a text goes through, and in what order.

web     crawled pages: everything
prose   books, encyclopaedias, answers: no HTML to expect, and spaces that somebody meant
light   dialogues and code: only what nobody sees, and the script
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

from pipeline.clean.text.layout import HAN_SPACES, INDENTS
from pipeline.clean.text.marks import REPEATED_MARKS
from pipeline.clean.text.markup import HTML
from pipeline.clean.text.normalise import (
    BLANK_LINES,
    COMPOSED,
    EDGE_LINES,
    EDGE_SPACES,
    INVISIBLE,
    LINE_ENDS,
    TRAILING_SPACES,
)
from pipeline.clean.text.pii import PII
from pipeline.clean.text.repair import REPAIRS
from pipeline.clean.text.rule import Rule
from pipeline.clean.text.script import SCRIPT
from pipeline.clean.text.width import WIDTH

_SEEN = (LINE_ENDS, INVISIBLE, COMPOSED)
_SET = (REPEATED_MARKS, WIDTH)

PROFILES: dict[str, tuple[tuple[Rule, ...], tuple[Rule, ...]]] = {
    "web": ((*_SEEN, HTML), (INDENTS, HAN_SPACES, TRAILING_SPACES, BLANK_LINES, *_SET, EDGE_LINES)),
    "prose": (_SEEN, (TRAILING_SPACES, BLANK_LINES, *_SET, EDGE_LINES)),
    "light": (_SEEN, (TRAILING_SPACES, EDGE_SPACES)),
}
"""What comes before repairs, script and masks, and what comes behind them."""


def rules_for(profile: str, simplify: bool = True, mask: bool = True, repairs: Sequence[str] = ()) -> tuple[Rule, ...]:
    """The rules of a profile in their order, with or without script conversion, masking and a corpus's repairs."""
    return _rules_for(profile, simplify, mask, tuple(repairs))


@cache
def _rules_for(profile: str, simplify: bool, mask: bool, repairs: tuple[str, ...]) -> tuple[Rule, ...]:
    _known("profile", profile, PROFILES)
    for repair in repairs:
        _known("repair", repair, REPAIRS)
    first, last = PROFILES[profile]
    return (
        *first,
        *(REPAIRS[name] for name in REPAIRS if name in repairs),
        *((SCRIPT,) if simplify else ()),
        *((PII,) if mask else ()),
        *last,
    )


def _known(what: str, name: str, names: Iterable[str]) -> None:
    if name not in names:
        raise ValueError(f"no {what} is called {name!r}; there are {', '.join(names)}")
