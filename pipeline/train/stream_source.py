"""Names come in (files, URLs, a hub dataset); documents go out, one after the other, from any block on.

`datasets` streams them. Each block comes once: when a read breaks, the stream is opened again where the block began.
The hub is held to the revision that a run began with; other files are told apart by what their hosts say of them
(local ones by name, length and ends), and a run does not go on with files that changed.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pipeline.train import web_files
from pipeline.train.order import permuted
from pipeline.train.patience import Patience
from pipeline.train.stream_errors import hold_on
from pipeline.train.stream_names import FIELD, Named, how_to_open
from utils.console import UserError, say, tell
from utils.recipe import nearest
from utils.stage import Json

if TYPE_CHECKING:
    from datasets import DatasetBuilder, IterableDataset

BLOCK = 256
"""Documents that are read, and shuffled, together."""

PAGES = 1 << 20
"""Bytes of parquet that are read at once; what reads the web or the hub reads ahead by itself."""

EDGE = 1 << 16
"""Bytes at each end by which a local file is known."""


Tables = Iterator[tuple[Any, pa.Table]]
"""What `datasets` reads of files: keys, which we ask nothing of, and tables."""


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


class Stream:
    """A stream that was found, and can be read."""

    def __init__(self, named: Named, column: str, seed: int, dataset: IterableDataset, identity: Json):
        self.name, self.identity = named.name, identity
        self._named, self._column, self._seed, self._dataset = named, column, seed, dataset

    @classmethod
    def open(cls, given: str | Sequence[str], column: str, seed: int = 0) -> Stream:
        """Find it, in the network or on this machine; a network that is away is waited for."""
        named = how_to_open(given)
        prepare()
        web_files.forget()
        return cls(named, column, seed, *_found(named, column))

    def hold_to(self, known: Json) -> None:
        """Go on with what was read before: `identity` of then."""
        if known == self.identity:
            return
        changed = UserError(
            f"{FIELD}: {self.name} changed since this run began; put back what it was, "
            "choose another workspace=, or overwrite=True to train anew"
        )
        revision, newer = known.get("revision"), self.identity.get("revision")
        if not (revision and newer):
            raise changed
        try:
            self._dataset, self.identity = _found(self._named, self._column, revision)
        except UserError as error:
            raise changed if isinstance(error.__cause__, FileNotFoundError) else error from None
        say(
            tell(
                f"{self.name}: the hub has {newer[:8]} now; this run goes on with {revision[:8]}, with which it began",
                f"{self.name}：hub 上已有新版本 {newer[:8]}；本次训练继续使用开始时的版本 {revision[:8]}",
            )
        )

    def documents(self, anchor: Anchor) -> Iterator[Document]:
        """The stream's documents from a block on, epoch after epoch, blank ones left out."""
        number, epoch, state = anchor.document, anchor.epoch, anchor.state
        while True:
            opened_at = number
            for texts, here in self._blocks(epoch, state):
                place = Anchor(number, epoch, here)
                order = permuted(np.arange(len(texts)), len(texts), f"{self._seed}/{number}") if texts else np.empty(0)
                for offset, index in enumerate(order.tolist()):
                    yield Document(number + offset, texts[index], place)
                number += len(texts)
            if number == opened_at and state is None:
                wrong = f"{FIELD}: {self.name} holds no text in column {self._column}"
                raise UserError(f"{wrong}; name another in pretrain.stream_text")
            if not epoch:
                say(
                    tell(
                        f"{self.name}: all {number:,} texts are read; they come again",
                        f"{self.name}：{number:,} 段文本已读完一遍，从头再读",
                    )
                )
            epoch, state = epoch + 1, None

    def _blocks(self, epoch: int, state: Json | None) -> Iterator[tuple[list[str], Json | None]]:
        """An epoch's blocks of text, each with the state that opens the stream at it (None: the beginning)."""
        patience = Patience(self.name)
        blocks: Iterator[dict[str, list[Any]]] | None = None
        while True:
            try:
                blocks = blocks or self._opened(epoch, state)
                block = next(blocks, None)
            except Exception as error:  # see _found
                blocks = None
                hold_on(patience, error, "{} broke off", "the same command goes on from the last checkpoint")
                continue
            if block is None:
                return
            patience.renew()
            yield [text for text in block[self._column] if isinstance(text, str) and text.strip()], state
            state = self._dataset.state_dict()

    def _opened(self, epoch: int, state: Json | None) -> Iterator[dict[str, list[Any]]]:
        self._dataset.set_epoch(epoch)
        self._dataset.load_state_dict(copy.deepcopy(state or {}))
        return self._dataset.iter(batch_size=BLOCK)


def _found(named: Named, column: str, revision: str | None = None) -> tuple[IterableDataset, Json]:
    """The texts, and what tells them from others; looked for as long as there is hope."""
    patience = Patience(named.name)
    while True:
        try:
            return _found_once(named, column, revision)
        except Exception as error:  # whatever a network, a file system or a parser raises: the stream is the user's
            hold_on(patience, error, "cannot read {}", "check the name and the network")


def _found_once(named: Named, column: str, revision: str | None) -> tuple[IterableDataset, Json]:
    import datasets
    from datasets import Features
    from datasets.packaged_modules.json.json import Json as JsonLines
    from datasets.packaged_modules.parquet.parquet import Parquet

    arguments = named.arguments | ({"revision": revision} if revision else {})
    builder = datasets.load_dataset_builder(named.opener, **arguments)
    if isinstance(builder, (Parquet, JsonLines)):  # the hub has others, too
        builder._generate_tables = partial(_file_by_file, builder._generate_tables)
    try:
        dataset = builder.as_streaming_dataset(split="train")
        columns = dataset.column_names or list(next(iter(dataset), {}))
    except StopIteration:  # of `datasets`, where no file has a row
        columns = []
    except pa.ArrowInvalid as error:
        error.add_note(str(builder.config.data_files["train"][0]))  # which tells the columns of all
        raise
    if not columns:
        raise UserError(f"{FIELD}: {named.name} holds no row; give another")
    if column not in columns:
        missing = f"pretrain.stream_text: {named.name} has no column {column!r}"
        raise UserError(missing + nearest(column, columns))
    if isinstance(builder, Parquet):
        builder._generate_tables = partial(_file_by_file, partial(_one_column, builder, column))
        builder.info.features = Features({column: builder.info.features[column]})
        dataset = builder.as_streaming_dataset(split="train")
    return dataset.select_columns([column]), _identity(builder)


def _file_by_file(read: Callable[..., Tables], **given: Any) -> Tables:
    """What `datasets` reads of some files; who catches an error finds the name of its file in a note."""
    lists = {name: value for name, value in given.items() if isinstance(value, list)}
    names = lists["base_files" if "base_files" in lists else "files"]
    for number, name in enumerate(names):
        try:
            for place, table in read(**given | {key: value[number : number + 1] for key, value in lists.items()}):
                table.validate(full=True)  # UTF-8 that is none would be met far from here
                if table.num_columns:  # blank lines have none
                    yield place, table
        except Exception as error:
            error.add_note(str(name))
            raise


def _one_column(builder: DatasetBuilder, column: str, files: list[str], **_: Any) -> Tables:
    """What `datasets` would make of parquet files, in the memory of a few pages, and in this thread alone.

    pyarrow's scanner, which it uses, holds row groups whole, and its threads may outlive the interpreter: a run that
    was done ended in `terminate called without an active exception`, or not at all.
    """
    import pyarrow.parquet as pq
    from datasets import DownloadConfig
    from datasets.builder import Key
    from datasets.utils.file_utils import xopen

    access = DownloadConfig(token=builder.token, storage_options=builder.storage_options)
    for number, name in enumerate(files):
        with xopen(name, "rb", download_config=access) as file:
            opened = pq.ParquetFile(file, buffer_size=PAGES, pre_buffer=False)
            if column not in opened.schema_arrow.names:
                raise KeyError(column)  # it would be read as a column of nothing
            batches = opened.iter_batches(BLOCK, columns=[column], use_threads=False)
            for place, batch in enumerate(batches):
                yield Key(number, place), builder._cast_table(pa.Table.from_batches([batch]))


@cache
def prepare() -> None:
    """Settings of the whole process: the web is read by `web_files`, and patience is ours.

    `datasets` would try twenty times, five seconds apart, in lines of its own; and ask the hub even for local files,
    to be counted, which takes seconds where the hub cannot be reached.
    """
    from datasets import config

    web_files.register()
    config.STREAMING_READ_MAX_RETRIES = config.STREAMING_OPEN_MAX_RETRIES = 1
    config.STREAMING_READ_RETRY_INTERVAL = config.STREAMING_OPEN_RETRY_INTERVAL = 0
    config.HF_UPDATE_DOWNLOAD_COUNTS = False
    logging.getLogger("datasets.utils.file_utils").setLevel(logging.ERROR)
    for ours in ("json.json", "parquet.parquet"):  # `_file_by_file` names what is wrong with a file
        logging.getLogger(f"datasets.packaged_modules.{ours}").setLevel(logging.CRITICAL)


def _identity(builder: DatasetBuilder) -> Json:
    """What tells these files from changed ones: the hub's revision, or what is known of each file.

    A local file is known by its name, its length and its ends, which are quickly read; a change in the middle that
    leaves the length as it was is not seen.
    """
    files = builder.config.data_files["train"]
    known = list(zip(files, files.origin_metadata, strict=True))
    if builder.repo_id:
        return {"revision": next(revision for _, (_, revision) in known)}
    told = [(name, *origin) if "://" in name else _ends(name) for name, origin in known]
    return {"files": len(told), "hash": hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]}


def _ends(name: str) -> tuple[str, int, str]:
    """A local file's name, its length, and a hash of its first and last bytes."""
    size = os.path.getsize(name)
    with open(name, "rb") as file:
        head = file.read(EDGE)
        file.seek(max(0, size - EDGE))
        return os.path.basename(name), size, hashlib.sha256(head + file.read(EDGE)).hexdigest()[:16]
