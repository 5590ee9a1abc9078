"""Plain text: documents between blank lines; a file without any is one document. Long ones are cut, not dropped."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby

from pipeline.clean.files.encodings import has_bad_bytes
from pipeline.clean.files.text_files import lines
from pipeline.clean.protocol import Card, Found, Located, Sample, Unreadable, excerpt

CARD = Card(about="plain text (.txt), documents separated by blank lines", profile="prose")
LONGEST = 100_000
"""Characters of a piece."""
_SENTENCE_END = re.compile(r"(?<=[。！？!?…\n])|(?<=\. )")


def sniff(sample: Sample) -> int:
    """A .txt that holds no rows."""
    return int(sample.suffix in (".txt", ".text") and not sample.first)


def read(sample: Sample) -> Iterator[Located]:
    """A document a record; the pieces of a long one stay together in one split."""
    for number, (blank, part) in enumerate(groupby(lines(sample), key=_is_blank)):
        if blank:
            continue
        (at, first), *others = part
        document = "".join([first, *(line for _, line in others)])
        if has_bad_bytes(document):
            yield at, Unreadable(f"bytes that are not {sample.encoding}", excerpt(document))
            continue
        pieces = cut(document, LONGEST)
        for piece in pieces:
            yield at, Found(text=piece, siblings=f"{sample.base}/{number}" if len(pieces) > 1 else "")


def _is_blank(line: tuple[int, str]) -> bool:
    return not line[1].strip("\ufeff \t\u3000\n")


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
        for sentence in [line] if len(line) <= longest else _SENTENCE_END.split(line):
            yield from (sentence[i : i + longest] for i in range(0, len(sentence), longest))
