"""Text, line by line, with the byte at which each begins."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.clean.files.encodings import bom_length, byte_length, open_text
from pipeline.clean.protocol import Sample


def lines(sample: Sample) -> Iterator[tuple[int, str]]:
    """Lines, however they end in the file, with a newline at the end of each."""
    at = bom_length(sample.encoding)
    with open_text(sample.name, sample.encoding, newline="") as file:
        for line in file:
            yield at, _with_newline(line)
            at += byte_length(line, sample.encoding)


def _with_newline(line: str) -> str:
    if not line.endswith(("\r\n", "\r")):
        return line
    return line.rstrip("\r\n") + "\n"
