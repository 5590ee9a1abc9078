"""baike_qa2019: questions of every kind with their answers; `desc` is mostly empty, or the title again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.clean.columns import optional, rest, text
from pipeline.clean.config import Rules
from pipeline.clean.protocol import Card, Found, Sample, careful, pair
from pipeline.clean.titles import question

CARD = Card(
    about="baike_qa2019: qid, category, title, desc, answer",
    homepage="https://github.com/brightmart/nlp_chinese_corpus",
    files=("baike_qa_*.json",),
    size="over 1 GB; 1.4 million questions",
    licence="MIT",
    profile="web",
    rules=Rules(min_chars=5, near=0.8),
)
USED = frozenset({"title", "desc", "answer"})


def sniff(sample: Sample) -> int:
    """By its keys."""
    return 2 if {"qid", "category", "title", "answer"} <= set(sample.keys) else 0


@careful
def item(row: Mapping[str, Any]) -> Found:
    """An answer a row."""
    asked = text(row, "title")
    if more := optional(row, "desc"):
        asked = question(asked, more)
    return pair(asked, text(row, "answer"), rest(row, USED))
