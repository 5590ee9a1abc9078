"""Tokens come in, as they will be trained; pieces of text to be looked at come out: for the terminal and for the page.

What is shown is decoded from the ids, so it is what the model will read. A mark that somebody typed is text, and is
shown as `<\\|im_end|>`; a character that would do something to a terminal is shown by its number.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

import numpy as np

from utils.chat import MARKS, TURN
from utils.codec import Codec

_TYPED = re.compile("<(?=(?:" + "|".join(re.escape(mark[1:]) for mark in MARKS) + "))")
_SAFE = "\n\t\u200c\u200d"
"""Of the characters that nobody sees: those that do no harm. The last two join letters and emoji."""


@dataclass(frozen=True)
class Piece:
    """A mark, or text between marks, all of it trained or none of it."""

    text: str
    is_mark: bool
    trained: bool
    is_role: bool = False
    """The name of who speaks, with the end of its line."""


def pieces(tokens_T: np.ndarray, trained_T: np.ndarray | None, codec: Codec) -> list[Piece]:
    """A document to be looked at; `trained_T` None trains all of it."""
    trained_T = np.ones(len(tokens_T), bool) if trained_T is None else trained_T
    marks_T = np.isin(tokens_T, list(codec.marks.values()))
    ends_T = np.append(marks_T[1:] | marks_T[:-1] | (trained_T[1:] != trained_T[:-1]), True)
    found: list[Piece] = []
    start, opens = 0, False
    for end in (np.flatnonzero(ends_T) + 1).tolist() if len(tokens_T) else []:
        text, is_mark, trained = (
            codec.decode(tokens_T[start:end].tolist()),
            bool(marks_T[start]),
            bool(trained_T[start]),
        )
        if opens and not is_mark:
            role, line_end, text = text.partition("\n")
            found.append(Piece(visible(role) + line_end, False, trained, True))
        if text:
            found.append(Piece(text if is_mark else visible(text), is_mark, trained))
        start, opens = end, is_mark and text == TURN
    return found


def visible(text: str) -> str:
    """Text that does nothing but be read."""
    return "".join(_told(c) for c in _TYPED.sub(r"<\\", text))


def _told(c: str) -> str:
    if c in _SAFE or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return c
    return c.encode("unicode_escape", "surrogatepass").decode()


def shortened(text: str, most: int) -> str:
    """The beginning and the end of a long text, and how many characters are between them."""
    if len(text) <= most * 5 // 4:
        return text
    head, tail = most * 2 // 3, most // 3
    return f"{text[:head]} …[{len(text) - head - tail:,}]… {text[-tail:]}"
