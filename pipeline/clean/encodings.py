"""Which encoding a text file has: UTF-8 (BOM or not), UTF-16 or UTF-32 with BOM, or the GB18030 that Excel writes.

A file is opened as text with `open_text`; bytes that its encoding does not know come out as lone surrogates, so
that one bad line can be put aside (`has_bad_bytes`) without losing the file.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import TextIO

from utils.console import UserError, well_formed

_BLOCK = 1 << 18
_BAD = re.compile("[\udc80-\udcff]")
_BOMS = (  # UTF-32's before UTF-16's, whose beginning one of them shares
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def detect_encoding(path: Path) -> str:
    """Decided on the first block that says more than ASCII does."""
    with path.open("rb") as file:
        block = file.read(_BLOCK)
        for mark, name in _BOMS:
            if block.startswith(mark):
                return name
        if _is_no_text(block):
            raise UserError(f"{well_formed(str(path))}: looks like UTF-16 or binary; save it as UTF-8")
        while block.isascii() and len(block) == _BLOCK:
            block = file.read(_BLOCK)
    return encoding_of(block)


def _is_no_text(block: bytes) -> bool:
    """NUL bytes, and not just a stray one in UTF-8 text: cleaning takes that out."""
    return b"\0" in block and (block.count(0) * 1000 > len(block) or _broken(block, "utf-8") > 0.1)


def encoding_of(block: bytes) -> str:
    """UTF-8 unless more than a tenth of what is not ASCII breaks it and GB18030 breaks less.

    Chinese in GB18030 hardly ever forms valid UTF-8, so a few bad bytes in a UTF-8 file do not mislead.
    """
    if _broken(block, "utf-8") <= 0.1:
        return "utf-8"
    return "gb18030" if _broken(block, "gb18030") <= 0.1 else "utf-8"


def _broken(block: bytes, encoding: str) -> float:
    """Share of the characters beyond ASCII that do not decode; a cut character at the block's end is none."""
    text = codecs.getincrementaldecoder(encoding)("surrogateescape").decode(block)
    beyond = sum(not c.isascii() for c in text)
    return len(_BAD.findall(text)) / beyond if beyond else 0.0


def open_text(path: Path, encoding: str, newline: str | None = "\n") -> TextIO:
    """A text file whose undecodable bytes are lone surrogates; lines end as `newline` says."""
    return path.open("r", encoding=encoding, errors="surrogateescape", newline=newline)


def has_bad_bytes(text: str) -> bool:
    """Did bytes of this text not decode?"""
    return not text.isascii() and _BAD.search(text) is not None
