"""financezhidao: questions about money, from Baidu Zhidao, with several replies each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.clean.columns import number, optional, rest, text
from pipeline.clean.config import Rules
from pipeline.clean.protocol import Card, Found, Sample, careful, pair
from pipeline.clean.titles import question

CARD = Card(
    about="financezhidao: title, question (or prompt), reply, is_best",
    homepage="https://github.com/SophonPlus/ChineseNlpCorpus",
    files=("financezhidao_filter.csv",),
    size="770,000 replies",
    profile="web",
    rules=Rules(min_chars=15, near=0.8),
    only_named="much of it is advertising and one-line replies; a project that measured it left it out",
)
USED = frozenset({"title", "question", "prompt", "reply"})


def sniff(sample: Sample) -> int:
    """By its columns."""
    return 2 if {"title", "reply", "is_best"} <= set(sample.keys) else 0


@careful
def item(row: Mapping[str, Any]) -> Found:
    """A reply a row; the longer question is mostly empty. The best reply of a question has a score of 1."""
    more = optional(row, "question") or optional(row, "prompt")
    asked = question(text(row, "title"), more)
    return pair(asked, text(row, "reply"), rest(row, USED), number(row.get("is_best")))
