"""parquet, row by row; behind damage in a row group each of its rows is an unreadable record, and the next goes on."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.clean.files.places import CORRUPT, file_system, is_member, is_url, open_binary, packing
from pipeline.clean.protocol import Sample, Unreadable
from utils.console import UserError, well_formed

_ROWS = 1024


@contextmanager
def opened(name: str) -> Iterator[pq.ParquetFile]:
    """A parquet file, local or not; one that is packed is unpacked into memory, because it is not read in order."""
    if is_member(name) or packing(name):
        with open_binary(name) as packed:
            yield pq.ParquetFile(io.BytesIO(packed.read()))
    elif is_url(name):
        system, path = file_system(name)
        with system.open(path, "rb") as file:
            yield pq.ParquetFile(file)
    else:
        with pq.ParquetFile(name) as local:
            yield local


def columns(name: str) -> list[str]:
    """The names of the columns; UserError if the file is damaged, because what it holds stands at its end."""
    try:
        with opened(name) as file:
            return list(file.schema_arrow.names)
    except (PermissionError, FileNotFoundError):
        raise
    except CORRUPT:
        raise UserError(
            f"{well_formed(name)}: truncated or no parquet; copy it again, or take it out of clean.inputs"
        ) from None


def is_empty(name: str) -> bool:
    """A table without rows; a damaged file is none."""
    try:
        with opened(name) as file:
            return bool(file.metadata.num_rows == 0)
    except CORRUPT:
        return False


def rows(sample: Sample) -> Iterator[tuple[int, dict[str, Any] | Unreadable]]:
    """Rows of the sample's row groups, each with its number in the file.

    What a file holds stands at its end: one that is cut short is a single unreadable record.
    """
    try:
        with opened(sample.name) as file:
            yield from _rows(file, sample)
    except (PermissionError, FileNotFoundError):
        raise
    except CORRUPT as error:
        yield 0, Unreadable(f"truncated or no parquet: {error}", sample.base, ends=True)


def group_sizes(name: str) -> list[int]:
    """Bytes of each row group, unpacked; nothing if the file cannot be read."""
    try:
        with opened(name) as file:
            return [file.metadata.row_group(g).total_byte_size for g in range(file.num_row_groups)]
    except CORRUPT:
        return []


def _rows(file: pq.ParquetFile, sample: Sample) -> Iterator[tuple[int, dict[str, Any] | Unreadable]]:
    end = file.num_row_groups if sample.end is None else sample.end
    at = sum(file.metadata.row_group(g).num_rows for g in range(sample.start))
    for group in range(sample.start, end):
        last = at + file.metadata.row_group(group).num_rows
        try:
            for batch in file.iter_batches(batch_size=_ROWS, row_groups=[group], use_threads=False):
                for row in _values(batch):
                    yield at, row
                    at += 1
        except (pa.ArrowException, OSError) as error:
            for lost in range(at, last):
                yield lost, Unreadable(f"damaged parquet: {error}", sample.base)
            at = last


def _values(batch: pa.RecordBatch) -> Iterator[dict[str, Any] | Unreadable]:
    try:
        yield from batch.to_pylist()
    except (ValueError, OverflowError):  # of one row, but it does not say which: bytes, or a date of year 10,000
        for number in range(batch.num_rows):
            try:
                yield from batch.slice(number, 1).to_pylist()
            except UnicodeDecodeError as error:
                yield Unreadable(f"bytes that are not UTF-8: {error}")
            except (ValueError, OverflowError) as error:
                yield Unreadable(f"a value that cannot be read: {error}")
