"""A table as text: questions and answers, or documents, as Excel and pandas write them."""

from __future__ import annotations

import csv
from collections.abc import Iterator

from pipeline.clean.columns import find, understood
from pipeline.clean.config import CleanConfig
from pipeline.clean.encodings import has_bad_bytes, open_text
from pipeline.clean.protocol import Item, Sample, Unreadable
from utils.console import UserError

ABOUT = "CSV or TSV with a header: question,answer · input_text,target_text · 问题,回答 · prompt,response · text …"
SUFFIXES = (".csv", ".tsv")
DELIMITERS = (",", ";", "\t")
LONGEST_ROW = 1000
"""Lines; a quote that is not closed by then never will be."""


def sniff(sample: Sample) -> bool:
    """By its name."""
    return sample.suffix in SUFFIXES and not sample.is_parquet


def read(sample: Sample, config: CleanConfig) -> Iterator[Item]:
    """A row a record; a row that does not fit the header is unreadable."""
    csv.field_size_limit(1 << 27)
    with open_text(sample.path, sample.encoding, newline="") as file:
        lines = _Lines(file)
        first = next(lines, "")
        while first and not first.strip("\ufeff \t\r\n,;"):
            first = next(lines, "")
        delimiter, names = _header(first)
        columns = find(names)
        if columns is None:
            found = ", ".join(name for name in names if name) or "none"
            mend = "write its commas as , instead of ，" if "，" in found else "rename its header row"
            raise UserError(f"{sample.path}: columns {found}; understood are {understood()}; {mend}")
        for row in _rows(lines, delimiter):
            if isinstance(row, Unreadable):
                yield row
            elif len(row) < len(names) or any(row[len(names) :]):
                yield Unreadable(f"{len(row)} columns where the header has {len(names)}", lines.taken_text())
            elif has_bad_bytes(lines.taken_text()):
                yield Unreadable(f"bytes that are not {sample.encoding}", lines.taken_text())
            else:
                yield columns.item(dict(zip(names, row, strict=False)))


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
        lines.taken.clear()
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            bad = lines.taken[0]
            lines.waiting = lines.taken[1:] + lines.waiting
            yield Unreadable(f"not CSV: {error}", bad)
            continue
        if any(cell.strip() for cell in row):
            yield row


class _Lines:
    """A file's lines, which can be taken back when a row turns out to be damaged."""

    def __init__(self, file: Iterator[str]):
        self.file, self.waiting, self.taken = file, list[str](), list[str]()

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        if len(self.taken) >= LONGEST_ROW:
            raise csv.Error(f"a quote is not closed within {LONGEST_ROW} lines")
        line = self.waiting.pop(0) if self.waiting else next(self.file)
        self.taken.append(line)
        return line

    def taken_text(self) -> str:
        """The lines of the row last read."""
        return "".join(self.taken)
