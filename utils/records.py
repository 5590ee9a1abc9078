"""Contract 2: a clean record, and the parquet shards that hold them.

`clean/<split>/<source>-NNNNN.parquet`, one row a record; whatever follows cleaning reads only this.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from utils.console import UserError, disk_is_full
from utils.stage import whole

SPLITS = ("train", "valid", "test")
KINDS = ("text", "chat", "preference")

MESSAGE = pa.struct(
    [("role", pa.string()), ("content", pa.string()), ("reasoning", pa.string()), ("tool_calls", pa.string())]
)
SCHEMA = pa.schema(
    [
        ("id", pa.string()),  # source/file/ordinal
        ("source", pa.string()),
        ("kind", pa.string()),
        ("text", pa.string()),  # null unless kind is text
        ("messages", pa.list_(MESSAGE)),
        ("tools", pa.string()),  # JSON, or null
        ("chosen", pa.list_(MESSAGE)),  # preference: the continuations of `messages`
        ("rejected", pa.list_(MESSAGE)),
        ("group", pa.string()),  # records of one group never straddle splits
        ("cluster_size", pa.int32()),
        ("meta", pa.string()),  # JSON
    ]
)

AT_ONCE = 4096
"""Records of a batch that is read."""

Record = dict[str, Any]


def write_records(path: Path, rows: Sequence[Record]) -> None:
    """One shard, whole or absent."""
    write_table(path, pa.Table.from_pylist(list(rows), SCHEMA))


def write_table(path: Path, table: pa.Table) -> None:
    """`write_records`, of rows that are a table already."""
    with whole(path) as draft:
        write_rows(draft, table)


def write_rows(sink: Path | BinaryIO, table: pa.Table) -> None:
    """A shard's bytes, into a file that the caller makes whole."""
    repeated = ["source", "kind", "messages.list.element.role"]  # others repeat nothing: a dictionary would only cost
    pq.write_table(table, sink, compression="zstd", row_group_size=8192, use_dictionary=repeated)


def record_shards(clean: Path, split: str) -> dict[str, list[Path]]:
    """A split's shards by source, in order."""
    found: dict[str, list[Path]] = {}
    for path in sorted((clean / split).glob("*.parquet")):
        found.setdefault(path.stem.rpartition("-")[0], []).append(path)
    return found


def read_records(path: Path, columns: Sequence[str] | None = None) -> Iterator[Record]:
    """A shard's records."""
    for batch in record_batches(path, columns):
        yield from batch.to_pylist()


def record_batches(path: Path, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """A shard's records as Arrow."""
    with _opened(path) as file:
        yield from file.iter_batches(AT_ONCE, columns=list(columns) if columns else None)


def batches_by_kind(path: Path, columns_of: Mapping[str, Sequence[str]]) -> Iterator[pa.RecordBatch]:
    """The same with `id`, `kind`, and those columns only that the kinds found there ask for."""
    with _opened(path) as file:
        for number in range(file.num_row_groups):
            kinds = file.read_row_group(number, columns=["kind"], use_threads=False).column(0).unique().to_pylist()
            wanted = ["id", "kind", *(name for kind in kinds for name in columns_of.get(kind, ()))]
            yield from file.iter_batches(AT_ONCE, [number], columns=wanted, use_threads=False)


def kinds_in(clean: Path, split: str = "train") -> dict[str, int]:
    """How many records of each kind a split holds."""
    counts: dict[str, int] = {}
    for path in _all(record_shards(clean, split)):
        for batch in record_batches(path, ["kind"]):
            for pair in batch.column("kind").value_counts().to_pylist():
                counts[pair["values"]] = counts.get(pair["values"], 0) + pair["counts"]
    return counts


def footer(path: Path) -> pq.FileMetaData:
    """What a shard says of itself: rows, and the size of each column in each row group."""
    with _opened(path) as file:
        return file.metadata


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    """A shard that is there and cannot be read was damaged after it was written: one line instead of a traceback."""
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (FileNotFoundError, PermissionError, MemoryError):
        raise
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if disk_is_full(error):
            raise
        raise UserError(f"{path}: damaged; delete the clean folder and run again") from None


def _all(shards: dict[str, list[Path]]) -> Iterable[Path]:
    return (path for paths in shards.values() for path in paths)
