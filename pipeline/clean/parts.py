"""What reading leaves behind: parts of a few ten megabytes, each with its records, their measures and their bands.

    features/NNNNN-MMM.arrow     the mended records (RECORD_COLUMNS), in batches by the first bits of their keys
    features/NNNNN-MMM.measures  their measures (MEASURES), row for row, as Arrow too: read column by column
    features/NNNNN-MMM.bands     the bands of their signatures, [BANDS, rows] uint64
    features/NNNNN.json          the account of task NNNNN: its parts, what was read, what was mended; written last
    features/NNNNN.bad.jsonl     what could not be read

Rows stand in the order of their keys, hashes of what the records say. A *bucket* is the range of keys that share
their first bits: bucket b of every part of a source together make one piece of the shuffled whole, so nobody ever
has to hold a source in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from pipeline.clean.store import Store
from utils.arrays import arrow, numpy_of
from utils.records import MESSAGE

RECORD_COLUMNS = pa.schema(
    [
        ("kind", pa.string()),
        ("text", pa.string()),
        ("messages", pa.list_(MESSAGE)),
        ("tools", pa.string()),
        ("chosen", pa.list_(MESSAGE)),
        ("rejected", pa.list_(MESSAGE)),
        ("meta", pa.string()),
    ]
)
"""What of contract 2 a record says by itself; the rest is known once all records are."""
MEASURES = pa.schema(
    [
        ("ordinal", pa.int64()),  # among the records of its piece of a file
        ("key", pa.uint64()),  # where shuffling puts it
        ("hash_a", pa.uint64()),  # what it says, in 128 bits
        ("hash_b", pa.uint64()),
        ("group", pa.uint64()),  # its first question, or its document
        ("answer", pa.uint64()),  # its first answer
        ("chars", pa.int32()),
        ("bytes", pa.int32()),
        ("shortest", pa.int32()),  # characters of the text, or of the shortest reply
        ("blank", pa.bool_()),  # a text, question or reply that says nothing
        ("score", pa.float32()),
        ("han", pa.float32()),  # share among letters
        ("digits", pa.float32()),  # shares among all characters
        ("symbols", pa.float32()),
        ("repeated_lines", pa.float32()),
        ("top_2gram", pa.float32()),
        ("top_3gram", pa.float32()),
        ("top_4gram", pa.float32()),
        ("sentences", pa.int32()),
        ("ads", pa.int32()),
        ("vulgar", pa.int32()),
        ("swaps", pa.float32()),  # a hundred characters
        ("tail", pa.bool_()),  # a text or reply ends as a stock ending does
        ("table", pa.bool_()),
        ("translation", pa.bool_()),
        ("leaked", pa.bool_()),  # shares words with an exam
    ]
)
_NUMPY = {pa.bool_(): np.bool_, pa.float32(): np.float32, pa.int32(): np.int32, pa.int64(): np.int64}
KINDS: dict[str, type] = {f.name: _NUMPY.get(f.type, np.uint64) for f in MEASURES}
"""The measures' types as numpy knows them."""


@dataclass(frozen=True)
class Part:
    """One part of what a task read."""

    task: int
    number: int
    rows: int
    bytes: int
    ends: tuple[int, ...]
    """Where each bucket ends, in rows."""

    @property
    def name(self) -> str:
        """Its files' name, without suffixes."""
        return f"features/{self.task:05d}-{self.number:03d}"

    def span(self, bucket: int) -> tuple[int, int]:
        """From and to which row a bucket reaches."""
        return self.ends[bucket - 1] if bucket else 0, self.ends[bucket]


def bucket_of(keys: np.ndarray, buckets: int) -> np.ndarray:
    """The bucket of each key; `buckets` is a power of two."""
    bits = buckets.bit_length() - 1
    return (keys >> np.uint64(64 - bits)).astype(np.int64) if bits else np.zeros(len(keys), np.int64)


def write_part(
    store: Store, task: int, number: int, records: pa.Table, measures: pa.Table, bands: np.ndarray, buckets: int
) -> Part:
    """Order the rows by key and write the three files."""
    keys = numpy_of(measures["key"])
    order = np.lexsort((numpy_of(measures["ordinal"]), keys))
    taken = arrow(order)
    records, measures = records.take(taken), measures.take(taken)
    ends = np.searchsorted(bucket_of(keys[order], buckets), np.arange(buckets), side="right")
    size = int(numpy_of(measures["bytes"]).sum())
    part = Part(task, number, len(records), size, tuple(int(end) for end in ends))
    in_buckets = [_one_batch(records.slice(start, end - start)) for start, end in map(part.span, range(buckets))]
    _write_batches(store, f"{part.name}.arrow", in_buckets, RECORD_COLUMNS, "lz4")
    _write_batches(store, f"{part.name}.measures", [_one_batch(measures)], MEASURES)
    with store.write(f"{part.name}.bands") as sink:
        sink.write(np.ascontiguousarray(bands[:, order]).tobytes())
    return part


def _one_batch(table: pa.Table) -> pa.RecordBatch:
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], table.schema)


def _write_batches(
    store: Store, name: str, batches: Sequence[pa.RecordBatch], schema: pa.Schema, compression: str | None = None
) -> None:
    options = pa.ipc.IpcWriteOptions(compression=compression, use_threads=False)
    with store.write(name) as sink, pa.ipc.new_file(sink, schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch)


def read_measures(store: Store, part: Part, columns: Sequence[str]) -> pa.RecordBatch:
    """Some measures of a part, in their order in MEASURES."""
    with store.read(f"{part.name}.measures") as file:
        return _opened(file, [MEASURES.get_field_index(name) for name in columns]).get_batch(0)


def read_band(store: Store, part: Part, band: int) -> np.ndarray:
    """One band's hash of each row."""
    with store.read(f"{part.name}.bands") as file:
        file.seek(band * part.rows * 8)
        return np.frombuffer(file.read(part.rows * 8), np.uint64)


def read_records(store: Store, part: Part, bucket: int) -> pa.RecordBatch:
    """The records of one bucket."""
    with store.read(f"{part.name}.arrow") as file:
        return _opened(file).get_batch(bucket)


def _opened(file: BinaryIO, columns: Sequence[int] = ()) -> pa.RecordBatchFileReader:
    return pa.ipc.open_file(file, options=pa.ipc.IpcReadOptions(use_threads=False, included_fields=list(columns)))


def read_rows(store: Store, part: Part, rows: np.ndarray) -> Iterator[tuple[int, dict[str, Any]]]:
    """Some records by their rows (sorted), a bucket in memory at a time."""
    bucket_of_row = np.searchsorted(np.array(part.ends), rows, side="right")
    with store.read(f"{part.name}.arrow") as file:
        reader = _opened(file)
        for bucket in np.unique(bucket_of_row).tolist():
            here = rows[bucket_of_row == bucket]
            taken = reader.get_batch(bucket).take(arrow(here - part.span(bucket)[0]))
            yield from zip(here.tolist(), taken.to_pylist(), strict=True)
