"""Half-width punctuation between Chinese becomes full-width: 你好,世界! -> 你好，世界！

A mark changes only where Han characters or full-width brackets stand on both sides of it (`!` and `?` also at the end
of a line), so that decimals, times, ratios, addresses, English and code stay as they are. A full stop never changes.
Round brackets change in pairs on one line or not at all; a pair of one half-width and one full-width is made full if
that leaves fewer brackets alone.
"""

from __future__ import annotations

import re

import numpy as np

from pipeline.clean.text.codes import HAN, LINE, MARK, SPACE, Codes, is_han, one_of
from pipeline.clean.text.rule import HAN as HAN_CLASS
from pipeline.clean.text.rule import Rule, Substitution

_OPENING = "“‘《「『【〈〔（"
_CLOSING = "”’》」』】〉〕）"
_CHINESE_MARKS = frozenset(_OPENING + _CLOSING + "，。！？：；、…—")
_WIDTHS = str.maketrans(",!?:;", "，！？：；")
_FIRST_WIDE = 0x2010
"""Below it stands no mark that Chinese has for its own."""

_MARKS = (
    rf"(?P<marks>[,!?:;](?<=[{HAN_CLASS}{_CLOSING}].)(?:(?<=[!?])[!?]+)?)"
    rf"(?:(?P<gap> ?)(?=[{HAN_CLASS}{_OPENING}])|(?=\n|\Z|[{_CLOSING}\"]))"
)
_PAIR = r"\((?P<inside>(?:[^()（）\n]|（[^()（）\n]*）)*)\)"
_UNEVEN_PAIR = r"（[^()（）\n]*\)|\([^()（）\n]*）"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 .&'/–-]*")
_ANY_HAN = re.compile(f"[{HAN_CLASS}]")


def _wide_marks(match: re.Match[str]) -> str:
    text, marks = match.string, match["marks"]
    chinese_before = is_han(text[match.start() - 1])
    if match["gap"] is None:
        fits = chinese_before and marks[0] in "!?"
    else:
        fits = chinese_before or is_han(text[match.end()])
    return marks.translate(_WIDTHS) if fits else match[0]


def _wide_pair(match: re.Match[str]) -> str:
    text, inside = match.string, match["inside"]
    before, behind = text[match.start() - 1 : match.start()], text[match.end() : match.end() + 1]
    if _ANY_HAN.search(inside) is not None:
        fits = _ends_or_is_chinese(_before_spaces(text, match.start()))
    else:
        fits = is_han(before or " ") and _ends_or_is_chinese(behind) and _NAME.fullmatch(inside) is not None
    return f"（{inside}）" if fits else match[0]


def _even_pair(match: re.Match[str]) -> str:
    inside = match[0][1:-1]
    chinese = _ANY_HAN.search(inside) is not None or is_han(match.string[match.start() - 1 : match.start()] or " ")
    return f"（{inside}）" if chinese else match[0]


def _lonely(text: str) -> int:
    """How many round brackets have no partner of their width."""
    alone = 0
    for pair in ("()", "（）"):
        open_now = 0
        for bracket in re.findall(f"[{pair}]", text):
            if bracket == pair[0]:
                open_now += 1
            elif open_now:
                open_now -= 1
            else:
                alone += 1
        alone += open_now
    return alone


def _ends_or_is_chinese(c: str) -> bool:
    return c in ("", "\n") or is_han(c) or c in _CHINESE_MARKS


def _before_spaces(text: str, place: int) -> str:
    while place and text[place - 1] == " ":
        place -= 1
    return text[place - 1 : place]


_widen_marks = Substitution(_MARKS, _wide_marks)
_widen_pairs = Substitution(_PAIR, _wide_pair)
_even_pairs = Substitution(_UNEVEN_PAIR, _even_pair)


def widened(text: str) -> str:
    """Punctuation between Chinese in full width."""
    text = _widen_marks(text)
    if "(" not in text and ")" not in text:
        return text
    even = _even_pairs(text)
    if even != text and _lonely(even) < _lonely(text):
        text = even
    while (wider := _widen_pairs(text)) != text:  # a wide pair may be the neighbour that the next one needs
        text = wider
    return text


def _could_change(codes: Codes) -> np.ndarray:
    spots = codes.spots
    half = np.flatnonzero((spots.points_S < 0x80) & spots.of(MARK))
    points = spots.points_S[half]
    behind_wide = np.take(codes.points_N, spots.places_S[half] - 1, mode="wrap") >= _FIRST_WIDE
    between = behind_wide & spots.before(HAN | MARK)[half] & spots.after(HAN | MARK | LINE | SPACE)[half]
    marks = between & one_of(points, ",!?:;")
    openings = (points == ord("(")) & spots.before(HAN | MARK | SPACE | LINE)[half]
    uneven_T = spots.any_at_T(half[one_of(points, "()")])
    if uneven_T.any():
        uneven_T &= spots.any_T(one_of(spots.points_S, "（）"))
    return codes.has(HAN) & (spots.any_at_T(half[marks | openings]) | uneven_T)


WIDTH = Rule("width", widened, _could_change)
