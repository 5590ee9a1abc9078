"""One clean shard comes in; its token shards and a note that they are finished go out.

Text stays in columns from parquet to Arrow: its strings are encoded many at a time, and nothing is made for each
record. A dialogue has to be looked at turn by turn (`validate.py`); its segments are encoded together with those of a
thousand others. What a shard holds depends on its clean shard alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.pack.validate import why_not
from utils.arrays import numpy_of, strings
from utils.chat import conversation
from utils.codec import Codec
from utils.records import batches_by_kind
from utils.shard_writer import Documents, ShardWriter, shard_writer
from utils.stage import Json, read_json, write_json

NOTES = ".packed"
COLUMNS_OF = {"text": ("text",), "chat": ("messages", "tools")}
TEXT_BYTES = 4 << 20
DIALOGUES = 1024
"""So much is encoded at a time."""

LENGTHS = (32, 64, 128, 256, 512, 1024, 2048, 4096)
"""Documents are counted by their tokens: up to 32, up to 64, …, and longer than the last."""

Lot = tuple[str, Documents]
"""A verb, and documents for it."""


@dataclass(frozen=True)
class Task:
    """One clean shard, and where its tokens go."""

    clean: Path
    tokenizer: Path
    identity: str
    """The tokenizer's, which each shard carries."""
    folder: Path
    split: str
    source: str
    chat_in_pretrain: bool

    @property
    def name(self) -> str:
        return f"{self.split}/{self.clean.stem}"


def pack_shard(task: Task) -> Json:
    """One task: its shards, then the note that they are finished, which is what it returns."""
    note = task.folder / NOTES / f"{task.name}.json"
    if note.is_file():
        return read_json(note)
    codec = opened(task.tokenizer, task.identity)
    left_out: Counter[str] = Counter()
    outputs: dict[str, Output] = {}
    with ExitStack() as open_files:
        for verb, documents in lots(task.clean, codec, task.chat_in_pretrain, left_out):
            if verb not in outputs:
                path = task.folder / verb / f"{task.name}.arrow"
                writer = shard_writer(path, codec.vocab_size, codec.dtype, task.identity)
                outputs[verb] = Output(open_files.enter_context(writer))
            outputs[verb].write(documents)
    pa.default_memory_pool().release_unused()
    part = {
        "name": task.name,
        "split": task.split,
        "source": task.source,
        "shards": {f"{verb}/{task.name}.arrow": output.counts() for verb, output in sorted(outputs.items())},
        "lengths": {verb: output.lengths.tolist() for verb, output in sorted(outputs.items())},
        "left_out": dict(sorted(left_out.items())),
    }
    write_json(note, part)
    return part


@lru_cache(maxsize=1)
def opened(tokenizer: Path, identity: str) -> Codec:
    """The tokenizer of this process; one that was learned again lies at the same path."""
    return Codec(tokenizer)


@dataclass
class Output:
    """A shard in the making, and how long its documents are."""

    writer: ShardWriter
    lengths: np.ndarray = field(default_factory=lambda: np.zeros(len(LENGTHS) + 1, np.int64))

    def write(self, documents: Documents) -> None:
        self.writer.write(documents)
        self.lengths += np.bincount(np.searchsorted(LENGTHS, documents.lengths_N), minlength=len(self.lengths))

    def counts(self) -> Json:
        return {name: getattr(self.writer, name) for name in ("documents", "tokens", "trained", "bytes")}


# ---------------------------------------------------------------- records to documents


def lots(path: Path, codec: Codec, chat_in_pretrain: bool, left_out: Counter[str]) -> Iterator[Lot]:
    """A clean shard's documents in stored order; `left_out` counts the records that make none, by reason."""
    for batch in batches_by_kind(path, COLUMNS_OF):
        yield from lots_of(batch, codec, chat_in_pretrain, left_out)


def lots_of(batch: pa.RecordBatch, codec: Codec, chat_in_pretrain: bool, left_out: Counter[str]) -> Iterator[Lot]:
    """The same of some of its records."""
    start = 0
    for kind, run in groupby(batch.column("kind").to_pylist()):
        some = batch.slice(start, len(list(run)))
        start += len(some)
        if kind == "text":
            yield from texts(some, codec, left_out)
        elif kind == "chat":
            for first in range(0, len(some), DIALOGUES):
                yield from dialogues(some.slice(first, DIALOGUES), codec, chat_in_pretrain, left_out)
        else:
            left_out["preference" if kind == "preference" else "unknown_kind"] += len(some)


def texts(batch: pa.RecordBatch, codec: Codec, left_out: Counter[str]) -> Iterator[Lot]:
    """Each text behind its edge."""
    edge = np.array([codec.end_of_text], np.int32)
    sizes_N = numpy_of(pc.fill_null(pc.binary_length(batch.column("text")), 0)).astype(np.int64)
    for start, end in blocks(sizes_N, TEXT_BYTES):
        said = batch.column("text").slice(start, end - start).to_pylist()
        kept_N = np.array([bool(text) and not text.isspace() for text in said])
        if not kept_N.all():
            left_out["empty_text"] += int(np.sum(~kept_N))
        encoded = codec.encode_all([text for text, kept in zip(said, kept_N.tolist(), strict=True) if kept])
        if encoded:
            lengths_N = np.array([1 + len(ids) for ids in encoded])
            tokens_T = np.concatenate([part for ids in encoded for part in (edge, ids)])
            names = batch.column("id").slice(start, end - start).filter(kept_N)
            yield "pretrain", Documents(names, tokens_T, lengths_N, sizes_N[start:end][kept_N])


def blocks(sizes_N: np.ndarray, most: int) -> Iterator[tuple[int, int]]:
    """Runs of at least one, ending where their sizes reach `most`."""
    ends_N, start = np.cumsum(sizes_N), 0
    while start < len(ends_N):
        before = int(ends_N[start - 1]) if start else 0
        end = max(int(ends_N.searchsorted(before + most, "right")), start + 1)
        yield start, end
        start = end


def dialogues(batch: pa.RecordBatch, codec: Codec, chat_in_pretrain: bool, left_out: Counter[str]) -> Iterator[Lot]:
    """Each dialogue's turns, of which what the assistant says is trained."""
    names, segmented = [], []
    for record in batch.select(["id", *COLUMNS_OF["chat"]]).to_pylist():
        messages = record["messages"] or []
        if reason := why_not(messages, record["tools"]):
            left_out[reason] += 1
        else:
            names.append(record["id"])
            segmented.append(conversation(messages, record["tools"]))
    if not names:
        return
    tokens_T, trained_T, lengths_N = codec.encode_dialogues(segmented)
    n_bytes_N = np.array([len("".join([s.text for s in some if not s.is_mark]).encode()) for some in segmented])
    yield "finetune", Documents(strings(names), tokens_T, lengths_N, n_bytes_N, trained_T)
    if chat_in_pretrain:
        tokens_T = np.insert(tokens_T, np.cumsum(lengths_N) - lengths_N, codec.end_of_text)
        yield "pretrain", Documents(strings(names), tokens_T, lengths_N + 1, n_bytes_N)
