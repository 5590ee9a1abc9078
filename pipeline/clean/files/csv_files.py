"""Tables as text, as Excel and pandas write them: rows with the header's names, or why a row is none."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any

from pipeline.clean.columns import find
from pipeline.clean.files.encodings import bom_length, byte_length, has_bad_bytes, open_text
from pipeline.clean.protocol import EXCERPT, Sample, Unreadable

SUFFIXES = (".csv", ".tsv")
DELIMITERS = (",", ";", "\t")
LONGEST_ROW = 1000
"""Lines; a quote that is not closed by then never will be."""

Row = dict[str, Any]


def rows(sample: Sample) -> Iterator[tuple[int, Row | Unreadable]]:
    """Each row as a dict of the header's names, with the byte at which it begins."""
    csv.field_size_limit(1 << 27)
    with open_text(sample.name, sample.encoding, newline="") as file:
        lines = _Lines(file, sample.encoding)
        first = next(lines, "")
        while first and not first.strip("\ufeff \t\r\n,;"):
            first = next(lines, "")
        delimiter, names = _header(first)
        for row in _rows(lines, delimiter):
            if isinstance(row, Unreadable):
                yield lines.begins, row
            elif len(row) < len(names) or any(row[len(names) :]):
                reason = f"{len(row)} columns where the header has {len(names)}"
                yield lines.begins, Unreadable(reason, lines.taken_text()[:EXCERPT])
            elif has_bad_bytes(text := lines.taken_text()):
                yield lines.begins, Unreadable(f"bytes that are not {sample.encoding}", text[:EXCERPT])
            else:
                yield lines.begins, dict(zip(names, row, strict=False))


def header(sample: Sample) -> list[str]:
    """The names in the first line that is not blank."""
    with open_text(sample.name, sample.encoding, newline="") as file:
        first = next((line for line in file if line.strip("\ufeff \t\r\n,;")), "")
    return _header(first)[1]


def _header(line: str) -> tuple[str, list[str]]:
    """The delimiter under which the header is understood, or else has most columns."""
    tries = []
    for delimiter in DELIMITERS:
        names = [name.strip("\ufeff \t\r\n") for name in next(csv.reader([line], delimiter=delimiter), [])]
        tries.append((find(names) is not None, len(names), delimiter, names))
    _, _, delimiter, names = max(tries, key=lambda one: one[:2])
    return delimiter, names


def _rows(lines: _Lines, delimiter: str) -> Iterator[list[str] | Unreadable]:
    """Rows; after a damaged one, reading goes on with the line behind its first."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.begin()
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            bad = lines.taken[0]
            lines.give_back()
            yield Unreadable(f"not CSV: {error}", bad[:EXCERPT])
            continue
        if any(cell.strip() for cell in row):
            yield row


class _Lines:
    """A file's lines, which can be taken back when a row turns out to be damaged."""

    def __init__(self, file: Iterator[str], encoding: str):
        self.file, self.waiting, self.taken = file, list[str](), list[str]()
        self.encoding = encoding
        self.begins = self.at = bom_length(encoding)

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        if len(self.taken) >= LONGEST_ROW:
            raise csv.Error(f"a quote is not closed within {LONGEST_ROW} lines")
        line = self.waiting.pop(0) if self.waiting else next(self.file)
        self.taken.append(line)
        self.at += byte_length(line, self.encoding)
        return line

    def begin(self) -> None:
        """The next line is the first of a row."""
        self.taken.clear()
        self.begins = self.at

    def give_back(self) -> None:
        """All lines of this row but its first."""
        self.waiting = self.taken[1:] + self.waiting
        self.at = self.begins + byte_length(self.taken[0], self.encoding)

    def taken_text(self) -> str:
        """The lines of the row last read."""
        return "".join(self.taken)
