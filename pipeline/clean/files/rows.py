"""A raw file that holds rows, whatever it is written in: JSON lines, a JSON list, CSV, parquet, or the hub's stream."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Cut:
    """A part of a file that can be read apart."""

    start: int
    """Bytes of lines, row groups of parquet (`Sample.start`)."""
    end: int | None
    bytes: int
    """On disk."""


def cuts(sample: Sample, size: int, largest: int) -> list[Cut]:
    """Where a large file may be cut so that its parts can be read apart."""
    if sample.container == "parquet":
        return _groups(parquet_files.group_sizes(sample.name), size, largest)
    by_lines = sample.container == "json lines" and not sample.encoding.startswith(("utf-16", "utf-32"))
    if not by_lines or sample.packing or is_member(sample.name) or size <= largest or not sample.first:
        return [Cut(0, None, size)]
    starts = list(range(0, size, largest))
    ends = [*starts[1:], None]
    return [Cut(start, end, (end or size) - start) for start, end in zip(starts, ends, strict=True)]


def _groups(sizes: list[int], size: int, largest: int) -> list[Cut]:
    """Neighbouring row groups, together, unpacked, not much larger than `largest`; of a file of `size` bytes."""
    starts, held = [0], [0]
    for group, unpacked in enumerate(sizes):
        if held[-1] and held[-1] + unpacked > largest:
            starts.append(group)
            held.append(0)
        held[-1] += unpacked
    whole = max(sum(sizes), 1)
    parts = zip(starts, [*starts[1:], None], held, strict=True)
    return [Cut(start, end, size * unpacked // whole) for start, end, unpacked in parts]
