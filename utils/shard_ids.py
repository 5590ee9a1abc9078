"""Which documents stand where: places in a source's run of tokens come in, the ids of the documents there go out.

Shards are mapped, and of each id only what was asked for is read.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pyarrow as pa

from utils.shards import Source, damaged, mapped_bytes

OPEN_SHARDS = 1 << 10
"""Shards that stay open once they were asked: some kilobytes of memory each."""

_Named = tuple[pa.StringArray, np.ndarray]
"""A record batch's ids, and its edges: document i is its tokens edges[i] up to edges[i + 1]."""


class Ids:
    """The ids of a source's documents, by the tokens of theirs."""

    def __init__(self, source: Source):
        self._source = source
        self._opened = lru_cache(OPEN_SHARDS)(self._open)

    def between(self, starts_M: np.ndarray, ends_M: np.ndarray) -> list[list[str]]:
        """For each stretch of the source's tokens, the documents that have a token in it, in stored order."""
        return [self._of(start, end) for start, end in zip(starts_M.tolist(), ends_M.tolist(), strict=True)]

    def _of(self, start: int, end: int) -> list[str]:
        at = self._source.places
        found: list[str] = []
        while start < end:  # a stretch may run on into the next record batch
            batch = int(at.first_B1.searchsorted(start, "right")) - 1
            shard, first, behind = int(at.shard_B[batch]), int(at.first_B1[batch]), int(at.first_B1[batch + 1])
            ids, edges_N1 = self._opened(shard)[batch - int(at.shard_B.searchsorted(shard))]
            # as wide as the edges, or numpy would copy all of them
            low, high = (edges_N1.dtype.type(place - first) for place in (start, min(end, behind)))
            documents = range(edges_N1.searchsorted(low, "right") - 1, edges_N1.searchsorted(high))
            found += [ids[i].as_py() for i in documents if edges_N1[i] < edges_N1[i + 1]]
            start = behind
        return found

    def _open(self, number: int) -> list[_Named]:
        """Of a shard's record batches, those that `Source.places` counts: with tokens in them."""
        path = self._source.entries[number].path
        try:
            file = pa.ipc.open_file(mapped_bytes(path))
            batches = [file.get_batch(i) for i in range(file.num_record_batches)]
        except (pa.ArrowInvalid, OSError):
            raise damaged(path) from None
        named = [(batch.column("id"), batch.column("tokens")) for batch in batches]
        return [(ids, t.offsets.to_numpy(zero_copy_only=True)) for ids, t in named if len(t.values)]
