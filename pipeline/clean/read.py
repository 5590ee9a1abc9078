"""The first half of cleaning: a piece of a raw file becomes parts, its records mended and measured.

A task knows nothing of other pieces, so tasks may run in any process, on any machine and in any order. Rules drop
nothing here: every record that can be read is kept with its measures, so that thresholds may be changed later
without reading again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.clean.batch import Batch
from pipeline.clean.exams import NO_EXAMS, Exams
from pipeline.clean.files.rows import Cut
from pipeline.clean.inputs import Raw
from pipeline.clean.measure import measure
from pipeline.clean.parts import Part, write_part
from pipeline.clean.protocol import EXCERPT, Found, Located, Unreadable
from pipeline.clean.readers import items
from pipeline.clean.store import Store
from pipeline.clean.text.mend import mend
from pipeline.clean.text.notes import Notes
from pipeline.clean.text.rules import rules_for
from utils.arrays import numpy_of
from utils.memory import keep_freed
from utils.stage import Json

PART_BYTES = 48_000_000
"""Mended text in one part."""


@dataclass(frozen=True)
class Piece:
    """What one task reads, and how."""

    number: int
    raw: Raw
    cut: Cut
    buckets: int
    store: Store
    seed: int
    simplify: bool
    mask: bool
    exams: str = ""
    """Where the exams' hashes lie in the store; nothing if there are none."""

    @property
    def account(self) -> str:
        """The file that says it is done."""
        return f"features/{self.number:05d}.json"


def read_piece(piece: Piece) -> None:
    """Make the parts, unless a run before did."""
    if piece.store.exists(piece.account):
        return
    keep_freed()
    exams = _exams(piece.store, piece.exams) if piece.exams else NO_EXAMS
    rules = rules_for(piece.raw.profile, piece.simplify, piece.mask, piece.raw.card.repairs)
    notes = Notes()
    parts = _Parts(piece)
    first_bad: list[Json] = []
    read = quarantined = 0
    cut_short = ""
    batch = Batch()

    def finish() -> None:
        if len(batch):
            batch.fields = mend(batch.fields, rules, notes)
            parts.take(batch, exams)

    with piece.store.write(f"features/{piece.number:05d}.bad.jsonl") as quarantine:
        for ordinal, (offset, item) in enumerate(_items(piece)):
            read += 1
            if not isinstance(item, Unreadable):
                try:
                    batch.add(item, ordinal)
                except ValueError as error:
                    said = item.messages if item.messages is not None else item.text
                    item = Unreadable(str(error), json.dumps(said, ensure_ascii=False)[:EXCERPT])
            if isinstance(item, Unreadable):
                line = _put_aside(item, piece.raw, ordinal, offset)
                first_bad = first_bad or [line]
                quarantined += 1
                cut_short = item.reason if item.ends else cut_short
                quarantine.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
            if batch.is_full:
                finish()
                batch = Batch()
        finish()
    done = parts.close()
    account = {"read": read, "quarantined": quarantined, "first_bad": first_bad, "notes": notes.to_json()}
    account["cut_short"] = cut_short
    account["parts"] = [{"rows": p.rows, "bytes": p.bytes, "ends": list(p.ends)} for p in done]
    piece.store.write_json(piece.account, account)


def prepare() -> None:
    """Mend and measure a record of nobody's: the tables that this needs take a new process half a second."""
    batch = Batch()
    batch.add(Found(text="漢字"), 0)
    batch.fields = mend(batch.fields, rules_for("web"))
    measure(batch, 0, "", NO_EXAMS)


def parts_of(number: int, account: Json) -> list[Part]:
    """The parts that a finished task's account lists."""
    return [
        Part(number, i, part["rows"], part["bytes"], tuple(part["ends"])) for i, part in enumerate(account["parts"])
    ]


def _items(piece: Piece) -> Iterator[Located]:
    raw = piece.raw
    if raw.problem:
        yield 0, Unreadable(raw.problem, ends=True)
    elif raw.reader:  # an empty file has none
        yield from items(raw.sample(piece.cut.start, piece.cut.end), raw.reader)


@lru_cache(maxsize=1)
def _exams(store: Store, name: str) -> Exams:
    with store.read(name) as file:
        return Exams.load(file)


def _put_aside(bad: Unreadable, raw: Raw, ordinal: int, offset: int) -> Json:
    """A line of quarantine.jsonl; `bytes` are the record's first, those that are no UTF-8 written as \\xNN."""
    begins = bad.excerpt.encode("utf-8", "surrogateescape")[:EXCERPT].decode("utf-8", "backslashreplace")
    where = {"file": raw.name, "offset": offset if offset >= 0 else None, "ordinal": ordinal}
    return {**where, "reason": " ".join(bad.reason.split())[:300], "bytes": begins}


@dataclass
class _Parts:
    """Batches held until they make a part."""

    piece: Piece
    records: list[pa.Table] = field(default_factory=list)
    measures: list[pa.Table] = field(default_factory=list)
    bands: list[np.ndarray] = field(default_factory=list)
    bytes: int = 0
    done: list[Part] = field(default_factory=list)

    def take(self, batch: Batch, exams: Exams) -> None:
        """A mended batch."""
        measured = measure(batch, self.piece.seed, self.piece.raw.source, exams)
        self.records.append(batch.table())
        self.measures.append(measured.columns)
        self.bands.append(measured.bands)
        self.bytes += int(np.sum(numpy_of(measured.columns["bytes"])))
        if self.bytes >= PART_BYTES:
            self._write()

    def close(self) -> list[Part]:
        """All parts, the last one written."""
        if self.records:
            self._write()
        return self.done

    def _write(self) -> None:
        piece = self.piece
        records, measures = pa.concat_tables(self.records), pa.concat_tables(self.measures)
        bands = np.concatenate(self.bands, axis=1)
        self.records, self.measures, self.bands, self.bytes = [], [], [], 0
        number = len(self.done)
        self.done.append(write_part(piece.store, piece.number, number, records, measures, bands, piece.buckets))


def summed(values: list[Any]) -> Notes:
    """The notes of all tasks as one."""
    notes = Notes()
    for value in values:
        notes.merge(Notes.from_json(value))
    return notes
