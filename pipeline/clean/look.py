"""What a raw file is taken for: `python -m pipeline.clean --look FILE…`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pipeline.clean.config import Input
from pipeline.clean.files.places import is_hub, size_of
from pipeline.clean.inputs import files_of, is_empty
from pipeline.clean.protocol import Found, Item, Message, Sample, Unreadable
from pipeline.clean.readers import SURELY, card, items, reader_of, scores
from utils.console import UserError, tell, well_formed

WIDTH = 100
"""Characters of a line of the excerpt."""
_LOOKED_AT = 1000
_KINDS = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "null", list: "list"}


@dataclass(frozen=True)
class Look:
    """A file as the clean stage sees it."""

    name: str
    container: str
    """`json lines`, `json list`, `csv`, `parquet`, `hub` or `text`; `empty` if nothing is in it."""
    packing: str
    encoding: str
    size: int
    schema: dict[str, str]
    """The first rows' fields, and what they hold."""
    reader: str
    """Nothing if there is none: `problem` says why."""
    others: tuple[str, ...]
    """Readers that would understand it too."""
    excerpt: tuple[str, ...]
    """How the first record reads."""
    problem: str
    homepage: str

    def lines(self) -> list[str]:
        """For a person."""
        packed = f", {tell('packed as', '压缩格式')} {self.packing}" if self.packing else ""
        shown = [
            (tell("format", "格式"), f"{self.container}{packed}"),
            (tell("encoding", "编码"), self.encoding),
            (tell("size", "大小"), f"{self.size:,} {tell('bytes', '字节')}" if self.size else ""),
            (tell("fields", "字段"), "; ".join(f"{name}: {kind}" for name, kind in self.schema.items())),
            (tell("reader", "读取器"), self._reader()),
            (tell("problem", "问题"), self.problem),
            (tell("from", "来源"), self.homepage),
            *((tell("begins", "开头") if not n else "", line) for n, line in enumerate(self.excerpt)),
        ]
        name = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in self.name)
        return [name, *(f"  {title:<9} {value}" for title, value in shown if value)]

    def _reader(self) -> str:
        if not self.reader:
            return ""
        others = tell(f"; if asked to: {', '.join(self.others)}", f"；也可指定：{', '.join(self.others)}")
        return f"{self.reader} ({card(self.reader).about})" + (others if self.others else "")


def look(name: str) -> list[Look]:
    """A file, or each file of a folder, a glob or an archive; UserError if there is none."""
    try:
        return [_look(file) for file in files_of(Input(name))]
    except FileNotFoundError:
        raise UserError(f"{well_formed(name)}: nothing there; correct the path") from None


def _look(name: str) -> Look:
    sample = Sample(name)
    size = 0 if is_hub(name) else size_of(name)
    reader, problem, known = "", "", dict[str, int]()
    try:
        if is_empty(sample):
            return Look(name, "empty", sample.packing, "", size, {}, "", (), (), "", "")
        known = scores(sample)
        reader = reader_of(sample, "auto")
    except UserError as error:
        problem = str(error).removeprefix(f"{well_formed(name)}: ")
    try:
        container, encoding, schema = sample.container, sample.encoding, schema_of(sample.first)
    except UserError:  # the same once more
        container, encoding, schema = "", "", {}
    others = tuple(other for other in known if other != reader)
    excerpt = tuple(shown(_first_of(sample, reader))) if reader else ()
    home = card(reader).homepage if known.get(reader) == SURELY else ""
    return Look(name, container, sample.packing, encoding, size, schema, reader, others, excerpt, problem, home)


def schema_of(rows: list[Mapping[str, Any]]) -> dict[str, str]:
    """Each field's name, and the kinds of value that it has in these rows."""
    kinds: dict[str, dict[str, None]] = {}
    for row in rows:
        for name, value in row.items():
            kinds.setdefault(str(name), {})[_kind(value)] = None
    return {name: " or ".join(found) for name, found in kinds.items()}


def _kind(value: Any) -> str:
    if isinstance(value, list) and value:
        return f"list of {_kind(value[0])}"
    if isinstance(value, dict):
        return "{" + ", ".join(map(str, value)) + "}"
    return _KINDS.get(type(value), type(value).__name__)


def _first_of(sample: Sample, reader: str) -> Item | None:
    """The first record that can be read, or else why the first cannot."""
    with closing(items(sample, reader)) as every:
        found = [one for _, one in islice(every, _LOOKED_AT)]
    return next((one for one in found if isinstance(one, Found)), found[0] if found else None)


def shown(item: Item | None) -> list[str]:
    """A record in three lines at most."""
    if item is None:
        return [tell("no record", "没有记录")]
    if isinstance(item, Unreadable):
        return [tell("unreadable: ", "无法读取：") + item.reason]
    told = [f"{said['role']}: {_said(said)}" for said in item.messages or []]
    told += [f"{side}: {_said(turns[0])}" for side, turns in _sides(item)]
    if item.text is not None:
        told = [line for line in item.text.split("\n") if line.strip()]
    return [line if len(line) <= WIDTH else line[: WIDTH - 1] + "…" for line in map(well_formed, told[:3])]


def _sides(item: Found) -> list[tuple[str, list[Message]]]:
    return [(side, turns) for side, turns in (("chosen", item.chosen), ("rejected", item.rejected)) if turns]


def _said(message: Message) -> str:
    """A turn in one line."""
    said = message["content"] or (f"→ {json.loads(message['tool_calls'])}" if message["tool_calls"] else "")
    return " ".join(said.split())
