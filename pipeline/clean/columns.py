"""What the columns of a table, or the keys of a JSON object, mean: question and answer, or text.

Names are compared without case, spaces, underscores or hyphens, so `Input Text` is `input_text`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.clean.protocol import Found, Item, Unreadable

PAIRS = (
    ("question", "answer"),
    ("input_text", "target_text"),
    ("问题", "回答"),
    ("问题", "答案"),
    ("prompt", "response"),
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


@dataclass(frozen=True)
class Columns:
    """Which of a table's columns are which; the others go to `meta`."""

    question: str = ""
    answer: str = ""
    more: str = ""
    """Alpaca's `input`: stands below the question."""
    text: str = ""

    def item(self, row: Mapping[str, Any]) -> Item:
        """A row as a record. A missing value is an empty one, which the rules drop; another type is unreadable."""
        used = (self.text,) if self.text else (self.question, self.answer, self.more)
        for name in used:
            value = row.get(name)
            if (
                value is not None
                and not isinstance(value, str | int | float)
                and not _is_alternatives(name, value, self)
            ):
                return Unreadable(f"{name} holds a {type(value).__name__}, not text", str(dict(row))[:200])
        meta = {str(k): v for k, v in row.items() if k not in used and v not in (None, "")}
        if self.text:
            return Found(text=_text(row.get(self.text)), meta=meta)
        asked = "\n".join(part for part in (_text(row.get(self.question)), _text(row.get(self.more))) if part.strip())
        answer = _text(row.get(self.answer))
        return Found(messages=[{"role": "user", "content": asked}, {"role": "assistant", "content": answer}], meta=meta)


def find(names: Sequence[str]) -> Columns | None:
    """The meaning of these columns, or None if they have none that we know."""
    here = {plain(name): name for name in names}
    for question, answer in PAIRS:
        if plain(question) in here and plain(answer) in here:
            more = here.get("input", "") if question == "instruction" else ""
            return Columns(question=here[plain(question)], answer=here[plain(answer)], more=more)
    for text in TEXTS:
        if text in here:
            return Columns(text=here[text])
    return None


def _is_alternatives(name: str, value: Any, columns: Columns) -> bool:
    """An answer may be a list of answers, of which the first is taken."""
    return name == columns.answer and isinstance(value, list) and all(isinstance(v, str) for v in value)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return value[0] if value else ""
    return "" if value is None else str(value)
