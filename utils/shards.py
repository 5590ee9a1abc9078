"""Contract 4: a token shard, written whole and read through a memory map.

`pack/<pretrain|finetune|prefer>/<split>/<source>-NNNNN.arrow` is an uncompressed Arrow IPC file, one row a document:
its id, its tokens, the half-open spans of those that are trained (null: all), and the bytes of text it stands for.
`spans` index tokens as the tokens predicted. What comes out are numpy views of the file; nothing is copied until a
caller fills its own array. A pack's manifest says how many documents and tokens each shard holds, so that opening a
pack opens no shard.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import xxhash

from utils.arrays import arrow
from utils.console import UserError
from utils.stage import Json, manifest, read_json, whole, write_json

BATCH_TOKENS = 1 << 22
BATCH_DOCUMENTS = 1 << 16
"""A record batch ends at either: what a writer holds in memory, and far from the 2^31 that Arrow's offsets can say."""

OPEN_SHARDS = 256
"""A memory map keeps a file handle, and a process has about a thousand."""

TOKENIZER, VOCAB_SIZE = "yaya.tokenizer", "yaya.vocab_size"
"""What a shard's own metadata says: the identity of the tokenizer's folder, and how many ids there are."""

SPAN = pa.struct([("start", pa.int32()), ("end", pa.int32())])
Spans = Sequence[tuple[int, int]]


def schema(dtype: np.dtype, vocab_size: int = 0, tokenizer: str = "") -> pa.Schema:
    """The columns of a shard whose ids are uint16 or uint32, and whose ids they are."""
    tokens = pa.list_(pa.from_numpy_dtype(dtype))
    fields = [("id", pa.string()), ("tokens", tokens), ("spans", pa.list_(SPAN)), ("n_bytes", pa.int64())]
    return pa.schema(fields, {VOCAB_SIZE: str(vocab_size), TOKENIZER: tokenizer})


# ---------------------------------------------------------------- writing


@dataclass(frozen=True)
class Documents:
    """N documents with T tokens, one behind the other."""

    ids: pa.Array
    tokens_T: np.ndarray
    lengths_N: np.ndarray
    n_bytes_N: np.ndarray
    trained_T: np.ndarray | None = None
    """Which tokens are trained; None if all of them."""


@contextmanager
def shard_writer(path: Path, vocab_size: int, dtype: np.dtype, tokenizer: str = "") -> Iterator[ShardWriter]:
    """A shard that is whole or absent: `with shard_writer(…) as shard: shard.write(…)`.

    `tokenizer` says whose ids they are: the identity of its folder.
    """
    kind = schema(dtype, vocab_size, tokenizer)
    with (
        whole(path) as draft,
        pa.OSFile(str(draft), "wb") as sink,
        pa.ipc.new_file(sink, kind) as file,
    ):
        writer = ShardWriter(path, file, kind, vocab_size, dtype)
        yield writer
        writer.flush()


class ShardWriter:
    """Collects documents and writes them a record batch at a time."""

    def __init__(self, path: Path, file: pa.RecordBatchFileWriter, kind: pa.Schema, vocab_size: int, dtype: np.dtype):
        self.path, self.documents, self.tokens, self.trained, self.bytes, self.largest = path, 0, 0, 0, 0, 0
        self._file, self._schema, self._vocab_size, self._dtype = file, kind, vocab_size, dtype
        self._held: list[Documents] = []
        self._room = (BATCH_TOKENS, BATCH_DOCUMENTS)

    def add(self, name: str, tokens: np.ndarray, spans: Spans | None, n_bytes: int) -> None:
        """One document; `spans` None trains all of it."""
        trained_T = np.zeros(len(tokens), bool)
        for start, end in spans or ():
            trained_T[start:end] = True
        lengths_N, n_bytes_N = np.array([len(tokens)]), np.array([n_bytes])
        self.write(Documents(pa.array([name]), tokens, lengths_N, n_bytes_N, None if spans is None else trained_T))

    def write(self, some: Documents) -> None:
        """Many documents at once. Record batches end between calls, so calls decide the bytes of a shard."""
        largest = int(some.tokens_T.max(initial=0))
        if largest >= self._vocab_size:
            place = np.cumsum(some.lengths_N).searchsorted(some.tokens_T.argmax(), "right")
            raise UserError(
                f"{self.path}: {some.ids[int(place)]} holds token {largest}, beyond the vocabulary of "
                f"{self._vocab_size}; delete the tokenizer folder and run the tokenizer stage again"
            )
        self._held.append(replace(some, tokens_T=some.tokens_T.astype(self._dtype, copy=False)))
        self.documents += len(some.ids)
        self.tokens += len(some.tokens_T)
        self.trained += len(some.tokens_T) if some.trained_T is None else int(some.trained_T.sum())
        self.bytes += int(some.n_bytes_N.sum())
        self.largest = max(self.largest, largest)
        self._room = self._room[0] - len(some.tokens_T), self._room[1] - len(some.ids)
        if min(self._room) <= 0:
            self.flush()

    def flush(self) -> None:
        """What is held, as a record batch."""
        held, self._held, self._room = self._held, [], (BATCH_TOKENS, BATCH_DOCUMENTS)
        if not held:
            return
        lengths_N = np.concatenate([some.lengths_N for some in held])
        tokens = pa.ListArray.from_arrays(_offsets(lengths_N), arrow(np.concatenate([some.tokens_T for some in held])))
        columns = [pa.concat_arrays([some.ids for some in held]), tokens, _span_column(held)]
        columns.append(arrow(np.concatenate([some.n_bytes_N for some in held]).astype(np.int64)))
        self._file.write_batch(pa.record_batch(columns, schema=self._schema))


def _offsets(lengths_N: np.ndarray) -> pa.Array:
    return arrow(np.concatenate([[0], np.cumsum(lengths_N, dtype=np.int64)]).astype(np.int32))


def _span_column(held: Sequence[Documents]) -> pa.Array:
    """Half-open spans that count from their document's first token; null where all is trained."""
    found = [_spans(some) for some in held]
    starts_S, ends_S, counts_N = (np.concatenate(parts).astype(np.int32) for parts in zip(*found, strict=True))
    struct = pa.StructArray.from_arrays([arrow(starts_S), arrow(ends_S)], fields=list(SPAN))
    whole_N = np.concatenate([np.full(len(some.ids), some.trained_T is None) for some in held])
    return pa.ListArray.from_arrays(_offsets(counts_N), struct, mask=arrow(whole_N))


def _spans(some: Documents) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where trained tokens begin and end, and how many such spans each document has."""
    if some.trained_T is None:
        nowhere = np.empty(0, np.int64)
        return nowhere, nowhere, np.zeros(len(some.ids), np.int64)
    edges_N1 = np.concatenate([[0], np.cumsum(some.lengths_N, dtype=np.int64)])
    trained_T1 = np.append(some.trained_T, False)
    changes_T1 = np.diff(trained_T1, prepend=False)
    changes_T1[edges_N1] = True  # a span ends with its document
    starts_S = np.flatnonzero(changes_T1 & trained_T1)
    ends_S = np.flatnonzero(changes_T1[1:] & some.trained_T) + 1
    of_S = edges_N1.searchsorted(starts_S, "right") - 1
    return starts_S - edges_N1[of_S], ends_S - edges_N1[of_S], np.bincount(of_S, minlength=len(some.ids))


# ---------------------------------------------------------------- reading


@dataclass(frozen=True)
class Batch:
    """Views of one record batch: N documents, T tokens, S spans."""

    tokens_T: np.ndarray
    edges_N1: np.ndarray  # document i is tokens_T[edges_N1[i] : edges_N1[i + 1]]
    span_starts_S: np.ndarray
    span_ends_S: np.ndarray
    span_edges_N1: np.ndarray
    all_trained_N: np.ndarray


class Shard:
    """One shard, mapped into memory."""

    def __init__(self, path: Path):
        try:
            file = pa.ipc.open_file(pa.memory_map(str(path)))
            self.batches = [_views(file.get_batch(i)) for i in range(file.num_record_batches)]
        except (pa.ArrowInvalid, OSError):
            raise UserError(
                f"{path}: missing or damaged; delete the pack folder and run the pack stage again"
            ) from None
        self.token_starts = np.cumsum([0, *(len(batch.tokens_T) for batch in self.batches)])
        self.document_starts = np.cumsum([0, *(len(batch.edges_N1) - 1 for batch in self.batches)])
        self.tokens, self.documents = int(self.token_starts[-1]), int(self.document_starts[-1])

    def read(self, start: int, out: np.ndarray) -> None:
        """Fill `out` with tokens from `start` on."""
        number = int(self.token_starts.searchsorted(start, "right")) - 1
        filled = 0
        while filled < len(out):
            at = start + filled - int(self.token_starts[number])
            piece = self.batches[number].tokens_T[at : at + len(out) - filled]
            out[filled : filled + len(piece)] = piece
            filled += len(piece)
            number += 1

    def document(self, index: int) -> tuple[np.ndarray, Spans | None]:
        """A document's tokens and its trained spans; None where all are trained."""
        number = int(self.document_starts.searchsorted(index, "right")) - 1
        batch, row = self.batches[number], index - int(self.document_starts[number])
        tokens = batch.tokens_T[batch.edges_N1[row] : batch.edges_N1[row + 1]]
        if batch.all_trained_N[row]:
            return tokens, None
        held = slice(batch.span_edges_N1[row], batch.span_edges_N1[row + 1])
        return tokens, list(zip(batch.span_starts_S[held].tolist(), batch.span_ends_S[held].tolist(), strict=True))

    def lengths(self) -> np.ndarray:
        """Tokens of each document."""
        return np.concatenate([np.empty(0, np.int64), *(np.diff(batch.edges_N1) for batch in self.batches)])


def _views(batch: pa.RecordBatch) -> Batch:
    tokens, spans = batch.column("tokens"), batch.column("spans")
    return Batch(
        tokens.values.to_numpy(zero_copy_only=True),
        tokens.offsets.to_numpy(zero_copy_only=True),
        spans.values.field("start").to_numpy(zero_copy_only=True),
        spans.values.field("end").to_numpy(zero_copy_only=True),
        spans.offsets.to_numpy(zero_copy_only=True),
        spans.is_null().to_numpy(zero_copy_only=False),
    )


@lru_cache(maxsize=OPEN_SHARDS)
def _opened(path: Path, modified_ns: int, documents: int, tokens: int) -> Shard:
    shard = Shard(path)
    if (shard.documents, shard.tokens) != (documents, tokens):
        raise UserError(
            f"{path}: holds {shard.documents} documents and {shard.tokens} tokens, its manifest says {documents} and "
            f"{tokens}; delete the pack folder and run the pack stage again"
        )
    return shard


@dataclass(frozen=True)
class Entry:
    """What the manifest says of one shard."""

    path: Path
    modified_ns: int
    documents: int
    tokens: int
    hash: str

    def open(self) -> Shard:
        return _opened(self.path, self.modified_ns, self.documents, self.tokens)


class Source:
    """The shards of one source as one run of documents and one run of tokens, opened when they are read."""

    def __init__(self, name: str, entries: Sequence[Entry]):
        self.name, self.entries = name, entries
        self._token_starts = np.cumsum([0, *(entry.tokens for entry in entries)])
        self._document_starts = np.cumsum([0, *(entry.documents for entry in entries)])
        self.tokens, self.documents = int(self._token_starts[-1]), int(self._document_starts[-1])
        self.identity = xxhash.xxh3_64_hexdigest("\n".join(entry.hash for entry in entries).encode())

    def read(self, start: int, out: np.ndarray) -> None:
        """Fill `out` with the source's tokens from `start` on."""
        number = int(self._token_starts.searchsorted(start, "right")) - 1
        filled = 0
        while filled < len(out):
            size = min(len(out) - filled, int(self._token_starts[number + 1]) - start - filled)
            if size:
                self.entries[number].open().read(
                    start + filled - int(self._token_starts[number]), out[filled : filled + size]
                )
            filled += size
            number += 1

    def document(self, index: int) -> tuple[np.ndarray, Spans | None]:
        """A document's tokens and its trained spans; None where all are trained."""
        number = int(self._document_starts.searchsorted(index, "right")) - 1
        return self.entries[number].open().document(index - int(self._document_starts[number]))

    def lengths(self) -> Iterator[np.ndarray]:
        """Tokens of each document, a shard at a time."""
        return (entry.open().lengths() for entry in self.entries)


def sources(pack: Path, verb: str, split: str) -> dict[str, Source]:
    """A split's sources by name; a shard that is not what the manifest says is named."""
    known = _finished(pack)
    found: dict[str, list[Entry]] = {}
    for name, counts in sorted(known["counters"]["shards"].items()):
        if name.startswith(f"{verb}/{split}/"):
            entry = _entry(pack / name, counts, known["files"][name])
            found.setdefault(entry.path.stem.rpartition("-")[0], []).append(entry)
    return {name: Source(name, entries) for name, entries in found.items()}


def vocabulary(pack: Path) -> int:
    """The vocabulary that the pack's ids come from: a model needs at least as many rows."""
    return int(_finished(pack)["counters"]["vocab_size"])


def marks(pack: Path) -> dict[str, int]:
    """The ids of the marks in the pack's shards."""
    counters = _finished(pack)["counters"]
    if "marks" not in counters:
        raise UserError(f"{pack}: packed by an earlier version; delete the folder and run the pack stage again")
    return dict(counters["marks"])


def _finished(pack: Path) -> Json:
    known = manifest(pack)
    if known is None:
        raise UserError(f"{pack}: not finished (no manifest.json); run the pack stage first")
    return known


def _entry(path: Path, counts: Json, file: Json) -> Entry:
    size = path.stat().st_size if path.is_file() else 0
    if size != file["size"]:
        raise UserError(
            f"{path}: {size} bytes, not {file['size']} as made; delete the pack folder and run the pack stage again"
        )
    return Entry(path, path.stat().st_mtime_ns, counts["documents"], counts["tokens"], file["hash"])


# ---------------------------------------------------------------- checking

VERIFIED = ".verified.json"
"""In a pack: what was found in each shard, at which size and time. Not listed in the manifest."""

AGAIN = "delete the pack folder and run the pack stage again"


def check(pack: Path, verb: str, vocab_size: int) -> None:
    """Before training starts: refuse a verb's shards that are not what the pack stage made, or not for this vocabulary.

    Every shard is read once (15 GB/s from the page cache); one that did not change since is not read again.
    """
    known = _finished(pack)
    listed = {name: counts for name, counts in known["counters"]["shards"].items() if name.startswith(f"{verb}/")}
    for path in sorted((pack / verb).glob("*/*.arrow")):
        if path.relative_to(pack).as_posix() not in listed:
            raise UserError(f"{path}: not made by this pack (manifest.json does not name it); move it away")
    note = pack / VERIFIED
    before: Json = {}
    with suppress(OSError, UserError):  # absent, or damaged: all are read
        before = read_json(note)
    seen = {name: _seen(pack / name, known["files"][name]["size"], before.get(name)) for name in sorted(listed)}
    for name, found in seen.items():
        _refuse_other(pack / name, found, listed[name], known["counters"].get("tokenizer", ""), vocab_size)
    if any(before.get(name) != found for name, found in seen.items()):
        with suppress(OSError):  # a pack that may only be read is read again each time
            write_json(note, before | seen)


def _seen(path: Path, size: int, before: Json | None) -> Json:
    """What a shard holds, by its own words and ids."""
    stat = path.stat() if path.is_file() else None
    if stat is None:
        raise UserError(f"{path}: missing; {AGAIN}")
    when = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    if before and when.items() <= before.items():
        return before
    try:
        with pa.memory_map(str(path)) as data, pa.ipc.open_file(data) as file:
            documents, tokens, largest = 0, 0, 0
            for i in range(file.num_record_batches):
                batch = file.get_batch(i)
                batch.validate(full=True)
                ids = batch.column("tokens").flatten().to_numpy()
                documents, tokens = documents + len(batch), tokens + len(ids)
                largest = max(largest, int(ids.max(initial=0)))
            whose = (file.schema.metadata or {}).get(TOKENIZER.encode(), b"").decode()
    except (pa.ArrowInvalid, OSError, KeyError):
        told = f"{stat.st_size:,} bytes, {size:,} as made" if stat.st_size != size else "damaged"
        raise UserError(f"{path}: {told}; {AGAIN}") from None
    return when | {"documents": documents, "tokens": tokens, "largest": largest, "tokenizer": whose}


def _refuse_other(path: Path, found: Json, counts: Json, tokenizer: str, vocab_size: int) -> None:
    if found["tokenizer"] != tokenizer:
        raise UserError(
            f"{path}: packed with another tokenizer ({found['tokenizer'][:8] or 'unknown'}) than this pack "
            f"({tokenizer[:8] or 'unknown'}); {AGAIN}"
        )
    for name in ("documents", "tokens"):
        if found[name] != counts[name]:
            raise UserError(f"{path}: holds {found[name]:,} {name}, its manifest says {counts[name]:,}; {AGAIN}")
    if found["largest"] >= vocab_size:
        raise UserError(
            f"{path}: holds token {found['largest']}, beyond the model's vocabulary of {vocab_size}; "
            f"give a model of that vocabulary, or {AGAIN}"
        )
