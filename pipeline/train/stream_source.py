"""Names come in (files, URLs, a hub dataset); documents go out, one after the other, from any block on.

`datasets` streams them. Each block comes once: when a read breaks, the stream is opened again where the block began.
The hub is held to the revision that a run began with; other files are told apart by what their hosts say of them
(local ones by name and length), and a run does not go on with files that changed.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from glob import glob
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pipeline.train import web_files
from pipeline.train.order import permuted
from pipeline.train.patience import Patience, http_status, one_line
from utils.console import UserError, say, tell
from utils.recipe import nearest
from utils.stage import Json

if TYPE_CHECKING:
    from datasets import DatasetBuilder, IterableDataset

BLOCK = 256
"""Documents that are read, and shuffled, together."""

PAGES = 1 << 20
"""Bytes of parquet that are read at once; what reads the web or the hub reads ahead by itself."""

FORMATS = {".parquet": "parquet", ".json": "json", ".jsonl": "json", ".ndjson": "json"}
FIELD = "pretrain.stream"
_HUB = re.compile(r"hf://([^/@]+/[^/@]+)(?:/([^/@]+))?")


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


class Source:
    """A stream that was found, and can be read."""

    def __init__(self, given: str | Sequence[str], column: str, seed: int = 0):
        self._names = [part for name in ([given] if isinstance(given, str) else given) for part in expanded(name)]
        self.name = given if isinstance(given, str) else ", ".join(given)
        self._column, self._seed = column, seed
        self._opener, self._arguments = _how_to_open(self._names)
        self._open()

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
            self._open(revision)
        except UserError as error:
            raise changed if isinstance(error.__cause__, FileNotFoundError) else error from None
        say(
            tell(
                f"{self.name}: the hub has {newer[:8]} now; this run goes on with {revision[:8]}, with which it began",
                f"{self.name}：hub 上已有新版本 {newer[:8]}；本次训练继续使用开始时的版本 {revision[:8]}",
            )
        )

    def _open(self, revision: str | None = None) -> None:
        patience = Patience(self.name)
        while True:
            try:
                return self._open_once(revision)
            except Exception as error:  # whatever a network, a file system or a parser raises: the stream is the user's
                _hold_on(patience, error, f"cannot read {self.name}", "check the name and the network")

    def _open_once(self, revision: str | None) -> None:
        import datasets
        from datasets import Features
        from datasets.packaged_modules.parquet.parquet import Parquet

        _quieten()
        web_files.register()
        arguments = self._arguments | ({"revision": revision} if revision else {})
        builder = datasets.load_dataset_builder(self._opener, **arguments)
        dataset = builder.as_streaming_dataset(split="train")
        columns = dataset.column_names or list(next(iter(dataset), {}))
        if not columns:
            raise UserError(f"{FIELD}: {self.name} holds no row; give another")
        if self._column not in columns:
            missing = f"pretrain.stream_text: {self.name} has no column {self._column!r}"
            raise UserError(missing + nearest(self._column, columns))
        if isinstance(builder, Parquet):
            builder._generate_tables = partial(_one_column, builder, self._column)
            builder.info.features = Features({self._column: builder.info.features[self._column]})
            dataset = builder.as_streaming_dataset(split="train")
        self._dataset: IterableDataset = dataset.select_columns([self._column])
        self.identity = _identity(builder)

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
            epoch, state = epoch + 1, None

    def _blocks(self, epoch: int, state: Json | None) -> Iterator[tuple[list[str], Json | None]]:
        """An epoch's blocks of text, each with the state that opens the stream at it (None: the beginning)."""
        patience = Patience(self.name)
        blocks: Iterator[dict[str, list[Any]]] | None = None
        while True:
            try:
                blocks = blocks or self._opened(epoch, state)
                block = next(blocks, None)
            except Exception as error:  # see _open
                blocks = None
                _hold_on(patience, error, f"{self.name} broke off", "the same command goes on from the last checkpoint")
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


def _hold_on(patience: Patience, error: Exception, what: str, mend: str) -> None:
    """Wait before another try; or tell the person in one line what was wrong for good."""
    try:
        patience.wait(error)
    except UserError:
        raise
    except Exception as last:
        reason = f"a file has no column {last}" if isinstance(last, KeyError) else one_line(last)
        raise UserError(f"{FIELD}: {what} ({reason}); {_mend(last) or mend}") from error


def _mend(error: Exception) -> str:
    """What to do about it, where the error says more than that something broke."""
    status = http_status(error)
    if isinstance(error, KeyError):
        return "mend that file, or leave it out"
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        return "correct the name"
    if isinstance(error, PermissionError) or status in (401, 403):
        return "ask for access, and log in (hf auth login or HF_TOKEN, for the hub)"
    return "put back what it was, or train anew" if isinstance(error, web_files.Changed) else ""


def _one_column(builder: DatasetBuilder, column: str, files: list[str], **_: Any) -> Iterator[tuple[Any, pa.Table]]:
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


def _quieten() -> None:
    """`datasets` would try twenty times, five seconds apart, in lines of its own; and ask the hub even for local files,
    to be counted, which takes seconds where the hub cannot be reached."""
    from datasets import config

    config.STREAMING_READ_MAX_RETRIES = config.STREAMING_OPEN_MAX_RETRIES = 1
    config.STREAMING_READ_RETRY_INTERVAL = config.STREAMING_OPEN_RETRY_INTERVAL = 0
    config.HF_UPDATE_DOWNLOAD_COUNTS = False
    logging.getLogger("datasets.utils.file_utils").setLevel(logging.ERROR)


def _identity(builder: DatasetBuilder) -> Json:
    """What tells these files from changed ones: the hub's revision, or what is known of each file."""
    files = builder.config.data_files["train"]
    known = list(zip(files, files.origin_metadata, strict=True))
    if builder.repo_id:
        return {"revision": next(revision for _, (_, revision) in known)}
    about = [(name, [os.path.getsize(name)] if "://" not in name else list(origin)) for name, origin in known]
    told = [(name if "://" in name else os.path.basename(name), *origin) for name, origin in about]
    return {"files": len(told), "hash": hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]}


# ---------------------------------------------------------------- names


def expanded(name: str) -> list[str]:
    """`part-{000..012}.parquet` as the thirteen names it stands for."""
    found = re.search(r"\{(\d+)\.\.(\d+)\}", name)
    if not found:
        return [name]
    first, last = int(found[1]), int(found[2])
    if first > last:
        raise UserError(f"{FIELD}: {name}: {{{found[1]}..{found[2]}}} counts down; give the smaller number first")
    numbers = [str(number).zfill(len(found[1])) for number in range(first, last + 1)]
    return [part for n in numbers for part in expanded(name[: found.start()] + n + name[found.end() :])]


def _how_to_open(names: list[str]) -> tuple[str, dict[str, Any]]:
    """`load_dataset`'s first argument, and the others: by the files' endings, or a dataset of the hub."""
    if len(names) == 1 and (hub := _HUB.fullmatch(names[0])) and not _format(names[0]):
        return hub[1], {"name": hub[2]}
    formats = {_checked(name) for name in names}
    if len(formats) > 1:
        raise UserError(f"{FIELD}: {', '.join(sorted(formats))} in one stream; give files of one kind")
    return formats.pop(), {"data_files": names}


def _checked(name: str) -> str:
    """The format of a file, or of the files that a glob names."""
    form = _format(name)
    if not form:
        raise UserError(f"{FIELD}: {name}: give hf://owner/name[/config], or files that end in {', '.join(FORMATS)}")
    if name.startswith(("http://", "https://")) and "*" in name:
        raise UserError(f"{FIELD}: {name}: the web lists no files; give each, or count them: part-{{000..012}}.parquet")
    if "://" not in name and not glob(name, recursive=True):
        raise UserError(f"{FIELD}: {name}: no such file; correct the path")
    return form


def _format(name: str) -> str:
    """By the ending, packed or not; what stands behind a URL's question mark is none."""
    path = name.partition("?")[0] if "://" in name else name
    found = re.search(r"(\.[a-z]+)(?:\.(?:gz|zst|bz2|xz))?$", path)
    return FORMATS.get(found[1], "") if found else ""
