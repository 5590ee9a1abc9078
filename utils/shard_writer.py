"""Documents come in, a token shard (contract 4, `utils/shards.py`) goes out, whole or absent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from utils.arrays import arrow
from utils.console import UserError
from utils.shards import SPAN, Spans, schema
from utils.stage import whole

BATCH_TOKENS = 1 << 22
BATCH_DOCUMENTS = 1 << 16
"""A record batch ends at either: what a writer holds in memory, and far from the 2^31 that Arrow's offsets can say."""


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
        self.path, self.documents, self.tokens, self.trained, self.bytes = path, 0, 0, 0, 0
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
                f"{self.path}: {some.ids[int(place)]} holds token {largest:,}, beyond the vocabulary of "
                f"{self._vocab_size:,}; delete the tokenizer folder and run the tokenizer stage again"
            )
        self._held.append(replace(some, tokens_T=some.tokens_T.astype(self._dtype, copy=False)))
        self.documents += len(some.ids)
        self.tokens += len(some.tokens_T)
        self.trained += len(some.tokens_T) if some.trained_T is None else int(some.trained_T.sum())
        self.bytes += int(some.n_bytes_N.sum())
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
