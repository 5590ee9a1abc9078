"""Plain text: documents between blank lines; a file without any is one document. Long ones are cut, not dropped."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby

from pipeline.clean.config import CleanConfig
from pipeline.clean.encodings import has_bad_bytes, open_text
from pipeline.clean.protocol import Found, Item, Sample, Unreadable

ABOUT = "plain text, documents separated by blank lines"
_SENTENCE_END = re.compile(r"(?<=[。！？!?…\n])|(?<=\. )")


def sniff(sample: Sample) -> bool:
    """A .txt that holds no JSON records."""
    return sample.suffix in (".txt", ".text") and not sample.first and not sample.is_parquet


def read(sample: Sample, config: CleanConfig) -> Iterator[Item]:
    """A document a record; the pieces of a long one stay together in one split."""
    with open_text(sample.path, sample.encoding, newline=None) as file:
        number = 0
        for blank, lines in groupby(file, key=lambda line: not line.strip("\ufeff \t\u3000\n")):
            if blank:
                continue
            document = "".join(lines)
            number += 1
            if has_bad_bytes(document):
                yield Unreadable(f"bytes that are not {sample.encoding}", document[:200])
                continue
            pieces = cut(document, config.max_chars)
            siblings = f"{sample.path.name}/{number}" if len(pieces) > 1 else ""
            for piece in pieces:
                yield Found(text=piece, siblings=siblings)


def cut(document: str, longest: int) -> list[str]:
    """Pieces of at most `longest` characters: whole lines, else whole sentences, else what fits."""
    pieces = [""]
    for unit in _units(document, longest):
        if len(pieces[-1]) + len(unit) > longest and pieces[-1]:
            pieces.append("")
        pieces[-1] += unit
    return pieces


def _units(document: str, longest: int) -> Iterator[str]:
    for line in document.splitlines(keepends=True):
        if len(line) <= longest:
            yield line
            continue
        for sentence in _SENTENCE_END.split(line):
            yield from (sentence[i : i + longest] for i in range(0, len(sentence), longest))
