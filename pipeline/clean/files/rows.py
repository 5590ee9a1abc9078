"""A raw file that holds rows, whatever it is written in: JSON lines, a JSON list, CSV, parquet, or the hub's stream."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from contextlib import closing, suppress
from itertools import islice
from typing import Any

from pipeline.clean.files import csv_files, hub, json_files, parquet_files
from pipeline.clean.files.places import CORRUPT, is_hub, is_member
from pipeline.clean.protocol import Sample, Unreadable, excerpt

LOOKED_AT = 8
_OBJECTS = re.compile(r'\[?\s*\{\s*["}]')
_LOOKED_THROUGH = 1000
"""Records among which those few are looked for, should the first ones be damaged."""


def container_of(sample: Sample) -> str:
    """What the file is written in; `text` if it holds no rows."""
    if is_hub(sample.name):
        return "hub"
    if sample.is_parquet:
        return "parquet"
    if sample.suffix in csv_files.SUFFIXES:
        return "csv"
    begins = sample.beginning().lstrip(" \t\r\n")
    if sample.suffix in (".txt", ".text") and not _OBJECTS.match(begins):
        return "text"
    return {"[": "json list", "{": "json lines"}.get(begins[:1], "text")


def rows(sample: Sample) -> Generator[tuple[int, Mapping[str, Any] | Unreadable], None, None]:
    """Every row of the sample's part of the file, and the byte (in parquet the row) at which it begins."""
    if sample.container == "parquet":
        yield from parquet_files.rows(sample)
    elif sample.container == "hub":
        yield from hub.rows(sample)
    elif sample.container == "csv":
        yield from csv_files.rows(sample)
    else:
        for at, value in json_files.objects(sample):
            known = isinstance(value, dict | Unreadable)
            yield at, value if known else Unreadable("a JSON value that is no object", excerpt(value))


def first_rows(sample: Sample) -> list[Mapping[str, Any]]:
    """The file's first few readable rows; none of a file of text. A table without any shows its columns."""
    if sample.container == "text":
        return []
    if sample.container == "hub":
        return list(hub.first(sample.name, LOOKED_AT))
    found = []
    whole = Sample(sample.name, known_encoding=sample.encoding)
    with suppress(*CORRUPT), closing(rows(whole)) as every:
        for _, row in islice(every, _LOOKED_THROUGH):
            if not isinstance(row, Unreadable):
                found.append(row)
            if len(found) == LOOKED_AT:
                break
    if sample.container == "csv":
        return found or [dict.fromkeys(csv_files.header(sample), "")]
    if sample.container == "parquet":
        return found or [dict.fromkeys(parquet_files.columns(sample.name))]
    return found


def cuts(sample: Sample, size: int, largest: int) -> list[tuple[int, int | None]]:
    """Where a large file may be cut so that its parts can be read apart: (start, end) of each."""
    if sample.container == "parquet":
        return _groups(parquet_files.group_sizes(sample.name), largest)
    by_lines = sample.container == "json lines" and not sample.encoding.startswith(("utf-16", "utf-32"))
    if not by_lines or sample.packing or is_member(sample.name) or size <= largest or not sample.first:
        return [(0, None)]
    starts = list(range(0, size, largest))
    return [(start, end) for start, end in zip(starts, [*starts[1:], None], strict=True)]


def _groups(sizes: list[int], largest: int) -> list[tuple[int, int | None]]:
    """Neighbouring row groups, together not much larger than `largest`."""
    starts, held = [0], 0
    for group, size in enumerate(sizes):
        if held and held + size > largest:
            starts.append(group)
            held = 0
        held += size
    return list(zip(starts, [*starts[1:], None], strict=True))
