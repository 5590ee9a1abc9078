"""What a reader of a raw corpus says: the words between `corpora/` and the rest of cleaning.

A reader is a module in `corpora/` (its name is the file's name) with

    CARD: Card                        what it reads, where that comes from, and how it is best cleaned
    sniff(sample: Sample) -> int      0 not mine · 1 of my general form · 2 surely mine
    item(row) -> Item                 a row (JSON object, CSV or parquet row) as a record: most readers. Called a
                                      million times; `careful` makes Unreadables of its ValueErrors
  or
    read(sample) -> Iterator[(offset, Item)]      for corpora that are no rows: a file as its records, in order

An item is `Found` what was written there, `Unreadable` for a record that cannot be understood, which is quarantined
while the rest goes on, or a list of `Found` if a row holds several records.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property, wraps
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from pipeline.clean.config import Profile, Rules
from pipeline.clean.files.encodings import detect_encoding
from pipeline.clean.files.places import beginning, is_hub, packing, suffix_of, unpacked_name

Message = dict[str, Any]
_THOUGHT = re.compile(r"[\s\ufeff]*<think>(.*?)</think>\s*", re.DOTALL)
EXCERPT = 200
"""Bytes of an unreadable record that the quarantine keeps."""


@dataclass(slots=True)
class Found:
    """A record as the file has it: a text, a conversation or a preference, not yet cleaned."""

    text: str | None = None
    messages: list[Message] | None = None
    chosen: list[Message] | None = None
    """A preference: what may follow `messages`, and what had better not."""
    rejected: list[Message] | None = None
    tools: str | None = None
    """JSON, or None."""
    meta: dict[str, Any] = field(default_factory=dict)
    """What the file says beyond that."""
    score: float | None = None
    """Stars or upvotes, where the corpus counts them."""
    siblings: str = ""
    """Records of one document share this, and will stand in the same split; else their content decides."""


@dataclass(slots=True)
class Unreadable:
    """A record that cannot be understood: why, and how it begins."""

    reason: str
    excerpt: str = ""
    ends: bool = False
    """Is nothing read behind it, because the file is damaged?"""


Item = Found | Unreadable
Located = tuple[int, Item]
"""An item, and the byte of the unpacked file at which it begins (in parquet its row); -1 if nobody knows."""


@dataclass(frozen=True)
class Card:
    """What is known of a corpus, or of a format in which many corpora come."""

    about: str
    """One phrase: what the reader understands."""
    homepage: str = ""
    files: tuple[str, ...] = ()
    """The names under which it is published; globs. A file of such a name is surely this reader's."""
    size: str = ""
    licence: str = ""
    profile: Profile = "light"
    """How much is mended: `web` pages (HTML too), `prose`, or `light` (dialogues, code)."""
    rules: Rules = field(default_factory=Rules)
    """The rules that suit it, where the recipe says nothing."""
    repairs: tuple[str, ...] = ()
    """Names of repairs in `text/repair.py` for what this source is known to break."""
    only_named: str = ""
    """Why it is read only where an input names this reader; nothing if `auto` may choose it."""

    def names(self, name: str) -> bool:
        """Is this a file as it is published? Capitals, folder and packing do not count."""
        base = unpacked_name(name).lower()
        return any(fnmatchcase(base, unpacked_name(file).lower()) for file in self.files)


ItemOf = Callable[[Mapping[str, Any]], Item | list[Found]]


@runtime_checkable
class RowReader(Protocol):
    """A module in corpora/ that makes records of rows, whatever these are written in."""

    CARD: Card
    item: ItemOf

    def sniff(self, sample: Sample) -> int:
        """Is this file one of mine?"""


class FileReader(Protocol):
    """A module in corpora/ that reads its files by itself, each as a whole."""

    CARD: Card

    def sniff(self, sample: Sample) -> int:
        """Is this file one of mine?"""

    def read(self, sample: Sample) -> Iterator[Located]:
        """What stands in it."""


def careful(make: Callable[[Mapping[str, Any]], Found | list[Found]]) -> ItemOf:
    """An `item` whose ValueErrors come out as unreadable records that give the reason."""

    @wraps(make)
    def item(row: Mapping[str, Any]) -> Item | list[Found]:
        try:
            return make(row)
        except (ValueError, RecursionError) as error:
            return Unreadable(str(error), excerpt(row))

    return item


def message(role: str, content: str, reasoning: str | None = None, tool_calls: str | None = None) -> Message:
    """A turn. Where an assistant's words begin with a thought between its marks, that is its reasoning."""
    if role == "assistant" and not reasoning and (thought := _THOUGHT.match(content)):
        reasoning, content = thought[1].strip() or None, content[thought.end() :]
    return {"role": role, "content": content, "reasoning": reasoning, "tool_calls": tool_calls}


def pair(question: str, answer: str, meta: dict[str, Any] | None = None, score: float | None = None) -> Found:
    """A question and its answer."""
    turns = [message("user", question), message("assistant", answer)]
    return Found(messages=turns, meta=meta or {}, score=score)


def excerpt(value: object) -> str:
    """How something begins, for the quarantine."""
    try:
        return str(value)[:EXCERPT]
    except RecursionError:
        return f"a {type(value).__name__}, nested deeply"


@dataclass(frozen=True)
class Sample:
    """A raw file, looked into as far as a reader's decision needs; opened only when asked."""

    name: str
    """Its path or URL (`files/places.py`)."""
    start: int = 0
    """Where its part of the file begins: bytes of lines, row groups of parquet."""
    end: int | None = None
    known_encoding: str = ""
    """The encoding, where it was looked up before."""

    @property
    def base(self) -> str:
        """The file's name without its folder."""
        return Path(self.name).name

    @property
    def suffix(self) -> str:
        """`.csv`, in lower case and without what it is packed in."""
        return suffix_of(self.name)

    @cached_property
    def packing(self) -> str:
        """`.gz`, …, or nothing."""
        return "" if is_hub(self.name) else packing(self.name)

    @cached_property
    def head(self) -> bytes:
        """The first bytes, unpacked."""
        return b"" if is_hub(self.name) else beginning(self.name, 1 << 16)

    @property
    def is_parquet(self) -> bool:
        """By its magic bytes, or its name."""
        return self.head.startswith(b"PAR1") or self.suffix == ".parquet"

    @cached_property
    def encoding(self) -> str:
        """The encoding of its text; nothing if it is none."""
        if is_hub(self.name) or self.is_parquet:
            return ""
        return self.known_encoding or detect_encoding(self.name)

    @cached_property
    def container(self) -> str:
        """`parquet`, `json list`, `json lines`, `csv`, `hub` or `text`."""
        from pipeline.clean.files.rows import container_of

        return container_of(self)

    @cached_property
    def first(self) -> list[Mapping[str, Any]]:
        """The first few rows, if the file holds rows."""
        from pipeline.clean.files.rows import first_rows

        return first_rows(self)

    @cached_property
    def keys(self) -> list[str]:
        """Names of the rows' fields, in order of appearance."""
        return list(dict.fromkeys(str(key) for row in self.first for key in row))

    def beginning(self, characters: int = 4000) -> str:
        """How its text begins; nothing if it is none."""
        if not self.encoding:
            return ""
        return self.head.decode(self.encoding, "replace").lstrip("\ufeff")[:characters]
