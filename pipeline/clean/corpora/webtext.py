"""webtext2019zh: questions of a Chinese community with their answers and how many stars each has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.clean.columns import number, optional, rest, text
from pipeline.clean.config import Rules
from pipeline.clean.protocol import Card, Found, Sample, careful, pair
from pipeline.clean.titles import question

CARD = Card(
    about="webtext2019zh: qid, title, desc, topic, star, content",
    homepage="https://github.com/brightmart/nlp_chinese_corpus",
    files=("web_text_zh_*.json",),
    size="3.7 GB; 4.1 million answers",
    licence="MIT",
    profile="web",
    rules=Rules(min_score=5, min_chars=15, near=0.8),
)
USED = frozenset({"title", "desc", "content", "star"})


def sniff(sample: Sample) -> int:
    """By its keys."""
    return 2 if {"qid", "title", "content", "star"} <= set(sample.keys) else 0


@careful
def item(row: Mapping[str, Any]) -> Found:
    """An answer a row; `desc` breaks its lines with <br>."""
    asked = text(row, "title")
    if more := optional(row, "desc"):
        asked = question(asked, more.replace("<br>", "\n") if "<br>" in more else more)
    return pair(asked, text(row, "content"), rest(row, USED), number(row.get("star")))
