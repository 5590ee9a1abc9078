"""Documents: {text}, as JSON lines or a JSON list, as minimind, SkyPile and C4 publish them."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.clean.columns import find
from pipeline.clean.config import CleanConfig
from pipeline.clean.json_files import Damaged, objects
from pipeline.clean.protocol import Found, Item, Sample, Unreadable

ABOUT = "JSON lines or list of text"


def sniff(sample: Sample) -> bool:
    """A text, and no question with an answer."""
    columns = find(sample.keys)
    return columns is not None and bool(columns.text)


def read(sample: Sample, config: CleanConfig) -> Iterator[Item]:
    """A value a record."""
    for value in objects(sample.path, sample.encoding):
        if isinstance(value, Damaged):
            yield Unreadable(value.reason, value.excerpt)
            continue
        columns = find(list(value)) if isinstance(value, dict) else None
        if columns is None or not columns.text or not isinstance(value[columns.text], str):
            yield Unreadable("no text", str(value)[:200])
        else:
            meta = {k: v for k, v in value.items() if k != columns.text and v not in (None, "")}
            yield Found(text=value[columns.text], meta=meta)
