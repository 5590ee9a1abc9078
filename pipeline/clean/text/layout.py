"""Spaces that a page's layout put into its text. For crawled pages only: books and dialogues mean their spaces.

Tabs, ideographic spaces between words (poems, names) and columns (two gaps of several spaces on a line) stay, and so do
English spacing, the indentation of code and what stands between backticks.
"""

from __future__ import annotations

import re

import numpy as np

from pipeline.clean.text.codes import HAN, LINE, MARK, SPACE, Codes
from pipeline.clean.text.rule import HAN as HAN_CLASS
from pipeline.clean.text.rule import Rule, Substitution

_GAPS = " \u00a0\u2002\u2003\u2009"
_MARKS = "，。！？；：、…）》」』】”"
_INDENTS = "\u3000\u00a0\u2002\u2003"
_COLUMNS = re.compile(r"\S[^\S\n]{2,}\S(?:.*\S)?[^\S\n]{2,}\S")


def _closed(match: re.Match[str]) -> str:
    if len(match[0]) > 1:
        text = match.string
        start, end = text.rfind("\n", 0, match.start()) + 1, text.find("\n", match.end())
        if _COLUMNS.search(text, start, end if end >= 0 else len(text)):
            return match[0]
    return ""


close_gaps = Substitution(
    rf"[{_GAPS}](?<=[{HAN_CLASS}].)[{_GAPS}]*(?=[{HAN_CLASS}{_MARKS}])", _closed, in_addresses=True
)
"""Two Han characters, or a Han character and a full-width mark behind it, stand side by side."""

outdent = Substitution(rf"(?:\A|(?<=\n)) *[{_INDENTS}][ {_INDENTS}]*(?=\S)", lambda match: "", in_addresses=True)
"""A paragraph begins where its line does; the indentation of code, in ASCII, stays."""


def _could_close(codes: Codes) -> np.ndarray:
    spots = codes.spots
    return spots.any_T(spots.of(SPACE) & spots.before(HAN) & spots.after(HAN | SPACE | MARK))


def _could_outdent(codes: Codes) -> np.ndarray:
    spots = codes.spots
    wide = spots.of(SPACE) & (spots.points_S >= 0xA0)
    return spots.any_T(wide & spots.before(LINE | SPACE)) if wide.any() else np.zeros(len(codes.texts), bool)


HAN_SPACES = Rule("han_spaces", close_gaps, _could_close)
INDENTS = Rule("indents", outdent, _could_outdent)
