"""Clean shards: what reads them says what is damaged in one line, and keeps no file open."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from utils.console import UserError
from utils.records import batches_by_kind, footer, kinds_in, read_records, record_batches, write_records

ROWS = [{"id": f"a/b/{i}", "source": "a", "kind": "text", "text": f"第{i}篇"} for i in range(9)]
READERS: list[Callable[[Path], object]] = [
    footer,
    lambda path: list(record_batches(path)),
    lambda path: list(batches_by_kind(path, {"text": ["text"]})),
    lambda path: list(read_records(path, ["id"])),
    lambda path: kinds_in(path.parent.parent),
]


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    write_records(tmp_path / "train/a-00000.parquet", ROWS)
    return tmp_path / "train/a-00000.parquet"


@pytest.mark.parametrize("read", READERS)
def test_a_damaged_shard_is_named(read: Callable[[Path], object], shard: Path) -> None:
    shard.write_bytes(shard.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"a-00000\.parquet: damaged; delete the clean folder and run again"):
        read(shard)


@pytest.mark.parametrize("read", READERS)
def test_no_file_stays_open(read: Callable[[Path], object], shard: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    gc.disable()
    try:
        kept = read(shard)
        assert len(os.listdir("/proc/self/fd")) == before
    finally:
        gc.enable()
    assert kept


def test_columns_of_the_kinds_that_are_there(shard: Path) -> None:
    batches = list(batches_by_kind(shard, {"text": ["text"], "chat": ["messages"]}))
    assert [batch.schema.names for batch in batches] == [["id", "kind", "text"]]
    assert [row["text"] for batch in batches for row in batch.to_pylist()] == [row["text"] for row in ROWS]
