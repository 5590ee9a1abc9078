"""Zhihu-KOL: answers of Zhihu with their upvotes, as parquet; some are blank or null, and a break is one space."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from pipeline.clean.columns import number, text
from pipeline.clean.config import Rules
from pipeline.clean.protocol import Card, Found, Sample, careful, pair

CARD = Card(
    about="Zhihu-KOL: INSTRUCTION, RESPONSE, SOURCE, METADATA",
    homepage="https://huggingface.co/datasets/wangrui6/Zhihu-KOL",
    files=("train-0000?-of-00005-*.parquet",),
    size="1.0 million answers",
    profile="web",
    rules=Rules(min_score=1, min_chars=10, near=0.8),
    repairs=("zhihu_paragraphs",),
)
_COUNT = re.compile(r"([\d,.]+)\s*([万千kK]?)")
_TIMES = {"": 1, "千": 1000, "k": 1000, "K": 1000, "万": 10_000}


def sniff(sample: Sample) -> int:
    """By its columns."""
    return 2 if {"INSTRUCTION", "RESPONSE", "METADATA"} <= set(sample.keys) else 0


@careful
def item(row: Mapping[str, Any]) -> Found:
    """An answer a row; METADATA is JSON within a text."""
    meta = _metadata(row.get("METADATA"))
    return pair(text(row, "INSTRUCTION"), text(row, "RESPONSE"), meta, upvotes(meta.get("upvotes")))


def _metadata(value: Any) -> dict[str, Any]:
    try:
        found = orjson.loads(value) if isinstance(value, str) else value
    except ValueError:
        return {"METADATA": value}
    return found if isinstance(found, dict) else {}


def upvotes(value: Any) -> float | None:
    """A number, or the button's text: `赞同 1.2 万` is 12,000, and `赞同` alone is 0."""
    if not isinstance(value, str):
        return number(value)
    found = _COUNT.search(value)
    if found is None:
        return 0.0 if "赞同" in value else None
    count = number(found[1].replace(",", ""))
    return count * _TIMES[found[2]] if count is not None else None
