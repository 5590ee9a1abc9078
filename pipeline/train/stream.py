"""A stream of documents comes in (`datasets`, streaming); rows of pretraining text go out, tokenized on the way.

The batch is `batch_size` lanes. Document d goes to lane d mod batch_size; a lane's documents run on, and its sequence k
is tokens [kL, kL + L] of them, with the edges that packed shards have. Which process reads a lane changes nothing, so
ranks own lanes as they like. A lane's cursor is the document and the token at which its next sequence begins, and an
anchor: a place shortly before, at which the stream can be opened.

What it costs: every process reads and decodes the whole stream, and tokenizes only its own lanes. To resume, a process
opens the stream at its oldest anchor and drops what its lanes have had: it reads again a part of one file, and as many
documents as the lanes lie apart. A lane in a long document lets others get ahead; their documents wait as text.

Documents are shuffled within blocks of BLOCK; from the second epoch on `datasets` shuffles the files, too.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from glob import glob
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.train.feed import Rows, split_rows
from pipeline.train.order import permuted
from utils.codec import Codec
from utils.console import UserError
from utils.recipe import nearest
from utils.stage import Json

if TYPE_CHECKING:
    from datasets import IterableDataset

BLOCK = 256
"""Documents that are read, and shuffled, together."""

FORMATS = {".parquet": "parquet", ".json": "json", ".jsonl": "json", ".ndjson": "json"}
FIELD = "pretrain.stream"


@dataclass(frozen=True)
class Anchor:
    """The beginning of a block: the number of its first document, and how to open the stream there."""

    document: int = 0
    epoch: int = 0
    state: Json | None = None


@dataclass(frozen=True)
class Document:
    """A text, its number in the stream (counted on over epochs), and the block it came in."""

    number: int
    text: str
    anchor: Anchor


class Lane:
    """One row of every batch: documents of its own, laid end to end, and cut into sequences."""

    def __init__(self, cursor: Json):
        self.sequence: int = cursor["sequence"]
        self.document: int = cursor["document"]
        """Earlier documents are done with."""
        self.anchor = Anchor(**cursor["anchor"])
        self.waiting: deque[Document] = deque()
        self._skip: int = cursor["offset"]  # tokens of the first document that are done with
        self._held: deque[tuple[Document, np.ndarray]] = deque()
        self._tokens = 0

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

    def next(self, length: int, encode: Callable[[str], np.ndarray], more: Callable[[], None]) -> np.ndarray:
        """The lane's next `length` tokens and the one behind them; `more` reads on until a document waits here."""
        while self._tokens - self._skip <= length:
            while not self.waiting:
                more()
            document = self.waiting.popleft()
            tokens = encode(document.text)
            self._held.append((document, tokens))
            self._tokens += len(tokens)
        run = np.concatenate([tokens for _, tokens in self._held])[self._skip : self._skip + length + 1]
        self._skip += length
        while self._skip >= len(self._held[0][1]):
            _, done = self._held.popleft()
            self._skip -= len(done)
            self._tokens -= len(done)
        self.sequence += 1
        return run


class StreamFeed:
    """Hub datasets, parquet and JSON lines, read as training goes on."""

    def __init__(self, source: str, text: str, codec: Codec, seq_len: int, batch_size: int, seed: int):
        self.source, self.text, self.seq_len, self.batch_size, self.seed = (
            source,
            text,
            seq_len,
            batch_size,
            seed,
        )
        self._codec = codec
        self._edge = np.array([codec.end_of_text], codec.dtype)
        self._dataset = open_stream(source, text)
        self._lanes: dict[int, Lane] = {}
        self._cursors: Json = {}
        self._documents: Iterator[Document] = iter(())

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
        ends_N = np.full(len(lanes), self.seq_len + 1)
        return split_rows(tokens_NP, ends_N, self._codec.end_of_text, self._codec.pad)

    def ids(self, consumed: int, lanes: range) -> list[tuple[str, int]]:
        """A sequence is told by its lane and its place there, as one number."""
        return [(self.source, consumed + lane) for lane in lanes]

    def cursors(self) -> Json:
        """The cursors of the lanes that were read here; ranks put theirs together in one mapping."""
        return {str(number): lane.cursor() for number, lane in sorted(self._lanes.items())}

    def seek(self, cursors: Json) -> None:
        """Go on from there; the stream is opened when rows are asked for."""
        self._cursors = cursors
        self._lanes = {}

    def _adopt(self, lanes: list[int]) -> None:
        """Read these lanes here, too: the stream is opened again where the oldest of all stands."""
        self._cursors = self._cursors | self.cursors()
        start = {"sequence": 0, "document": 0, "offset": 0, "anchor": vars(Anchor())}
        owned = sorted({*self._lanes, *lanes})
        self._lanes = {lane: Lane(self._cursors.get(str(lane), start)) for lane in owned}
        oldest = min((lane.anchor for lane in self._lanes.values()), key=lambda anchor: anchor.document)
        self._documents = documents(self._dataset, self.source, self.text, self.seed, oldest)

    def _encode(self, text: str) -> np.ndarray:
        return np.concatenate([self._edge, self._codec.encode(text)])

    def _read_on(self) -> None:
        document = next(self._documents)
        lane = self._lanes.get(document.number % self.batch_size)
        if lane is not None and document.number >= lane.document:
            lane.waiting.append(document)


# ---------------------------------------------------------------- the stream


def documents(dataset: IterableDataset, source: str, column: str, seed: int, anchor: Anchor) -> Iterator[Document]:
    """The stream's documents from a block on, epoch after epoch, blank ones left out."""
    number, epoch, state = anchor.document, anchor.epoch, anchor.state
    while True:
        opened_at = number
        for texts, here in _blocks(dataset, source, column, epoch, state):
            place = Anchor(number, epoch, here)
            order = permuted(np.arange(len(texts)), len(texts), f"{seed}/{number}") if texts else np.empty(0)
            for offset, index in enumerate(order.tolist()):
                yield Document(number + offset, texts[index], place)
            number += len(texts)
        if number == opened_at and state is None:
            raise UserError(f"{FIELD}: {source} holds no text in column {column}; name another in pretrain.stream_text")
        epoch, state = epoch + 1, None


def _blocks(
    dataset: IterableDataset, source: str, column: str, epoch: int, state: Json | None
) -> Iterator[tuple[list[str], Json | None]]:
    """An epoch's blocks of text, each with the state that opens the stream at it (None: the beginning)."""
    dataset.set_epoch(epoch)
    dataset.load_state_dict(state or {})
    blocks = dataset.iter(batch_size=BLOCK)
    while True:
        try:
            block = next(blocks, None)
        except Exception as error:  # whatever a network, a file system or a parser raises: the stream is the user's
            raise UserError(f"{FIELD}: {source} broke off ({_one_line(error)}); the same command goes on") from error
        if block is None:
            return
        yield [text for text in block[column] if isinstance(text, str) and text.strip()], state
        state = dataset.state_dict()


def open_stream(source: str, column: str) -> IterableDataset:
    """The stream, with the text column alone; what is missing is named."""
    import datasets

    name, arguments = _how_to_open(source)
    try:
        dataset = datasets.load_dataset(name, **arguments, split="train", streaming=True)
        first = next(iter(dataset), None)
    except Exception as error:  # see _blocks
        raise UserError(
            f"{FIELD}: cannot read {source} ({_one_line(error)}); check the name and the network"
        ) from error
    if first is None:
        raise UserError(f"{FIELD}: {source} holds no row; give another")
    if column not in first:
        raise UserError(f"pretrain.stream_text: {source} has no column {column!r}{nearest(column, first)}")
    return dataset.select_columns([column])


def _how_to_open(source: str) -> tuple[str, dict[str, Any]]:
    """`load_dataset`'s first argument, and the others: by the file's ending, or a dataset of the hub."""
    endings = [ending for ending in FORMATS if re.search(rf"{re.escape(ending)}(\.(gz|zst|bz2|xz))?$", source)]
    if endings:
        if "://" not in source and not glob(source, recursive=True):
            raise UserError(f"{FIELD}: {source}: no such file; correct the path")
        return FORMATS[endings[-1]], {"data_files": source}
    if hub := re.fullmatch(r"hf://([^/]+/[^/]+)(?:/([^/]+))?", source):
        return hub[1], {"name": hub[2]}
    raise UserError(f"{FIELD}: {source}: give hf://owner/name[/config], or files that end in {', '.join(FORMATS)}")


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
