"""Xiehouyu, two-part sayings: the first part hints, the second tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.clean.columns import rest, text
from pipeline.clean.protocol import Card, Found, Sample, careful, pair

CARD = Card(
    about="two-part sayings: riddle, answer",
    homepage="https://github.com/pwxcoo/chinese-xinhua",
    files=("xiehouyu.json",),
    size="1.3 MB; 14,032 sayings",
    licence="MIT",
)


def sniff(sample: Sample) -> int:
    """By its keys."""
    return 2 if {"riddle", "answer"} <= set(sample.keys) else 0


@careful
def item(row: Mapping[str, Any]) -> Found:
    """A saying a row."""
    return pair(text(row, "riddle"), text(row, "answer"), rest(row, ("riddle", "answer")))
