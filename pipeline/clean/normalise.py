"""What is done to every text: composed characters, no invisible ones, one kind of line end, no trailing spaces.

Nothing is folded or rewritten: full-width marks, decimals, URLs and code stay as their authors wrote them.
"""

from __future__ import annotations

import re
import unicodedata

_LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f"  # controls, but for tab and line ends
    "\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb"  # zero width, direction
    "\ud800-\udfff]"  # half a character
    "|(?<![\u00a9\u00ae\u2190-\u2bff\ufe0f\U0001f000-\U0001faff])\u200d"  # a joiner holds only emoji together
    "|(?<![\u0600-\u0dff\u1780-\u18af])\u200c"  # the non-joiner belongs to scripts that join
)
_TRAILING = re.compile(r"[^\S\n]+(?=\n|\Z)")
_GAPS = re.compile(r"\n{3,}")


def _common(text: str) -> str:
    text = _INVISIBLE.sub("", _LINE_ENDS.sub("\n", text))
    if not unicodedata.is_normalized("NFC", text):
        text = unicodedata.normalize("NFC", text)
    return _TRAILING.sub("", text)


def clean_text(text: str) -> str:
    """A document: also at most one blank line in a row."""
    return _GAPS.sub("\n\n", _common(text)).strip("\n")


def clean_turn(text: str) -> str:
    """What someone says: its blank lines are its own."""
    return _common(text).strip()
