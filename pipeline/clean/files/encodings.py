"""Which encoding a text file has: UTF-8 (BOM or not), UTF-16 or UTF-32 with BOM, or the GB18030 that Excel writes.

A file is opened as text with `open_text`; bytes that its encoding does not know come out as lone surrogates, so
that one bad line can be put aside (`has_bad_bytes`) without losing the file.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from pipeline.clean.files.places import CORRUPT, beginning, open_binary
from utils.console import UserError, well_formed

_BLOCK = 1 << 18
_ENOUGH = 1 << 26
"""Bytes of nothing but ASCII after which a file is taken for UTF-8 without reading on."""
_BAD = re.compile("[\udc80-\udcff]")
_BOMS = (  # UTF-32's before UTF-16's, whose beginning one of them shares
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def detect_encoding(name: str) -> str:
    """Decided on the first block that says more than ASCII does."""
    block = beginning(name, _BLOCK)
    for mark, encoding in _BOMS:
        if block.startswith(mark):
            return encoding
    if _is_no_text(block):
        raise UserError(f"{well_formed(name)}: looks like UTF-16 or binary; save it as UTF-8")
    return encoding_of(_beyond_ascii(name) if block.isascii() and len(block) == _BLOCK else block)


def _beyond_ascii(name: str) -> bytes:
    """The first block that is not all ASCII; nothing if there is none, or only behind damage."""
    with suppress(*CORRUPT), open_binary(name) as file:
        for _ in range(_ENOUGH // _BLOCK):
            block = file.read(_BLOCK)
            if not block.isascii() or not block:
                return block
    return b""


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
    beyond = len(text) - len(text.encode("ascii", "ignore"))
    return len(_BAD.findall(text)) / beyond if beyond else 0.0


def _as_surrogate(error: UnicodeError) -> tuple[str, int]:
    """For UTF-16 and UTF-32, whose bytes `surrogateescape` does not take."""
    assert isinstance(error, UnicodeDecodeError)
    return "\udcff", error.end


codecs.register_error("as-surrogate", _as_surrogate)


def handler(encoding: str) -> str:
    """The error handler that makes lone surrogates of what this encoding does not know."""
    return "as-surrogate" if encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"


@contextmanager
def open_text(name: str, encoding: str, newline: str | None = "\n") -> Iterator[TextIO]:
    """A text file whose undecodable bytes are lone surrogates; lines end as `newline` says."""
    with open_binary(name) as file:
        yield io.TextIOWrapper(file, encoding=encoding, errors=handler(encoding), newline=newline)


def has_bad_bytes(text: str) -> bool:
    """Did bytes of this text not decode?"""
    return not text.isascii() and _BAD.search(text) is not None


def byte_length(text: str, encoding: str) -> int:
    """How many bytes a piece of a file's text takes there."""
    if encoding.startswith(("utf-16", "utf-32")):
        return len(text.encode(f"{encoding}-le", "surrogatepass"))
    return len(text.encode(encoding.removesuffix("-sig"), "surrogateescape"))


def bom_length(encoding: str) -> int:
    """How many bytes stand before a file's text."""
    return {"utf-8-sig": 3, "utf-16": 2, "utf-32": 4}.get(encoding, 0)
