"""The last step of cleaning: one bucket of one source becomes its shards, shuffled, by split.

Rows stand in the order of their keys, which are seeded hashes of what they say; buckets are ranges of keys. So the
shards of a source, read one behind the other, are a random order of its records that no worker count can change.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.clean.choose import Choice
from pipeline.clean.duplicates.corpus import Corpus, load, save
from pipeline.clean.parts import RECORD_COLUMNS, read_measures, read_records
from utils.arrays import arrow, numpy_of, strings
from utils.records import SCHEMA, SPLITS, write_rows

VERDICT = np.dtype([("split", "i1"), ("cluster_size", "<i4"), ("group", "<u8")])


@dataclass(frozen=True)
class Shelf:
    """One bucket of one source, and the shards it becomes."""

    corpus: Corpus
    source: str
    bucket: int
    parts: tuple[int, ...]
    labels: tuple[str, ...]
    """For each part `file` of its records' ids."""
    bases: tuple[int, ...]
    """For each part what its file held before its piece."""
    shards: tuple[tuple[int, str], ...]
    """(split, name) of those that will hold something."""


def save_verdicts(corpus: Corpus, choice: Choice) -> None:
    """What `gather` has to know of each part's rows."""
    first = corpus.first_rows()
    for number in range(len(corpus.parts)):
        here = slice(first[number], first[number + 1])
        verdict = np.empty(first[number + 1] - first[number], VERDICT)
        verdict["split"], verdict["cluster_size"] = choice.split[here], choice.cluster_size[here]
        verdict["group"] = choice.group[here]
        save(corpus.store, _verdict(number), verdict)


def _verdict(part: int) -> str:
    return f"work/verdict-{part:06d}.npy"


def gather(shelf: Shelf) -> None:
    """Write the shelf's shards, unless a run before did."""
    store = shelf.corpus.store
    if all(store.exists(name) for _, name in shelf.shards):
        return
    table, order = _ordered(shelf)
    splits = numpy_of(table["split"])[order]
    table = table.select(SCHEMA.names)
    for split, name in shelf.shards:
        with store.write(name) as sink:
            write_rows(sink, table.take(arrow(order[splits == split])))
    del table
    pa.default_memory_pool().release_unused()


def _ordered(shelf: Shelf) -> tuple[pa.Table, np.ndarray]:
    """All rows of the bucket, and the order in which they stand shuffled."""
    table = pa.concat_tables([_rows(shelf, i) for i in range(len(shelf.parts))]).combine_chunks()
    return table, np.lexsort((numpy_of(table["position"]), numpy_of(table["key"])))


def _rows(shelf: Shelf, i: int) -> pa.Table:
    """The rows of the bucket in one of its parts, as SCHEMA and what orders and splits them."""
    corpus, number = shelf.corpus, shelf.parts[i]
    part = corpus.parts[number]
    start, end = part.span(shelf.bucket)
    verdict = load(corpus.store, _verdict(number))[start:end]
    measures = read_measures(corpus.store, part, ["ordinal", "key"]).slice(start, end - start)
    records = read_records(corpus.store, part, shelf.bucket)
    ordinals = numpy_of(measures["ordinal"]) + shelf.bases[i]
    begins = f"{shelf.source}/{shelf.labels[i]}/"
    columns = {name: records[name] for name in RECORD_COLUMNS.names}
    columns |= {
        "id": strings([f"{begins}{ordinal}" for ordinal in ordinals.tolist()]),
        "source": pa.repeat(shelf.source, len(records)),
        "group": strings([f"{group:016x}" for group in verdict["group"].tolist()]),
        "cluster_size": arrow(verdict["cluster_size"]),
        "key": measures["key"],
        "position": arrow(ordinals + corpus.read_before[number] - shelf.bases[i]),
        "split": arrow(verdict["split"]),
    }
    return pa.table(columns)


def shelves(corpus: Corpus, sources: list[str], labels: list[str], bases: list[int], choice: Choice) -> list[Shelf]:
    """Every bucket of every source that holds something; shards are numbered by source and split."""
    first = corpus.first_rows()
    found = []
    for source in dict.fromkeys(sources):
        parts = [n for n in range(len(corpus.parts)) if sources[n] == source]
        numbers = dict.fromkeys(range(len(SPLITS)), 0)
        for bucket in range(len(corpus.parts[parts[0]].ends)):
            counts = np.zeros(len(SPLITS), np.int64)
            for n in parts:
                start, end = corpus.parts[n].span(bucket)
                rows = choice.split[first[n] + start : first[n] + end]
                counts += np.bincount(rows[rows >= 0], minlength=len(SPLITS))
            shards = []
            for split in np.flatnonzero(counts).tolist():
                shards.append((split, f"{SPLITS[split]}/{source}-{numbers[split]:05d}.parquet"))
                numbers[split] += 1
            if shards:
                told = tuple(labels[n] for n in parts), tuple(bases[n] for n in parts)
                found.append(Shelf(corpus, source, bucket, tuple(parts), *told, tuple(shards)))
    return found
