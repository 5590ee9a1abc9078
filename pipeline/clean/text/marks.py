"""A mark that is repeated is said once: ！！！ -> ！; an ellipsis is …… and a dash ——, however long.

ASCII marks count only behind Chinese: `wait...`, `---`, `| a | b |`, `3..5` and what stands in code or addresses stay.
"""

from __future__ import annotations

import re

import numpy as np

from pipeline.clean.text.codes import HAN, MARK, Codes, is_han, one_of
from pipeline.clean.text.rule import Rule, Substitution

_WIDE_ONCE = "！？，。、；：～"
_WIDE_TWICE = "…—"
_ASCII_ONCE = "!?,;~"
_CHINESE = frozenset(_WIDE_ONCE + "《「『【〈〔（》」』】〉〕）")
"""Marks that only Chinese has; … — “ ” are English too."""


def _once(match: re.Match[str]) -> str:
    run, mark = match[0], match["mark"]
    if mark in _WIDE_TWICE:
        return mark * 2
    if mark == "。" and len(run) >= 6:
        return "……"
    if mark in _WIDE_ONCE:
        return mark
    before = match.string[match.start() - 1 : match.start()] or " "
    if mark == ".":
        behind = match.string[match.end() : match.end() + 1]
        return "……" if len(run) >= 3 and is_han(before) and behind not in ("/", "\\") else run
    if not (is_han(before) or before in _CHINESE) or (run == "~~" and _is_struck(match)):
        return run
    return mark


def _is_struck(match: re.Match[str]) -> bool:
    """Markdown's ~~struck out~~ has a partner on its line."""
    text = match.string
    start, end = text.rfind("\n", 0, match.start()) + 1, text.find("\n", match.end())
    return text.count("~~", start, end if end >= 0 else len(text)) > 1


once = Substitution(rf"(?P<mark>[{_WIDE_ONCE}{_WIDE_TWICE}{_ASCII_ONCE}.])(?P=mark)+", _once)
"""Each run of one mark as it should be: six full stops, and three dots behind Chinese, are an ellipsis."""


def _could_repeat(codes: Codes) -> np.ndarray:
    spots = codes.spots
    twice = (spots.points_S[1:] == spots.points_S[:-1]) & (np.diff(spots.places_S) == 1) & spots.of(MARK)[1:]
    runs = np.flatnonzero(twice)
    points = spots.points_S[runs]
    wide = one_of(points, _WIDE_ONCE)
    thrice = one_of(points, _WIDE_TWICE)
    thrice[thrice] = spots.points_behind(runs[thrice], 2) == points[thrice]
    ascii_marks = one_of(points, _ASCII_ONCE + ".") & spots.before(HAN | MARK)[runs]
    return spots.any_at_T(runs[wide | thrice | ascii_marks])


REPEATED_MARKS = Rule("repeated_marks", once, _could_repeat)
