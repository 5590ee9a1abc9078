"""One raw file becomes one part: its clean records in file order, and what became of the others.

A task knows nothing of other files, so tasks may run in any process and in any order. A part is `NNNNN.parquet`
(the records, with what merging needs beside them) and, written last, `NNNNN.json` (the account).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.clean.config import CleanConfig
from pipeline.clean.inputs import Raw
from pipeline.clean.protocol import EXCERPT, Item, Sample, Unreadable
from pipeline.clean.readers import readers
from pipeline.clean.records import content_hash, record_of
from pipeline.clean.rules import first_hit, texts
from utils.records import SCHEMA, Record
from utils.stage import Json, whole, write_json

PART = pa.schema([*SCHEMA, pa.field("hash", pa.binary(16)), pa.field("n_bytes", pa.int64())])
"""A record, the hash of what it says, and how many bytes that is."""

_ROWS = 4096


@dataclass(frozen=True)
class Task:
    """A file, and where its part goes."""

    raw: Raw
    config: CleanConfig
    part: Path
    """Without a suffix."""


def clean_file(task: Task) -> None:
    """Make the part, unless a run before did."""
    account = task.part.with_suffix(".json")
    if account.exists():
        return
    counts: Json = {"read": 0, "kept": 0, "quarantined": [], "dropped": {}}
    with whole(task.part.with_suffix(".parquet")) as draft, _rows_to(draft) as keep:
        for ordinal, item in enumerate(_items(task)):
            counts["read"] += 1
            result = _clean(item, task, ordinal)
            if isinstance(result, Unreadable):
                counts["quarantined"].append(_put_aside(result, task.raw, ordinal))
            elif rule := first_hit(result, task.config):
                counts["dropped"][rule] = counts["dropped"].get(rule, 0) + 1
            else:
                counts["kept"] += 1
                size = sum(len(text.encode()) for text in texts(result))
                keep(result | {"hash": content_hash(result), "n_bytes": size})
    write_json(account, counts)


def _items(task: Task) -> Iterator[Item]:
    if task.raw.reader:  # an empty file has none
        yield from readers()[task.raw.reader].read(Sample(task.raw.path), task.config)


def _clean(item: Item, task: Task, ordinal: int) -> Record | Unreadable:
    if isinstance(item, Unreadable):
        return item
    try:
        return record_of(item, task.raw, ordinal)
    except ValueError as error:
        return Unreadable(str(error), json.dumps(item.messages or item.text, ensure_ascii=False)[:EXCERPT])


def _put_aside(bad: Unreadable, raw: Raw, ordinal: int) -> Json:
    """A line of quarantine.jsonl; `bytes` are the record's first, those that are no UTF-8 written as \\xNN."""
    begins = bad.excerpt.encode("utf-8", "surrogateescape")[:EXCERPT].decode("utf-8", "backslashreplace")
    return {"file": raw.name, "ordinal": ordinal, "reason": bad.reason[:300], "bytes": begins}


@contextmanager
def _rows_to(path: Path) -> Iterator[Any]:
    """Rows one by one into a parquet file, a few thousand held at a time."""
    held: list[Record] = []
    with pq.ParquetWriter(path, PART, compression="zstd", compression_level=1) as writer:

        def keep(row: Record) -> None:
            held.append(row)
            if len(held) >= _ROWS:
                flush()

        def flush() -> None:
            writer.write_table(pa.Table.from_pylist(held, PART))
            held.clear()

        yield keep
        flush()
