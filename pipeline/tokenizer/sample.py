"""Which text the vocabulary is learned from: what the model will see of the train records, marks left out.

Clean records come in, one after the other; at most `sample_megabytes` of their text stay, whatever the corpus weighs:
those whose ids have the smallest seeded hashes. So the sample is the same wherever and whenever it is drawn, and every
source is in it by its share. Languages may be given shares: then none gets more than its own, and one that has less
makes the sample smaller. Before anything is read, `estimate` says from the files' footers what there is and what
learning will take.
"""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import xxhash

from pipeline.tokenizer.config import TokenizerConfig
from utils.chat import conversation
from utils.language import language
from utils.records import Record, footer, record_batches, record_shards

LINE = 2000
"""Characters a training sentence has at most; SentencePiece drops longer ones silently, or counts positions wrong."""

COLUMNS = ("id", "source", "kind", "text", "messages", "tools")
_BREAKS = re.compile("[\n\0\u2585]")  # SentencePiece silently drops sentences with NUL or U+2585
_ALL = 1 << 64

ALL = "all"
"""In place of a language, where none has a share of its own."""


def texts_of(record: Record) -> Iterator[str]:
    """The pieces of text between the marks, as `utils/chat.py` writes them."""
    if record["kind"] == "text":
        yield record["text"] or ""
    else:
        yield from (s.text for s in conversation(record["messages"], record["tools"]) if not s.is_mark)


def lines_of(text: str) -> Iterator[str]:
    """A text as training sentences: its lines, long ones cut."""
    for line in _BREAKS.split(text):
        yield from (line[i : i + LINE] for i in range(0, len(line), LINE))


@dataclass(frozen=True)
class Estimate:
    """What is known before anything is read."""

    records: int
    text: int
    """Bytes of text, or a little more: names of roles and gaps are counted too."""
    sample: int
    memory: int


def estimate(clean: Path, config: TokenizerConfig) -> Estimate:
    """From the footers of the train shards."""
    records = text = 0
    for shards in record_shards(clean, "train").values():
        for shard in shards:
            said = footer(shard)
            records += said.num_rows
            for group in (said.row_group(i) for i in range(said.num_row_groups)):
                columns = (group.column(i) for i in range(group.num_columns))
                text += sum(c.total_uncompressed_size for c in columns if _is_text(c.path_in_schema))
    sample = min(text, config.sample_megabytes * 1_000_000)
    return Estimate(records, text, sample, sample * memory_per_byte(config.vocab_size))


def memory_per_byte(vocab_size: int) -> int:
    """What learning takes for each byte of Chinese: 25 measured at 6,400 pieces, 38 at 32,000."""
    return 22 + vocab_size // 2000


def _is_text(column: str) -> bool:
    return column.startswith(("text", "messages.", "tools"))


@dataclass(frozen=True)
class Sample:
    """Texts in stored order, and what they amount to."""

    texts: list[str]
    bytes_by_language: dict[str, int]

    def lines(self) -> list[str]:
        """As training sentences."""
        return [line for text in self.texts for line in lines_of(text)]


def draw(clean: Path, config: TokenizerConfig, seen: Callable[[int], None] = lambda records: None) -> Sample:
    """The sample; `seen` is told how many records were looked at."""
    cap = config.sample_megabytes * 1_000_000
    room = min(cap, estimate(clean, config).text) if config.languages else cap  # shares of what there is
    reservoir = Reservoir(room, config.languages, cap // 4)
    shards = [shard for some in record_shards(clean, "train").values() for shard in some]
    for number, shard in enumerate(shards):
        first = 0
        for batch in record_batches(shard, COLUMNS):
            _offer(reservoir, batch, (number, first), config.seed)
            first += len(batch)
            seen(len(batch))
    return reservoir.sample()


def _offer(reservoir: Reservoir, batch: pa.RecordBatch, first: tuple[int, int], seed: int) -> None:
    """The batch's records, those left aside that hash too high for any language."""
    hashes_N = np.array([hash_of(name, seed) for name in batch.column("id").to_pylist()], np.uint64)
    rows = np.flatnonzero(hashes_N <= np.uint64(min(reservoir.highest, _ALL - 1)))
    for row, record in zip(rows.tolist(), batch.take(pa.array(rows)).to_pylist(), strict=True):
        text = "\n".join(texts_of(record))
        reservoir.offer(int(hashes_N[row]), (first[0], first[1] + row), text)


def hash_of(name: str, seed: int) -> int:
    """A record's place in the draw."""
    return xxhash.xxh3_64_intdigest(name.encode(), seed & (_ALL - 1))


class Reservoir:
    """Texts with the smallest hashes, up to `room` bytes in all, of each language up to its share of them, and of a
    text up to its first `longest`.

    A limit only ever falls, so that what stays is everything below the last one: a fair draw, whatever the order in
    which texts come.
    """

    def __init__(self, room: int, shares: Mapping[str, float], longest: int):
        self._longest = longest
        total = sum(shares.values())
        self._rooms = {name: int(room * share / total) for name, share in shares.items() if share} or {ALL: room}
        self._held: dict[str, list[tuple[int, tuple[int, int], str, bytes]]] = {name: [] for name in self._rooms}
        self._filled = dict.fromkeys(self._rooms, 0)
        self._limits = dict.fromkeys(self._rooms, _ALL)

    @property
    def highest(self) -> int:
        """A text that hashes to this or higher has no place in any language."""
        return max(self._limits.values())

    def offer(self, number: int, place: tuple[int, int], text: str) -> None:
        """Take the text in if its hash is below the limit of its language, and let others go if it gets too much."""
        name = language(text)
        group = ALL if ALL in self._rooms else name
        if number >= self._limits.get(group, 0):
            return
        data = _cut(text.encode(), min(self._longest, self._rooms[group]))
        heapq.heappush(self._held[group], (-number, place, name, data))
        self._filled[group] += len(data)
        while self._filled[group] > self._rooms[group]:
            negative, _, _, gone = heapq.heappop(self._held[group])
            self._filled[group] -= len(gone)
            self._limits[group] = -negative

    def sample(self) -> Sample:
        """What stayed, in the order in which it is stored."""
        held = sorted((place, name, data) for heap in self._held.values() for _, place, name, data in heap)
        sizes: Counter[str] = Counter()
        for _, name, data in held:
            sizes[name] += len(data)
        return Sample([data.decode() for _, _, data in held], dict(sorted(sizes.items())))


def _cut(data: bytes, most: int) -> bytes:
    """The beginning of a long text, no character cut in two."""
    return data if len(data) <= most else data[:most].decode("utf-8", "ignore").encode()
