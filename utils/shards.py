"""Contract 4: a token shard, written whole and read through a memory map.

`pack/<pretrain|finetune|prefer>/<split>/<source>-NNNNN.arrow` is an uncompressed Arrow IPC file, one row a document:
its id, its tokens, the half-open spans of those that are trained (null: all), and the bytes of text it stands for.
`spans` index tokens as the tokens predicted. What comes out are numpy views of the file, or copies of what was asked
for; a shard is never held in memory. A pack's manifest says how many documents and tokens each shard holds, so that
opening a pack opens no shard; the first tokens taken from a source look into all of its shards' headers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import xxhash

from utils.chat import MARKS
from utils.console import UserError
from utils.stage import MANIFEST, Json, manifest

MAPPED_SHARDS = 1 << 14
"""Shards that stay mapped once they were read: half a kilobyte of memory each; a process may map 65 thousand files."""

TOKENIZER, VOCAB_SIZE = "yaya.tokenizer", "yaya.vocab_size"
"""What a shard's own metadata says: the identity of the tokenizer's folder, and how many ids there are."""

PACK_AGAIN = "delete the pack folder and run the pack stage again"

SPAN = pa.struct([("start", pa.int32()), ("end", pa.int32())])
Spans = Sequence[tuple[int, int]]


def schema(dtype: np.dtype, vocab_size: int = 0, tokenizer: str = "") -> pa.Schema:
    """The columns of a shard whose ids are uint16 or uint32, and whose ids they are."""
    tokens = pa.list_(pa.from_numpy_dtype(dtype))
    fields = [("id", pa.string()), ("tokens", tokens), ("spans", pa.list_(SPAN)), ("n_bytes", pa.int64())]
    return pa.schema(fields, {VOCAB_SIZE: str(vocab_size), TOKENIZER: tokenizer})


@dataclass(frozen=True)
class Batch:
    """Views of one record batch: N documents, T tokens, S spans."""

    tokens_T: np.ndarray
    edges_N1: np.ndarray  # document i is tokens_T[edges_N1[i] : edges_N1[i + 1]]
    span_starts_S: np.ndarray
    span_ends_S: np.ndarray
    span_edges_N1: np.ndarray
    all_trained_N: np.ndarray

    def document(self, row: int) -> tuple[np.ndarray, Spans | None]:
        """A document's tokens and its trained spans; None where all are trained."""
        tokens = self.tokens_T[self.edges_N1[row] : self.edges_N1[row + 1]]
        if self.all_trained_N[row]:
            return tokens, None
        held = slice(self.span_edges_N1[row], self.span_edges_N1[row + 1])
        return tokens, list(zip(self.span_starts_S[held].tolist(), self.span_ends_S[held].tolist(), strict=True))


class Shard:
    """One shard, mapped into memory, with views of all its record batches."""

    def __init__(self, path: Path):
        try:
            self.content = mapped_bytes(path)
            file = pa.ipc.open_file(self.content)
            self.batches = [_views(file.get_batch(i)) for i in range(file.num_record_batches)]
        except (pa.ArrowInvalid, OSError):
            raise damaged(path) from None
        self.tokens = sum(len(batch.tokens_T) for batch in self.batches)
        self.documents = sum(len(batch.edges_N1) - 1 for batch in self.batches)

    def document(self, index: int) -> tuple[np.ndarray, Spans | None]:
        """A document's tokens and its trained spans; None where all are trained."""
        for batch in self.batches:
            if index < len(batch.all_trained_N):
                return batch.document(index)
            index -= len(batch.all_trained_N)
        raise IndexError(index)


def mapped_bytes(path: Path) -> pa.Buffer:
    """A file's content, read when it is touched. The map outlives the file handle, of which there are few."""
    with pa.memory_map(str(path)) as file:
        return file.read_buffer()


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


def mapped(path: Path, dtype: np.dtype) -> np.ndarray:
    """A whole file as if it held nothing but numbers of this type; what does not fill one at its end is left out."""
    if not path.stat().st_size:
        return np.empty(0, dtype)
    content = mapped_bytes(path)
    return np.frombuffer(content, dtype, content.size // dtype.itemsize)


@dataclass(frozen=True)
class Entry:
    """What the manifest says of one shard."""

    path: Path
    documents: int
    tokens: int
    hash: str

    def open(self) -> Shard:
        """The shard, which holds what the manifest says."""
        shard = Shard(self.path)
        refuse_other_counts(self.path, (shard.documents, shard.tokens), (self.documents, self.tokens))
        return shard


@dataclass(frozen=True)
class Places:
    """Where the tokens of a source lie: B record batches with tokens in them, of all its shards."""

    first_B1: np.ndarray  # batch b holds the source's tokens first_B1[b] up to first_B1[b + 1]
    shard_B: np.ndarray
    place_B: np.ndarray  # of the first of them, among the ids of the shard's file
    dtype: np.dtype


class Source:
    """The shards of one source as one run of documents and one run of tokens."""

    def __init__(self, name: str, entries: Sequence[Entry]):
        self.name, self.entries = name, entries
        self.tokens = sum(entry.tokens for entry in entries)
        self.documents = sum(entry.documents for entry in entries)
        self.identity = xxhash.xxh3_64_hexdigest("\n".join(entry.hash for entry in entries).encode())
        self._ids = lru_cache(MAPPED_SHARDS)(self._map_shard)

    def batches(self) -> Iterator[Batch]:
        """All record batches, in order; one shard is open at a time."""
        for entry in self.entries:
            yield from entry.open().batches

    def document(self, index: int) -> tuple[np.ndarray, Spans | None]:
        """A document's tokens and its trained spans; None where all are trained."""
        for entry in self.entries:
            if index < entry.documents:
                return entry.open().document(index)
            index -= entry.documents
        raise IndexError(index)

    @cached_property
    def places(self) -> Places:
        """Made from the headers of all shards; what is damaged or not as its manifest says is named."""
        dtype = np.dtype(np.uint16)
        sizes: list[int] = []
        shards: list[int] = []
        firsts: list[int] = []
        for number, entry in enumerate(self.entries):
            shard = entry.open()
            for batch in (batch for batch in shard.batches if len(batch.tokens_T)):
                if batch.tokens_T.dtype != dtype and sizes:
                    told = f"ids of {batch.tokens_T.dtype}, those before it are {dtype}"
                    raise UserError(f"{entry.path}: {told}; {PACK_AGAIN}")
                dtype = batch.tokens_T.dtype
                sizes.append(len(batch.tokens_T))
                shards.append(number)
                offset = batch.tokens_T.ctypes.data - shard.content.address
                firsts.append(offset // dtype.itemsize)  # without a rest: Arrow aligns by 8 bytes
        first_B1 = np.cumsum([0, *sizes], dtype=np.int64)
        return Places(first_B1, np.array(shards, np.int64), np.array(firsts, np.int64), dtype)

    def _map_shard(self, number: int) -> np.ndarray:
        return mapped(self.entries[number].path, self.places.dtype)

    def take(self, starts_M: np.ndarray, ends_M: np.ndarray) -> np.ndarray:
        """The source's tokens from each start up to its end, all of them end to end."""
        at = self.places
        batch_M = at.first_B1.searchsorted(starts_M, "right") - 1
        last_M = at.first_B1.searchsorted(ends_M, "left") - 1
        if not np.array_equal(batch_M, last_M):  # some run on into the next record batch, or are empty
            counts_M = np.maximum(last_M - batch_M + 1, 0)
            batch_M, owner_M = ranges(batch_M, counts_M), np.repeat(np.arange(len(starts_M)), counts_M)
            starts_M = np.maximum(starts_M[owner_M], at.first_B1[batch_M])
            ends_M = np.minimum(ends_M[owner_M], at.first_B1[batch_M + 1])
        lengths_M = ends_M - starts_M
        places_T = ranges(at.place_B[batch_M] + starts_M - at.first_B1[batch_M], lengths_M)
        shard_M = at.shard_B[batch_M]
        firsts = np.flatnonzero(np.diff(shard_M, prepend=-1))  # of neighbours that lie in one shard
        edges = np.concatenate([[0], np.cumsum(lengths_M)])[np.append(firsts, len(shard_M))].tolist()
        tokens_T = np.empty(len(places_T), at.dtype)
        for number, start, end in zip(shard_M[firsts].tolist(), edges, edges[1:], strict=False):
            # any other mode would copy once more
            self._ids(number).take(places_T[start:end], out=tokens_T[start:end], mode="clip")
        return tokens_T


def ranges(starts_M: np.ndarray, lengths_M: np.ndarray) -> np.ndarray:
    """start, start + 1, … of each, `length` of them, all end to end."""
    ends_M = np.cumsum(lengths_M)
    numbers_T = np.repeat(starts_M - (ends_M - lengths_M), lengths_M)
    numbers_T += np.arange(len(numbers_T))
    return numbers_T


def sources(pack: Path, verb: str, split: str) -> dict[str, Source]:
    """A split's sources by name; a shard that is not what the manifest says is named."""
    known = finished(pack)
    found: dict[str, list[Entry]] = {}
    for name, counts in sorted(known["counters"]["shards"].items()):
        if name.startswith(f"{verb}/{split}/"):
            entry = _entry(pack / name, counts, known["files"][name])
            found.setdefault(entry.path.stem.rpartition("-")[0], []).append(entry)
    return {name: Source(name, entries) for name, entries in found.items()}


def marks(pack: Path) -> dict[str, int]:
    """The ids of the marks in the pack's shards."""
    counters = finished(pack)["counters"]
    found = counters.get("marks")
    if not isinstance(found, dict) or not set(MARKS) <= found.keys():
        raise UserError(f"{pack}: packed by an earlier version; {PACK_AGAIN}")
    return found


def finished(pack: Path) -> Json:
    """The manifest of a pack that is complete."""
    known = manifest(pack)
    if known is None:
        raise UserError(f"{pack}: not finished (no manifest.json); run the pack stage first")
    if not _is_pack(known):
        raise UserError(f"{pack / MANIFEST}: damaged; {PACK_AGAIN}")
    return known


def _is_pack(known: Json) -> bool:
    """Does every shard have its counts, and a size and hash?"""
    try:
        for name, counts in known["counters"]["shards"].items():
            int(counts["documents"]), int(counts["tokens"]), int(known["files"][name]["size"])
            str(known["files"][name]["hash"])
    except (KeyError, TypeError, AttributeError, ValueError):
        return False
    return True


def _entry(path: Path, counts: Json, file: Json) -> Entry:
    stat_of(path, file["size"])
    return Entry(path, counts["documents"], counts["tokens"], file["hash"])


# ---------------------------------------------------------------- what is wrong with a shard


def stat_of(path: Path, size: int) -> os.stat_result:
    """A shard's, if it is there and of the size that was made."""
    if not path.is_file():
        raise UserError(f"{path}: missing; {PACK_AGAIN}")
    stat = path.stat()
    if stat.st_size != size:
        raise UserError(f"{path}: {stat.st_size:,} bytes, {size:,} as made; {PACK_AGAIN}")
    return stat


def damaged(path: Path) -> UserError:
    """A shard that is not there, or cannot be read."""
    return UserError(f"{path}: {'damaged' if path.is_file() else 'missing'}; {PACK_AGAIN}")


def refuse_other_counts(path: Path, found: tuple[int, int], listed: tuple[int, int]) -> None:
    """A shard has to hold the documents and the tokens that its manifest says."""
    if found != listed:
        holds, says = (f"{documents:,} documents and {tokens:,} tokens" for documents, tokens in (found, listed))
        raise UserError(f"{path}: holds {holds}, its manifest says {says}; {PACK_AGAIN}")
