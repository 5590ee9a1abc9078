"""JSON lists and JSON lines, record by record: a damaged one comes out as a `Damaged`, the rest goes on.

A list is read in growing pieces, never whole; after a record that is no JSON, reading goes on behind the next
`},` that stands before a `{`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from pipeline.clean.encodings import has_bad_bytes, open_text

_PIECE = 1 << 16
_LARGEST = 1 << 26
_NEXT_RECORD = re.compile(r"\}\s*,\s*(?=\{)")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Damaged:
    """What stands where a record should: why it is none, and how it begins."""

    reason: str
    excerpt: str


def first_character(path: Path, encoding: str) -> str:
    """The first character that is no space."""
    with open_text(path, encoding) as file:
        return file.read(4096).lstrip("\ufeff \t\r\n")[:1]


def objects(path: Path, encoding: str) -> Iterator[Any]:
    """The values of a JSON list, or of JSON lines, in order."""
    with open_text(path, encoding) as file:
        yield from _of_list(file) if first_character(path, encoding) == "[" else _of_lines(file)


def _of_lines(file: TextIO) -> Iterator[Any]:
    for line in file:
        line = line.strip("\ufeff \t\r\n")
        if line:
            yield _value(line)


def _value(text: str) -> Any:
    if has_bad_bytes(text):
        return Damaged("bytes that are not in the file's encoding", text[:200])
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        return Damaged(f"not JSON: {error}", text[:200])


def _of_list(file: TextIO) -> Iterator[Any]:
    window = _Window(file)
    window.skip("\ufeff \t\r\n")
    window.at += 1  # the bracket that opens the list
    while window.skip(" \t\r\n,") and not window.text.startswith("]", window.at):
        yield window.take()
    if not window.text.startswith("]", window.at):
        yield Damaged("the list is not closed: the file is cut short", window.text[max(0, window.at - 200) : window.at])


class _Window:
    """The part of a JSON list that is being looked at."""

    def __init__(self, file: TextIO):
        self.file, self.text, self.at = file, "", 0

    def more(self) -> bool:
        """Read on, twice as far each time, so that a long record costs no square."""
        piece = self.file.read(max(_PIECE, len(self.text) - self.at))
        self.text, self.at = self.text[self.at :] + piece, 0
        return bool(piece)

    def skip(self, characters: str) -> bool:
        """Stand on the next character that is none of these; False at the end of the file."""
        while True:
            while self.at < len(self.text) and self.text[self.at] in characters:
                self.at += 1
            if self.at < len(self.text):
                return True
            if not self.more():
                return False

    def take(self) -> Any:
        """The value that begins here; the next one begins behind it."""
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.at)
            except (ValueError, RecursionError) as error:
                if _may_be_cut(error, len(self.text)) and len(self.text) - self.at < _LARGEST and self.more():
                    continue
                return self._damaged(f"not JSON: {error}")
            raw, self.at = self.text[self.at : end], end
            if has_bad_bytes(raw):
                return Damaged("bytes that are not in the file's encoding", raw[:200])
            return value

    def _damaged(self, reason: str) -> Damaged:
        excerpt = self.text[self.at : self.at + 200]
        while (found := _NEXT_RECORD.search(self.text, self.at)) is None:
            self.at = max(self.at, len(self.text) - 64)
            if not self.more():
                closing = self.text.rstrip().endswith("]")
                self.at = len(self.text.rstrip()) - 1 if closing else len(self.text)
                return Damaged(reason, excerpt)
        self.at = found.end()
        return Damaged(reason, excerpt)


def _may_be_cut(error: Exception, length: int) -> bool:
    """Would more text mend it? Errors at the very end, and strings that do not end here."""
    if not isinstance(error, json.JSONDecodeError):
        return False
    return error.msg.startswith("Unterminated string") or error.pos >= length - 16
