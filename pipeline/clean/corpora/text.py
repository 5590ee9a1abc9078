"""Documents: {text}, as minimind, C4 and many others publish them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.clean.columns import find, rest
from pipeline.clean.protocol import Card, Found, Sample, careful

CARD = Card(
    about="rows of text",
    homepage="https://huggingface.co/datasets/jingyaogong/minimind_dataset",
    files=("pretrain_hq.jsonl", "pretrain_t2t.jsonl", "pretrain_t2t_mini.jsonl"),
    profile="prose",
)


def sniff(sample: Sample) -> int:
    """A text, and no question with an answer."""
    columns = find(sample.keys)
    return int(columns is not None and bool(columns.text))


@careful
def item(row: Mapping[str, Any]) -> Found:
    """A row; unlike a question's answer, a text is no number."""
    columns = find(tuple(row))
    if columns is None or not columns.text:
        raise ValueError("no text")
    said = row[columns.text]
    if said is not None and not isinstance(said, str):
        raise ValueError(f"{columns.text} holds a {type(said).__name__}, not text")
    return Found(text=said or "", meta=rest(row, (columns.text,)))
