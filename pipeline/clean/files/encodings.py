"""Which encoding a text file has: UTF-8 (BOM or not), UTF-16 or UTF-32 with BOM, or the GB18030 that Excel writes.

Bytes that its encoding does not know come out as lone surrogates, so that one bad line can be put aside
(`has_bad_bytes`) without losing the file. Files of two encodings are put one behind the other: in one of GB18030 a
line that is Chinese in UTF-8 is read as that, which GB18030 hardly ever is by chance.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from typing import Any, BinaryIO

from pipeline.clean.files.places import CORRUPT, beginning, open_binary
from utils.console import UserError, well_formed

LONGEST = 1 << 25
"""Bytes of a record; what is longer is no record, and is skipped without being held in memory."""

_BLOCK = 1 << 18
_ENOUGH = 1 << 26
"""Bytes of nothing but ASCII after which a file is taken for UTF-8 without reading on."""
_BAD = re.compile("[\udc80-\udcff]")
_PRIVATE = re.compile("[\ue000-\uf8ff]")
_SUSPICIOUS = 20
"""Characters beyond ASCII from which a strange file is refused."""
_PACKED_OTHERWISE = (
    (b"\xfd7zXZ", "xz"),
    (b"7z\xbc\xaf", "7z"),
    (b"Rar!", "rar"),
    (b"\x1f\x8b", "gzip once more"),
    (b"PK\x05\x06", "an empty zip"),
)
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
    packed = next((kind for magic, kind in _PACKED_OTHERWISE if block.startswith(magic)), "")
    if packed or block[257:262] == b"ustar":
        raise UserError(f"{well_formed(name)}: packed ({packed or 'tar'}); unpack it")
    if _is_no_text(block):
        raise UserError(f"{well_formed(name)}: looks like UTF-16 or binary; save it as UTF-8")
    block = _beyond_ascii(name) if block.isascii() and len(block) == _BLOCK else block
    encoding = encoding_of(block)
    if encoding == "gb18030" and (other := _another(block)):
        raise UserError(f"{well_formed(name)}: looks like {other}, not Chinese in GB18030; save it as UTF-8")
    return encoding


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
    return b"\0" in block and (block.count(0) * 20 > len(block) or _broken(block, "utf-8") > 0.1)


def encoding_of(block: bytes) -> str:
    """UTF-8 unless more than half of what is not ASCII breaks it and hardly any of it GB18030.

    Of Chinese in GB18030 four fifths break UTF-8; so neither a few bad bytes in a UTF-8 file mislead, nor a part of it
    that is in GB18030.
    """
    return "gb18030" if _broken(block, "utf-8") > 0.5 and _broken(block, "gb18030") <= 0.1 else "utf-8"


def _another(block: bytes) -> str:
    """What is no Chinese in GB18030, but looks so to a decoder."""
    text = block.decode("gb18030", "ignore")
    beyond = [c for c in text if c >= "\x80"]
    if len(beyond) < _SUSPICIOUS:
        return ""
    if len(_PRIVATE.findall(text)) * 20 > len(beyond):
        return "Big5"
    common = _common()
    return "" if sum(c in common for c in beyond) * 5 > len(beyond) else "Shift-JIS or another encoding"


@cache
def _common() -> frozenset[str]:
    """The 3,755 characters of GB2312's first level: of modern Chinese nine in ten, of Tang poems six."""
    levels = ((high, low) for high in range(0xB0, 0xD8) for low in range(0xA1, 0xFF))
    return frozenset(bytes(pair).decode("gb2312", "ignore") for pair in levels) - {""}


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


def decoder(encoding: str) -> codecs.IncrementalDecoder:
    """For text that comes in blocks."""
    if encoding == "gb18030":
        return _ByLine(handler(encoding))
    return codecs.getincrementaldecoder(encoding)(handler(encoding))


def decoded(line: bytes, encoding: str) -> str:
    """A line of a file of an encoding in which ASCII is ASCII."""
    if encoding == "gb18030" and is_utf8_all_the_same(line):
        encoding = "utf-8"
    return line.decode(encoding, "surrogateescape")


def is_utf8_all_the_same(line: bytes) -> bool:
    """Does a line say something Chinese in UTF-8?"""
    try:
        return not line.isascii() and any("\u4e00" <= c <= "\u9fff" for c in line.decode())
    except UnicodeDecodeError:
        return False


class _ByLine(codecs.IncrementalDecoder):
    """GB18030, and what lines of UTF-8 stand between; a line is held back until it ends, or is too long to be one."""

    def __init__(self, errors: str):
        super().__init__(errors)
        self._held: list[bytes] = []
        self._long = codecs.getincrementaldecoder("gb18030")(errors)

    def decode(self, data: Any, final: bool = False) -> str:
        """The lines that end here."""
        self._held.append(bytes(data))
        ends = final or b"\n" in data or b"\r" in data
        if not ends and sum(map(len, self._held)) <= LONGEST:
            return ""
        whole = b"".join(self._held)
        cut = len(whole) if final else max(whole.rfind(b"\n"), whole.rfind(b"\r")) + 1
        self._held = [whole[cut:]]
        if not ends:
            self._held = []
            return self._long.decode(whole)
        begun = self._long.getstate()[0]  # a character of a long line that was cut in two
        self._long.reset()
        return "".join(decoded(line, "gb18030") for line in (begun + whole[:cut]).splitlines(keepends=True))


def text_lines(file: BinaryIO, encoding: str, longest: int | None = None) -> Iterator[tuple[int, str | None]]:
    """Lines, however they end, with their end and the bytes that each takes; None for one longer than `longest`."""
    if encoding.startswith(("utf-16", "utf-32")):
        for text in io.TextIOWrapper(file, encoding=encoding, errors=handler(encoding), newline=""):
            yield byte_length(text, encoding), text
        return
    plain = encoding.removesuffix("-sig")
    for number, (size, raw) in enumerate(_raw_lines(file, longest)):
        begins = encoding != plain and number == 0
        line = None if raw is None else decoded(raw.removeprefix(codecs.BOM_UTF8) if begins else raw, plain)
        yield size - (bom_length(encoding) if begins else 0), line


def _raw_lines(file: BinaryIO, longest: int | None) -> Iterator[tuple[int, bytes | None]]:
    """Lines of bytes and their sizes."""
    held, skipped = list[bytes](), 0
    while block := file.read1(_BLOCK):  # type: ignore[attr-defined]
        held.append(block)
        if b"\n" in block or b"\r" in block or held[0].endswith(b"\r"):
            lines = b"".join(held).splitlines(keepends=True)
            held = [lines.pop()] if not lines[-1].endswith(b"\n") else []  # behind \r may come \n
            for line in lines:
                yield len(line) + skipped, None if skipped else line
                skipped = 0
        if longest and (size := sum(map(len, held))) > longest:
            held, skipped = [], skipped + size
    if held or skipped:
        left = b"".join(held)
        yield len(left) + skipped, None if skipped else left


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
