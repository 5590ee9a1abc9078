"""Text, line by line, with the byte at which each begins."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.clean.files.encodings import bom_length, text_lines
from pipeline.clean.files.places import open_binary
from pipeline.clean.protocol import Sample


def lines(sample: Sample) -> Iterator[tuple[int, str]]:
    """Lines, however they end in the file, with a newline at the end of each."""
    at = bom_length(sample.encoding)
    with open_binary(sample.name) as file:
        for size, line in text_lines(file, sample.encoding):
            yield at, _with_newline(line or "")
            at += size


def _with_newline(line: str) -> str:
    if not line.endswith(("\r\n", "\r")):
        return line
    return line.rstrip("\r\n") + "\n"
