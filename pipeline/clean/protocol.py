"""What a reader of a raw corpus says: the words between `corpora/` and the rest of cleaning.

A reader is a module in `corpora/` (its name is the file's name) with

    ABOUT: str                                   one phrase: what it understands
    sniff(sample: Sample) -> bool                is this file one of mine?
    read(sample: Sample, config: CleanConfig) -> Iterator[Found | Unreadable]

It yields one item for each record of the file, in order: `Found` what was written there, or `Unreadable` for a
record that cannot be understood, which is quarantined while the rest goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from pipeline.clean.config import CleanConfig
from pipeline.clean.encodings import detect_encoding
from pipeline.clean.json_files import first_character, objects

Message = dict[str, Any]
EXCERPT = 200
"""Bytes of an unreadable record that the quarantine keeps."""


@dataclass(frozen=True, slots=True)
class Found:
    """A record as the file has it: a text or a conversation, not yet cleaned."""

    text: str | None = None
    messages: list[Message] | None = None
    tools: str | None = None
    """JSON, or None."""
    meta: dict[str, Any] = field(default_factory=dict)
    """What the file says beyond that."""
    siblings: str = ""
    """Records of one document share this, and will stand in the same split; else their content decides."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record that cannot be understood: why, and how it begins."""

    reason: str
    excerpt: str = ""


Item = Found | Unreadable


class Reader(Protocol):
    """A module in corpora/."""

    ABOUT: str

    def sniff(self, sample: Sample) -> bool:
        """Is this file one of mine?"""

    def read(self, sample: Sample, config: CleanConfig) -> Iterator[Item]:
        """Its records, in order."""


@dataclass(frozen=True)
class Sample:
    """A raw file, looked into as far as a reader's decision needs; opened only when asked."""

    path: Path

    @property
    def suffix(self) -> str:
        """`.csv`, in lower case."""
        return self.path.suffix.lower()

    @cached_property
    def is_parquet(self) -> bool:
        """By its magic bytes, or its name."""
        with self.path.open("rb") as file:
            return file.read(4) == b"PAR1" or self.suffix == ".parquet"

    @cached_property
    def encoding(self) -> str:
        """The encoding of its text."""
        return detect_encoding(self.path)

    @cached_property
    def is_json(self) -> bool:
        """A JSON list or JSON lines?"""
        return not self.is_parquet and first_character(self.path, self.encoding) in ("[", "{")

    @cached_property
    def first(self) -> list[dict[str, Any]]:
        """The first few records of a JSON list or of JSON lines."""
        if not self.is_json:
            return []
        return [value for value in islice(objects(self.path, self.encoding), 8) if isinstance(value, dict)]

    @cached_property
    def keys(self) -> list[str]:
        """Keys of the first JSON records, in order of appearance."""
        return list(dict.fromkeys(key for value in self.first for key in value))
