"""What the columns of a table, or the keys of a JSON object, mean: question and answer, or text.

Names are compared without case, spaces, underscores or hyphens, so `Input Text` is `input_text`.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pipeline.clean.protocol import Found, pair

PAIRS = (
    ("question", "answer"),
    ("input_text", "target_text"),
    ("问题", "回答"),
    ("问题", "答案"),
    ("prompt", "response"),
    ("prompt", "completion"),
    ("ask", "answer"),
    ("instruction", "output"),
    ("instruction", "response"),
    ("input", "target"),
    ("query", "response"),
    ("desc", "answer"),
)
"""Columns that hold a question and its answer, the first that is there decides."""

TEXTS = ("text", "文本")
"""Columns that hold a document."""


def understood() -> str:
    """All of them, for an error line."""
    return ", ".join([*("/".join(pair) for pair in PAIRS), *TEXTS])


def plain(name: object) -> str:
    """A column's name as it is compared."""
    return str(name).strip("\ufeff \t\r\n").casefold().replace(" ", "").replace("_", "").replace("-", "")


def text(row: Mapping[str, Any], name: str) -> str:
    """What a row says under this name: null is nothing, a number its digits; ValueError if it is missing or no text."""
    try:
        value = row[name]
    except KeyError:
        raise ValueError(f"no {name}") from None
    return value if type(value) is str else _text_of(value, name)


def optional(row: Mapping[str, Any], name: str) -> str:
    """The same, of a column that need not be there."""
    value = row.get(name)
    return value if type(value) is str else _text_of(value, name)


def _text_of(value: Any, name: str) -> str:
    if value is None or value != value:  # pandas writes a missing text as NaN
        return ""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise ValueError(f"{name} holds a {type(value).__name__}, not text")
    return str(value)


def number(value: Any) -> float | None:
    """A count of stars or upvotes, if it is one."""
    if isinstance(value, int | float | str):
        try:
            found = float(value)
        except (ValueError, OverflowError):
            return None
        return found if abs(found) < float("inf") else None
    return None


def rest(row: Mapping[str, Any], used: Container[str]) -> dict[str, Any]:
    """What a row says besides."""
    return {k: v for k, v in row.items() if k not in used and v is not None and v != ""}


def joined(question: str, more: str) -> str:
    """A question and what stands below it, if both say something."""
    return f"{question}\n{more}" if question.strip() and more.strip() else question if question.strip() else more


@dataclass(frozen=True)
class Columns:
    """Which of a table's columns are which; the others go to `meta`."""

    question: str = ""
    answer: str = ""
    more: str = ""
    """Alpaca's `input`: stands below the question."""
    text: str = ""

    def found(self, row: Mapping[str, Any]) -> Found:
        """A row as a record. A missing value is an empty one, which the rules drop; ValueError if it is no text."""
        if self.text:
            return Found(text=text(row, self.text), meta=rest(row, (self.text,)))
        asked = text(row, self.question)
        if self.more:
            asked = joined(asked, optional(row, self.more))
        return pair(asked, answer(row, self.answer), rest(row, (self.question, self.answer, self.more)))


def answer(row: Mapping[str, Any], name: str) -> str:
    """An answer, or the first of a list of answers."""
    value = row.get(name)
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return value[0] if value else ""
    return text(row, name)


def is_exam(names: Sequence[str]) -> bool:
    """Are these the columns of a multiple-choice exam? Its answer is a letter, and no answer without the choices."""
    return {"a", "b", "c", "d"} <= {plain(name) for name in names}


def find(names: Sequence[str]) -> Columns | None:
    """The meaning of these columns, or None if they have none that we know."""
    return _find(tuple(names))


@lru_cache(4096)
def _find(names: tuple[str, ...]) -> Columns | None:
    here = {plain(name): name for name in names}
    for question, replies in PAIRS:
        if plain(question) in here and plain(replies) in here:
            more = here.get("input", "") if question == "instruction" else ""
            return Columns(question=here[plain(question)], answer=here[plain(replies)], more=more)
    for one in TEXTS:
        if one in here:
            return Columns(text=here[one])
    return None
