"""Question and answer under any of the names in `columns.PAIRS`, as a JSON list or JSON lines."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.clean.columns import Columns, find
from pipeline.clean.config import CleanConfig
from pipeline.clean.json_files import Damaged, objects
from pipeline.clean.protocol import Item, Sample, Unreadable

ABOUT = "JSON list or lines of question/answer, prompt/response, input/target, query/response, desc/answer"


def sniff(sample: Sample) -> bool:
    """By its keys; alpaca's are another reader's, and so are texts."""
    columns = find(sample.keys)
    return columns is not None and not columns.text and not {"instruction", "output"} <= set(sample.keys)


def read(sample: Sample, config: CleanConfig) -> Iterator[Item]:
    """A value a record."""
    meant: dict[tuple[str, ...], Columns | None] = {}
    for value in objects(sample.path, sample.encoding):
        if isinstance(value, Damaged):
            yield Unreadable(value.reason, value.excerpt)
            continue
        names = tuple(value) if isinstance(value, dict) else ()
        columns = meant[names] if names in meant else meant.setdefault(names, find(names))
        if columns is None:
            yield Unreadable("no question and answer", str(value)[:200])
        else:
            yield columns.item(value)
