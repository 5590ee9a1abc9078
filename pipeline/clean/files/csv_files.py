"""Tables as text, as Excel and pandas write them: rows with the header's names, or why a row is none."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.clean.columns import find
from pipeline.clean.files.encodings import LONGEST, bom_length, has_bad_bytes, text_lines
from pipeline.clean.files.places import open_binary
from pipeline.clean.protocol import EXCERPT, Sample, Unreadable

SUFFIXES = (".csv", ".tsv")
DELIMITERS = (",", ";", "\t")
LONGEST_ROW = 1000
"""Lines; a quote that is not closed by then never will be."""

Row = dict[str, Any]


def rows(sample: Sample) -> Iterator[tuple[int, Row | Unreadable]]:
    """Each row as a dict of the header's names, with the byte at which it begins."""
    csv.field_size_limit(LONGEST)
    with open_binary(sample.name) as file:
        lines = _Lines(text_lines(file, sample.encoding, LONGEST), bom_length(sample.encoding))
        delimiter, names = _header(_first(lines))
        for row in _rows(lines, delimiter):
            if isinstance(row, Unreadable):
                yield lines.begins, row
            elif len(row) < len(names) or any(row[len(names) :]):
                reason = f"{len(row)} columns where the header has {len(names)}{_hint(row, names)}"
                yield lines.begins, Unreadable(reason, lines.taken_text()[:EXCERPT])
            elif has_bad_bytes(text := lines.taken_text()):
                yield lines.begins, Unreadable(f"bytes that are not {sample.encoding}", text[:EXCERPT])
            else:
                yield lines.begins, dict(zip(names, row, strict=False))


def header(sample: Sample) -> list[str]:
    """The names in the first line that is not blank."""
    with open_binary(sample.name) as file:
        lines = _Lines(text_lines(file, sample.encoding, LONGEST), bom_length(sample.encoding))
        return _header(_first(lines))[1]


def _first(lines: _Lines) -> str:
    """The first line that says anything."""
    return next((line for line in lines if line.strip("\ufeff \t\r\n,;")), "")


def _header(line: str) -> tuple[str, list[str]]:
    """The delimiter under which the header is understood, or else has most columns."""
    tries = []
    for delimiter in DELIMITERS:
        names = [name.strip("\ufeff \t\r\n") for name in next(csv.reader([line], delimiter=delimiter), [])]
        tries.append((find(names) is not None, len(names), delimiter, names))
    _, _, delimiter, names = max(tries, key=lambda one: one[:2])
    return delimiter, [_unlike(name, names[:i]) for i, name in enumerate(names)]


def _hint(row: Sequence[str], names: Sequence[str]) -> str:
    """What people mostly did."""
    if len(row) > len(names):
        return "; a cell that holds a comma stands in double quotes"
    return "; write the comma between cells as , instead of ，" if "，" in row[0] and len(row) == 1 else ""


def _unlike(name: str, before: Sequence[str]) -> str:
    """A name of its own for a column that is called like one before it."""
    return f"{name} ({before.count(name) + 1})" if name and name in before else name


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
            bad = lines.taken[0][1]
            lines.give_back()
            yield Unreadable(f"not CSV: {error}", bad[:EXCERPT])
            continue
        if any(cell.strip() for cell in row):
            yield row


class _Lines:
    """A file's lines, which can be taken back when a row turns out to be damaged."""

    def __init__(self, lines: Iterator[tuple[int, str | None]], at: int):
        self.lines, self.at = lines, at
        self.begins = at
        self.waiting, self.taken = deque[tuple[int, str]](), list[tuple[int, str]]()

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        if len(self.taken) >= LONGEST_ROW:
            raise csv.Error(f"a quote is not closed within {LONGEST_ROW} lines")
        size, line = self.waiting.popleft() if self.waiting else next(self.lines)
        self.at += size
        self.taken.append((size, line or ""))
        if line is None or self.at - self.begins > LONGEST:
            raise csv.Error(f"a row of more than {LONGEST:,} bytes")
        return line

    def begin(self) -> None:
        """The next line is the first of a row."""
        self.taken.clear()
        self.begins = self.at

    def give_back(self) -> None:
        """All lines of this row but its first."""
        self.waiting.extendleft(reversed(self.taken[1:]))
        self.at = self.begins + self.taken[0][0]

    def taken_text(self) -> str:
        """The lines of the row last read."""
        return "".join([line for _, line in self.taken])
