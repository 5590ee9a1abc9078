"""The parts become shards: duplicates over all files fall out, groups are split, each source is shuffled.

Everything here is decided by hashes and the order of the inputs, so the result does not depend on how many
processes made the parts. One source is held in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from pipeline.clean.config import CleanConfig
from pipeline.clean.inputs import Raw
from utils.records import SCHEMA, SPLITS, write_table

SHARD_ROWS = 100_000
SHARD_BYTES = 100_000_000


def duplicates(parts: Sequence[Path]) -> list[np.ndarray]:
    """For each part, which rows say what an earlier row of any part says."""
    hashes = [pq.read_table(part, columns=["hash"]).column("hash") for part in parts]
    sizes = [len(column) for column in hashes]
    keys = np.frombuffer(b"".join(b"".join(column.to_pylist()) for column in hashes), dtype="V16")
    again = np.ones(len(keys), bool)
    if len(keys):
        again[np.unique(keys.view([("a", "<u8"), ("b", "<u8")]), return_index=True)[1]] = False
    return np.split(again, np.cumsum(sizes)[:-1]) if parts else []


def split_of(group: str, config: CleanConfig) -> str:
    """Where a group belongs: its hash, seeded, is a point between 0 and 1."""
    point = place(group, config.seed)
    if point < config.test:
        return "test"
    return "valid" if point < config.test + config.valid else "train"


def place(text: str, seed: int) -> float:
    """A point between 0 and 1 that depends on the text and the seed alone."""
    return xxhash.xxh3_64_intdigest(text.encode(), seed & 0xFFFFFFFFFFFFFFFF) / 2**64


def rescued(groups_by_source: dict[str, set[str]], config: CleanConfig) -> set[str]:
    """Groups that train after all, because nothing else of their source would."""
    found = set()
    for groups in groups_by_source.values():
        if groups and not any(split_of(group, config) == "train" for group in groups):
            found.add(max(groups, key=lambda group: (place(group, config.seed), group)))
    return found


def write_shards(
    parts: Sequence[Path], raws: Sequence[Raw], output: Path, config: CleanConfig
) -> dict[str, dict[str, int]]:
    """The shards of every source; records by source and split come back."""
    again = duplicates(parts)
    by_source: dict[str, list[int]] = {}
    for number, raw in enumerate(raws):
        by_source.setdefault(raw.source, []).append(number)
    groups = {source: _groups(parts, again, numbers) for source, numbers in by_source.items()}
    kept_in_train = rescued(groups, config)
    counts: dict[str, dict[str, int]] = {}
    for source, numbers in by_source.items():
        tables = [pq.read_table(parts[n]).filter(pa.array(~again[n])) for n in numbers]
        table = _shuffled(pa.concat_tables(tables), config.seed)
        splits = np.array(
            [
                "train" if group in kept_in_train else split_of(group, config)
                for group in table.column("group").to_pylist()
            ]
        )
        counts[source] = {}
        for split in SPLITS:
            rows = table.filter(pa.array(splits == split)) if len(splits) else table
            counts[source][split] = len(rows)
            for number, (start, end) in enumerate(cuts(rows.column("n_bytes").to_numpy())):
                write_table(
                    output / split / f"{source}-{number:05d}.parquet",
                    rows.slice(start, end - start).select(SCHEMA.names),
                )
    return counts


def cuts(sizes: np.ndarray) -> Iterator[tuple[int, int]]:
    """Where shards begin and end: at most SHARD_ROWS records, and SHARD_BYTES unless one record alone is larger."""
    ends = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        before = ends[start - 1] if start else 0
        end = int(np.searchsorted(ends, before + SHARD_BYTES, side="right"))
        end = min(max(end, start + 1), start + SHARD_ROWS)
        yield start, end
        start = end


def _groups(parts: Sequence[Path], again: Sequence[np.ndarray], numbers: Sequence[int]) -> set[str]:
    found: set[str] = set()
    for n in numbers:
        column = pq.read_table(parts[n], columns=["group"]).column("group")
        found.update(pc.unique(column.filter(pa.array(~again[n]))).to_pylist())
    return found


def _shuffled(table: pa.Table, seed: int) -> pa.Table:
    """Rows in the order of their ids' seeded hashes."""
    ids = table.column("id").to_pylist()
    keys = np.array([xxhash.xxh3_64_intdigest(i.encode(), seed & 0xFFFFFFFFFFFFFFFF) for i in ids], np.uint64)
    return table.take(pa.array(np.argsort(keys, kind="stable")))
