"""What nobody sees: line ends, invisible characters, decomposed letters, spaces and blank lines at the rims.

Nothing is folded: full-width letters, ①, ㎏ and the like stay as their authors wrote them (NFC, never NFKC).
"""

from __future__ import annotations

import re
import unicodedata

import numpy as np

from pipeline.clean.text.codes import LINE, ODD, SPACE, UNCOMPOSED, Codes
from pipeline.clean.text.rule import Rule

_LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f"  # controls, but for tab and line ends
    "\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb"  # zero width, direction
    "\ud800-\udfff]"  # half a character
    "|(?<![\u00a9\u00ae\u2190-\u2bff\ufe0f\U0001f000-\U0001faff])\u200d"  # a joiner holds only emoji together
    "|(?<![\u0600-\u0dff\u1780-\u18af])\u200c"  # the non-joiner belongs to scripts that join
)
_GAPS = re.compile(r"\n{3,}")


def line_ends(text: str) -> str:
    """One kind of line end."""
    return _LINE_ENDS.sub("\n", text)


def visible(text: str) -> str:
    """No control, no character without width unless a script needs it, no half of a character."""
    return _INVISIBLE.sub("", text)


def composed(text: str) -> str:
    """Letters and their accents in one."""
    return text if unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text)


def without_trailing_spaces(text: str) -> str:
    """No white space before a line end."""
    return "\n".join([line.rstrip() for line in text.split("\n")])


def without_gaps(text: str) -> str:
    """At most one blank line in a row."""
    return _GAPS.sub("\n\n", text)


def without_edge_lines(text: str) -> str:
    """A document's first and last lines say something."""
    return text.strip("\n")


def without_edge_spaces(text: str) -> str:
    """What someone says begins and ends with something said."""
    return text.strip()


def _has_odd(codes: Codes) -> np.ndarray:
    return codes.has(ODD)


def _has_uncomposed(codes: Codes) -> np.ndarray:
    return codes.has(UNCOMPOSED)


def _has_trailing(codes: Codes) -> np.ndarray:
    spots = codes.spots
    return spots.any_T(spots.of(SPACE) & spots.after(LINE))


def _has_gap(codes: Codes) -> np.ndarray:
    spots = codes.spots
    return spots.any_T(spots.of(LINE) & spots.before(LINE) & spots.after(LINE))


def _has_edge(kinds: int, codes: Codes) -> np.ndarray:
    if not len(codes.texts):
        return np.zeros(0, bool)
    edges_T = codes.kinds_N[codes.starts_T] | codes.kinds_N[np.maximum(codes.ends_T - 2, 0)]
    return (codes.lengths_T > 1) & ((edges_T & np.uint16(kinds)) != 0)


LINE_ENDS = Rule("line_ends", line_ends, _has_odd)
INVISIBLE = Rule("invisible", visible, _has_odd, frozenset({"words"}))
"""A soft hyphen parts a word in two."""
COMPOSED = Rule("composed", composed, _has_uncomposed, frozenset({"words"}))
"""A letter outside Latin may part a word in two."""
TRAILING_SPACES = Rule("trailing_spaces", without_trailing_spaces, _has_trailing)
BLANK_LINES = Rule("blank_lines", without_gaps, _has_gap)
EDGE_LINES = Rule("edges", without_edge_lines, lambda codes: _has_edge(LINE, codes))
EDGE_SPACES = Rule("edges", without_edge_spaces, lambda codes: _has_edge(LINE | SPACE, codes))
