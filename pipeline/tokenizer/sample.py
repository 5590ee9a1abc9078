"""Which text the vocabulary is learned from: what the model will see of the train records, marks left out.

A record is drawn by the seeded hash of its id, so the sample is the same wherever and whenever it is drawn, and
every source is in it by its share. Two passes: the sizes, column by column, then the drawn records.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from utils.chat import conversation
from utils.records import Record, read_records, record_shards

LINE = 2000
"""Characters a training sentence has at most; SentencePiece drops longer ones silently, or counts positions wrong."""

COLUMNS = ("id", "source", "kind", "text", "messages", "tools")
_BREAKS = re.compile("[\n\0\u2585]")  # SentencePiece silently drops sentences with NUL or U+2585


def texts_of(record: Record) -> Iterator[str]:
    """The pieces of text between the marks, as `utils/chat.py` writes them."""
    if record["kind"] == "text":
        yield record["text"]
    else:
        yield from (s.text for s in conversation(record["messages"], record["tools"]) if not s.is_mark)


def lines_of(text: str) -> Iterator[str]:
    """A text as training sentences: its lines, long ones cut."""
    for line in _BREAKS.split(text):
        yield from (line[i : i + LINE] for i in range(0, len(line), LINE))


def drawn(clean: Path, share: float, seed: int) -> Iterator[Record]:
    """The train records whose hash falls below `share`, source by source in stored order."""
    limit = share * 2**64
    for shards in record_shards(clean, "train").values():
        for shard in shards:
            for record in read_records(shard, COLUMNS):
                if share >= 1 or xxhash.xxh3_64_intdigest(record["id"].encode(), seed & 0xFFFFFFFFFFFFFFFF) < limit:
                    yield record


def bytes_in(clean: Path) -> int:
    """Bytes of text in the train records, about: names of roles are left out."""
    total = 0
    for shards in record_shards(clean, "train").values():
        for shard in shards:
            for batch in pq.ParquetFile(shard).iter_batches(columns=["text", "messages", "tools"]):
                turns = batch.column("messages").flatten()
                columns = [batch.column("text"), batch.column("tools")]
                columns += [turns.field(name) for name in ("content", "reasoning", "tool_calls")]
                total += sum(pc.sum(pc.binary_length(column)).as_py() or 0 for column in columns)
    return total
