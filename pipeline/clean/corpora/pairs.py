"""Question and answer under any of the names in `columns.PAIRS`: JSON, CSV or parquet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.clean.columns import find, is_exam
from pipeline.clean.protocol import Card, Found, Sample, careful

CARD = Card(about="question/answer, prompt/response, input_text/target_text, 问题/回答 and the like")


def sniff(sample: Sample) -> int:
    """By its columns; alpaca's, texts, a choice between two answers and exams are other matters."""
    columns, keys = find(sample.keys), set(sample.keys)
    others = {"instruction", "output"} <= keys or "chosen" in keys or is_exam(sample.keys)
    return int(columns is not None and not columns.text and not others)


@careful
def item(row: Mapping[str, Any]) -> Found:
    """A row."""
    columns = find(tuple(row))
    if columns is None or columns.text:
        raise ValueError("no question and answer")
    return columns.found(row)
