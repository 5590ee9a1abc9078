"""A stream of documents comes in (`stream_source.py`); rows of pretraining text go out, tokenized on the way.

The batch is `batch_size` lanes. Document d goes to lane d mod batch_size; a lane's documents run on, and its sequence k
is tokens [kL, kL + L] of them, with the edges that packed shards have. Which process reads a lane changes nothing, so
ranks own lanes as they like. A lane's cursor is the document and the token at which its next sequence begins, and an
anchor: a place shortly before, at which the stream can be opened.

What it costs: every process reads and decodes the whole stream, and tokenizes only its own lanes. (Files dealt out to
processes would be read once, but who reads what would then depend on how many there are.) To resume, a process opens
the stream at its oldest anchor and drops what its lanes have had: it reads again a part of one file, and as many
documents as the lanes lie apart. What a lane in a long document lets wait lies in temporary files (`shelf.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.train.rows import Rows, split_rows
from pipeline.train.shelf import Shelf, Waiting
from pipeline.train.stream_source import Anchor, Document, Stream
from utils.codec import Codec
from utils.console import UserError
from utils.stage import Json

SOURCE = "source"
"""Among the cursors, beside the lanes' numbers: what was read."""

REMEMBERED = 16
"""Batches whose documents are known; a stream cannot look up what it has read."""


@dataclass(frozen=True, slots=True)
class _Next:
    """A document that a lane will come to."""

    number: int
    anchor: Anchor
    text: Waiting


class Lane:
    """One row of every batch: documents of its own, laid end to end, and cut into sequences."""

    def __init__(self, cursor: Json):
        self.sequence: int = cursor["sequence"]
        self.document: int = cursor["document"]
        """Earlier documents are done with."""
        self.anchor = Anchor(**cursor["anchor"])
        self.waiting: deque[_Next] = deque()
        self._skip: int = cursor["offset"]  # tokens of the first document that are done with
        self._held: deque[tuple[_Next, np.ndarray]] = deque()
        self._tokens = 0
        self.made_from: list[int] = []
        """The documents of which the last sequence's inputs are."""

    def cursor(self) -> Json:
        """Where the next sequence begins, as JSON."""
        first = self._held[0][0] if self._held else None
        place = {"document": first.number, "anchor": vars(first.anchor)} if first else {}
        return {
            "sequence": self.sequence,
            "document": self.document,
            "offset": self._skip,
            "anchor": vars(self.anchor),
        } | place

    def next(self, length: int, encode: Callable[[Waiting], np.ndarray], more: Callable[[], None]) -> np.ndarray:
        """The lane's next `length` tokens and the one behind them; `more` reads on until a document waits here."""
        while self._tokens - self._skip <= length:
            while not self.waiting:
                more()
            document = self.waiting.popleft()
            tokens = encode(document.text)
            self._held.append((document, tokens))
            self._tokens += len(tokens)
        run = self._ahead(length + 1)
        starts = np.cumsum([0, *(len(tokens) for _, tokens in self._held)])[:-1]
        self.made_from = [
            one.number for (one, _), start in zip(self._held, starts, strict=True) if start < self._skip + length
        ]
        self._skip += length
        while self._skip >= len(self._held[0][1]):
            _, done = self._held.popleft()
            self._skip -= len(done)
            self._tokens -= len(done)
        self.sequence += 1
        return run

    def _ahead(self, count: int) -> np.ndarray:
        """The next `count` tokens; of a long document no more than these are copied."""
        parts = []
        start = self._skip
        for _, tokens in self._held:
            part = tokens[start : start + count]
            parts.append(part)
            start = max(0, start - len(tokens))
            count -= len(part)
            if not count:
                break
        return np.concatenate(parts)


class StreamFeed:
    """Hub datasets, parquet and JSON lines, read as training goes on."""

    def __init__(self, stream: Stream, codec: Codec, seq_len: int, batch_size: int):
        self.seq_len, self.batch_size = seq_len, batch_size
        self._codec = codec
        self._edge = np.array([codec.end_of_text], codec.dtype)
        self._stream = stream
        self._lanes: dict[int, Lane] = {}
        self._cursors: Json = {}
        self._documents: Iterator[Document] = iter(())
        self._shelf = Shelf()
        self._made_from: dict[tuple[int, int], list[int]] = {}

    @classmethod
    def open(
        cls, source: str | Sequence[str], text: str, codec: Codec, seq_len: int, batch_size: int, seed: int
    ) -> StreamFeed:
        """Find the stream, which may take as long as a network is away."""
        return cls(Stream.open(source, text, seed), codec, seq_len, batch_size)

    @property
    def sequences(self) -> int:
        raise UserError("pretrain.epochs: nobody knows how long a stream is; give max_steps or max_tokens instead")

    def rows(self, consumed: int, lanes: range) -> Rows:
        """Rows `lanes` of the batch that begins at sequence `consumed`; batches are asked for in order."""
        missing = [lane for lane in lanes if lane not in self._lanes]
        if missing:
            self._adopt(missing)
        tokens_NP = np.empty((len(lanes), self.seq_len + 1), np.int64)
        for row, lane in enumerate(lanes):
            behind = self._lanes[lane].sequence - consumed // self.batch_size
            assert behind == 0, f"lane {lane} is {behind} sequences ahead: a stream cannot go back without its cursors"
            tokens_NP[row] = self._lanes[lane].next(self.seq_len, self._encode, self._read_on)
            self._made_from[consumed, lane] = self._lanes[lane].made_from
        for old in [key for key in self._made_from if key[0] <= consumed - REMEMBERED * self.batch_size]:
            del self._made_from[old]
        ends_N = np.full(len(lanes), self.seq_len + 1)
        return split_rows(tokens_NP, ends_N, self._codec.end_of_text, self._codec.pad)

    def ids(self, consumed: int, lanes: range) -> list[list[str]]:
        """Of batches that were read here lately: the stream's name, and the numbers of the texts as they were read."""
        known = [self._made_from.get((consumed, lane)) for lane in lanes]
        return [[f"{self._stream.name}/{number}" for number in numbers or ()] for numbers in known]

    def cursors(self) -> Json:
        """The cursors of the lanes that were read here, and of what; ranks put theirs together in one mapping."""
        lanes = {str(number): lane.cursor() for number, lane in sorted(self._lanes.items())}
        return lanes | {SOURCE: self._stream.identity}

    def seek(self, cursors: Json) -> None:
        """Go on from there; the stream is opened when rows are asked for."""
        self._cursors = dict(cursors)
        self._lanes = {}
        if not cursors:
            return
        if SOURCE not in cursors:
            raise UserError(
                "pretrain.stream: the checkpoint is of an earlier version, which read streams in other pieces; "
                "go on with that version, choose another workspace=, or overwrite=True to train anew"
            )
        self._stream.hold_to(self._cursors.pop(SOURCE))

    def _adopt(self, lanes: list[int]) -> None:
        """Read these lanes here, too: the stream is opened again where the oldest of all stands."""
        self._cursors |= {str(number): lane.cursor() for number, lane in self._lanes.items()}
        start = {"sequence": 0, "document": 0, "offset": 0, "anchor": vars(Anchor())}
        owned = sorted({*self._lanes, *lanes})
        self._lanes = {lane: Lane(self._cursors.get(str(lane), start)) for lane in owned}
        self._shelf = Shelf()
        oldest = min((lane.anchor for lane in self._lanes.values()), key=lambda anchor: anchor.document)
        self._documents = self._stream.documents(oldest)

    def _encode(self, text: Waiting) -> np.ndarray:
        return np.concatenate([self._edge, self._codec.encode(self._shelf.take(text))])

    def _read_on(self) -> None:
        document = next(self._documents)
        lane = self._lanes.get(document.number % self.batch_size)
        if lane is not None and document.number >= lane.document:
            lane.waiting.append(_Next(document.number, document.anchor, self._shelf.put(document.text)))
