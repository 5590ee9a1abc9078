"""The Chinese medical dialogue corpus: patients' questions and doctors' answers, by department.

Its texts were paraphrased by machine, which now and then turned a meaning round, and half of the answers end in one
of seventeen stock paragraphs (`tails: drop` leaves those out).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.clean.columns import optional, rest, text
from pipeline.clean.config import Rules
from pipeline.clean.protocol import Card, Found, Sample, careful, pair

CARD = Card(
    about="Chinese medical dialogues: department, title, ask, answer",
    homepage="https://github.com/Toyhom/Chinese-medical-dialogue-data",
    files=("内科5*.csv", "外科5*.csv", "儿科5*.csv", "妇产科6*.csv", "男科5*.csv", "肿瘤科5*.csv"),
    size="792,099 questions in six files",
    licence="MIT",
    profile="web",
    rules=Rules(near=0.8),
)
USED = frozenset({"title", "ask", "answer"})


def sniff(sample: Sample) -> int:
    """By its columns."""
    return 2 if {"department", "title", "ask", "answer"} <= set(sample.keys) else 0


@careful
def item(row: Mapping[str, Any]) -> Found:
    """A row; where the question is `无` (none), the title asks it."""
    title, asked = optional(row, "title"), text(row, "ask")
    meta = rest(row, USED)
    if _says_something(asked):
        meta["title"] = title
    else:
        asked = title if _says_something(title) else ""
    return pair(asked, text(row, "answer"), meta)


def _says_something(asked: str) -> bool:
    return asked.strip(" \t\r\n。.") not in ("", "无")
