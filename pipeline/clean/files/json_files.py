"""JSON lines and JSON lists, record by record: a damaged one comes out as an `Unreadable`, the rest goes on.

Lines are cut out of bytes and read by orjson. A list is read in growing pieces, never whole; after a record that is
no JSON, reading goes on with the next one that begins as those before did: a record's inside (`},{` stands between two
turns too) is not taken for records. Lists may follow upon each other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

import orjson

from pipeline.clean.files import text_files
from pipeline.clean.files.encodings import (
    LONGEST,
    bom_length,
    byte_length,
    decoder,
    has_bad_bytes,
    is_utf8_all_the_same,
)
from pipeline.clean.files.places import open_binary
from pipeline.clean.protocol import EXCERPT, Sample, Unreadable

_BLOCK = 1 << 22
_PIECE = 1 << 16
_SPACE = b"\xef\xbb\xbf \t\r\n"
_NEXT_RECORD = re.compile(r"\}\s*,\s*(?=\{)")
_OVERLAP = 1024
"""Characters of a record's beginning that may be cut in two by a block's end."""
_FIRST_NAMES = 8
"""Names with which records begin that are remembered."""
_DECODER = json.JSONDecoder()

Placed = tuple[int, Any]


def objects(sample: Sample) -> Iterator[Placed]:
    """The values of a JSON list, or of JSON lines, in order, each with the byte at which it begins."""
    if sample.container == "json list":
        with open_binary(sample.name) as file:
            yield from _of_list(file, sample.encoding)
    elif sample.encoding.startswith(("utf-16", "utf-32")):
        for at, text in text_files.lines(sample):
            if inner := text.lstrip():
                before = byte_length(text[: len(text) - len(inner)], sample.encoding)
                yield at + before, _value(inner.rstrip().encode("utf-8", "surrogateescape"), "utf-8")
    else:
        encoding = sample.encoding.removesuffix("-sig")
        with open_binary(sample.name) as file:
            for at, line in lines(file, sample.start, sample.end):
                if isinstance(line, Unreadable):
                    yield at, line
                elif whole := line.lstrip(_SPACE):
                    yield at + len(line) - len(whole), _value(whole.rstrip(), encoding)


def lines(file: BinaryIO, start: int = 0, end: int | None = None) -> Iterator[tuple[int, bytes | Unreadable]]:
    """Lines that begin at or behind `start` and before `end`; longer ones than LONGEST are unreadable."""
    at, left, skipping = 0, b"", False
    if start:  # stand on the byte before: if it ends a line, the next line is ours
        file.seek(start - 1)
        at, skipping = start - 1, True
    while block := file.read1(_BLOCK):  # type: ignore[attr-defined]
        if skipping:
            found = block.find(b"\n") + 1
            at += found or len(block)
            if not found:
                continue
            block, skipping = block[found:], False
        *whole, left = (left + block).split(b"\n")
        for line in whole:
            if end is not None and at >= end:
                return
            yield at, line
            at += len(line) + 1
        if end is not None and at >= end:
            return
        if len(left) > LONGEST:
            yield at, Unreadable(f"a line of more than {LONGEST:,} bytes", left[:EXCERPT].decode("utf-8", "replace"))
            at, left, skipping = at + len(left), b"", True
    if left:
        yield at, left


def _value(line: bytes, encoding: str) -> Any:
    if encoding != "utf-8" and is_utf8_all_the_same(line):
        encoding = "utf-8"
    try:
        return orjson.loads(line if encoding == "utf-8" else line.decode(encoding))
    except ValueError:
        pass
    try:  # half a character (`\\ud83d`), NaN, and deep nesting are for the library that knows them
        text = line.decode(encoding)
    except UnicodeDecodeError:
        shown = line[: 2 * EXCERPT].decode(encoding, "surrogateescape")
        return Unreadable("bytes that are not in the file's encoding", shown[:EXCERPT])
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        return Unreadable(f"not JSON: {error}", text[:EXCERPT])


def _of_list(file: BinaryIO, encoding: str) -> Iterator[Placed]:
    window = _Window(file, encoding)
    window.skip("\ufeff \t\r\n")
    closed = True
    while window.skip(" \t\r\n" if closed else " \t\r\n,"):
        if closed:  # a list begins here, or what stands behind one
            if window.text.startswith("[", window.at):
                window.at += 1
                closed = False
            else:
                at = window.byte()
                yield at, window.damaged("something stands behind the end of the list")
                closed = window.at == len(window.text)
        elif window.text.startswith("]", window.at):
            window.at += 1
            closed = True
        else:
            at = window.byte()
            yield at, window.take()
    if not closed:
        before = window.text[max(0, window.at - EXCERPT) : window.at]
        yield window.byte(), Unreadable("the list is not closed: the file is cut short", before, ends=True)


class _Window:
    """The part of a JSON list that is being looked at."""

    def __init__(self, file: BinaryIO, encoding: str):
        self.file, self.encoding = file, encoding
        self.decoder = decoder(encoding)
        self.text, self.at = "", 0
        self.first_names = dict[str, None]()
        self.counted, self.bytes = 0, bom_length(encoding)

    def byte(self) -> int:
        """Where in the file the window stands."""
        self.bytes += byte_length(self.text[self.counted : self.at], self.encoding)
        self.counted = self.at
        return self.bytes

    def more(self) -> bool:
        """Read on, twice as far each time, so that a long record costs no square."""
        self.byte()
        left, wanted = self.text[self.at :], max(_PIECE, len(self.text) - self.at)
        pieces = [left]
        while wanted > 0 or not any(pieces[1:]):  # a decoder may hold back what has no line end yet
            block = self.file.read1(max(wanted, _PIECE))  # type: ignore[attr-defined]
            pieces.append(self.decoder.decode(block, final=not block))
            if not block:
                break
            wanted -= len(block)
        self.text, self.at, self.counted = "".join(pieces), 0, 0
        return len(self.text) > len(left)

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
                if _may_be_cut(error, len(self.text)) and len(self.text) - self.at < LONGEST and self.more():
                    continue
                return self.damaged(f"not JSON: {error}")
            if isinstance(value, dict) and value and len(self.first_names) < _FIRST_NAMES:
                self.first_names[next(iter(value))] = None
            raw, self.at = self.text[self.at : end], end
            if has_bad_bytes(raw):
                return Unreadable("bytes that are not in the file's encoding", raw[:EXCERPT])
            return value

    def damaged(self, reason: str) -> Unreadable:
        """What begins here is no record; the next one begins behind it, or the list ends."""
        excerpt = self.text[self.at : self.at + EXCERPT]
        next_record = self._next_record()
        self.at += self.text.startswith("{", self.at)
        while (found := next_record.search(self.text, self.at)) is None:
            self.at = max(self.at, len(self.text) - _OVERLAP)
            if not self.more():
                closing = self.text.rstrip().endswith("]")
                self.at = len(self.text.rstrip()) - 1 if closing else len(self.text)
                return Unreadable(reason, excerpt)
        self.at = found.end()
        return Unreadable(reason, excerpt)

    def _next_record(self) -> re.Pattern[str]:
        """Where a record begins as those before did; before the first, where anything between braces may."""
        if not self.first_names:
            return _NEXT_RECORD
        names = "|".join(re.escape(json.dumps(name, ensure_ascii=False)) for name in self.first_names)
        return re.compile(rf"[\[\]}},\s](?=\{{\s{{0,64}}(?:{names})\s{{0,8}}:)")


def _may_be_cut(error: Exception, length: int) -> bool:
    """Would more text mend it? Errors at the very end, and strings that do not end here."""
    if not isinstance(error, json.JSONDecodeError):
        return False
    return error.msg.startswith("Unterminated string") or error.pos >= length - 16
