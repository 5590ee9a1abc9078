"""Where raw files lie and how they are packed: local paths, any fsspec URL, and .gz .bz2 .zst and .zip around them.

A file is named by a string: a path with slashes, a URL (`s3://…`), or a member of an archive, `a.zip!/inner.json`.
What a damaged file holds before the damage can be had by `read1` and by reading lines; `read` may lose it.
"""

from __future__ import annotations

import bz2
import glob
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import pyarrow as pa

from utils.console import UserError, well_formed

MEMBER = "!/"
"""Stands between an archive and what lies in it."""

PACKED = (".gz", ".bz2", ".zst", ".zip")
_MAGIC = ((b"\x1f\x8b", ".gz"), (b"BZh", ".bz2"), (b"\x28\xb5\x2f\xfd", ".zst"), (b"PK\x03\x04", ".zip"))
_OFFICE = (".xlsx", ".docx", ".pptx", ".ods", ".odt", ".epub")

CORRUPT = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError, pa.ArrowException, OSError)
"""What reading a damaged file raises; look for FileNotFoundError and PermissionError first, which are OSErrors.
An archive packed in a way that Python does not know (deflate64 of Windows) is damaged for us."""


def is_url(name: str) -> bool:
    """Is it for fsspec?"""
    return "://" in name


def is_hub(name: str) -> bool:
    """A dataset of the hub, `hf://owner/name`, and not a file in one (`hf://datasets/…`, which fsspec knows)."""
    return name.startswith("hf://") and not name.startswith(("hf://datasets/", "hf://spaces/", "hf://buckets/"))


def is_member(name: str) -> bool:
    """Does it lie in an archive?"""
    return bool(apart(name)[1])


def file_system(name: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it."""
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(name)
    except (ImportError, ValueError) as error:
        raise UserError(f"{well_formed(name)}: {error}; install that, or copy the file to this machine") from None
    return system, cast(str, path)


def size_of(name: str) -> int:
    """Bytes on disk; of an archive's member, unpacked; 0 if nobody says."""
    archive, member = apart(name)
    if member:
        with _plain(archive) as file, _zip(file) as opened:
            return opened.getinfo(member).file_size
    if is_url(name):
        system, path = file_system(name)
        return int(system.size(path) or 0)
    return Path(name).stat().st_size


def matching(pattern: str) -> list[str]:
    """The files that a path, a glob or a folder of a URL names, sorted; nothing if there are none."""
    if is_url(pattern):
        return _matching_url(pattern)
    path = Path(pattern)
    if path.exists() and not path.is_file() and not path.is_dir():
        raise UserError(f"{well_formed(pattern)}: a pipe or a device; save what it says as a file")
    if path.exists():
        return [path.as_posix()]
    return [Path(p).as_posix() for p in sorted(glob.glob(pattern, recursive=True)) if Path(p).is_file()]


def _matching_url(pattern: str) -> list[str]:
    system, path = file_system(pattern)
    if system.isfile(path):
        return [pattern]
    if system.isdir(path):
        found = system.find(path)
    else:
        found = [one for one in system.glob(path) if system.isfile(one)] if glob.has_magic(path) else []
    return [f"{pattern.partition('://')[0]}://{_without_protocol(system, one)}" for one in sorted(found)]


def _without_protocol(system: Any, path: str) -> str:
    return cast(str, system.unstrip_protocol(path)).partition("://")[2]


def is_archive(name: str) -> bool:
    """Is it a .zip, whose members are the files to be read?"""
    return not is_hub(name) and not is_member(name) and packing(name) == ".zip"


def members(name: str) -> list[str]:
    """An archive's files, each by its full name."""
    if name.lower().endswith(_OFFICE):
        raise UserError(f"{well_formed(name)}: a file of an office program; save it there as CSV or plain text, UTF-8")
    try:
        with _plain(name) as file, _zip(file) as opened:
            inner = [one for one in opened.infolist() if not one.is_dir() and "__MACOSX/" not in one.filename]
    except zipfile.BadZipFile as error:
        raise UserError(f"{well_formed(name)}: damaged ({error}); copy it again") from None
    if any(one.flag_bits & 1 for one in inner):
        raise UserError(f"{well_formed(name)}: locked with a password; unpack it, and name the folder")
    names = [one.filename for one in inner]
    if len(set(names)) < len(names):
        twice = next(one for one in names if names.count(one) > 1)
        raise UserError(f"{well_formed(name)}: holds two files called {well_formed(twice)}; unpack it, and name them")
    return [f"{name}{MEMBER}{member}" for member in sorted(names)]


def packing(name: str) -> str:
    """`.gz`, `.bz2`, `.zst` or `.zip`, by the file's first bytes; nothing if it is plain, or no more to be read."""
    try:
        with _unarchived(name) as file:
            return _packing_of(file)
    except (FileNotFoundError, PermissionError):
        raise
    except CORRUPT:
        return ""


def suffix_of(name: str) -> str:
    """`.json` of `a.json` and of `a.JSON.gz`."""
    return Path(unpacked_name(name).lower()).suffix


def unpacked_name(name: str) -> str:
    """A file's own name, without its folder, the suffix of what it is packed in, and a URL's question."""
    path = Path((name.partition("?")[0] if is_url(name) else name).rpartition(MEMBER)[2])
    return path.stem if path.suffix.lower() in PACKED else path.name


@contextmanager
def open_binary(name: str) -> Iterator[BinaryIO]:
    """The file's bytes, unpacked."""
    with _unarchived(name) as file:
        kind = _packing_of(file)
        if kind == ".gz":
            with gzip.open(file, "rb") as inner:
                yield cast(BinaryIO, inner)
        elif kind == ".bz2":
            with bz2.open(file, "rb") as inner:
                yield cast(BinaryIO, inner)
        elif kind == ".zst":
            with pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd") as stream:
                yield cast(BinaryIO, io.BufferedReader(_Raw(stream)))
        else:
            yield file


def beginning(name: str, size: int) -> bytes:
    """The first bytes, unpacked, as far as they can be read; UserError if there are some and none can be."""
    taken = bytearray()
    try:
        with open_binary(name) as file:
            while len(taken) < size and (block := file.read1(size - len(taken))):  # type: ignore[attr-defined]
                taken += block
    except (FileNotFoundError, PermissionError):
        raise
    except CORRUPT as error:
        if not taken:
            raise UserError(f"{well_formed(name)}: damaged ({error}); copy it again") from None
    return bytes(taken)


class _Raw(io.RawIOBase):
    """An Arrow stream as Python knows files."""

    PIECE = 1 << 14
    """Bytes asked for at once: what stands so shortly before damage is lost with it."""

    def __init__(self, stream: Any):
        self.stream = stream

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill what fits."""
        data = self.stream.read(min(len(buffer), self.PIECE))
        buffer[: len(data)] = data
        return len(data)


def apart(name: str) -> tuple[str, str]:
    """An archive and its member; the name and nothing if it is no member (a folder's name may end in `!`)."""
    at = name.find(MEMBER)
    while at >= 0:
        archive, member = name[:at], name[at + len(MEMBER) :]
        if is_url(name) or Path(archive).is_file():
            return archive, member
        at = name.find(MEMBER, at + 1)
    return name, ""


@contextmanager
def _unarchived(name: str) -> Iterator[BinaryIO]:
    archive, member = apart(name)
    with _plain(archive) as file:
        if member:
            with _zip(file) as opened, opened.open(member) as inner:
                yield cast(BinaryIO, inner)
        else:
            yield file


def _packing_of(file: BinaryIO) -> str:
    head = file.peek(4)  # type: ignore[attr-defined]
    return next((kind for magic, kind in _MAGIC if head.startswith(magic)), "")


def _zip(file: BinaryIO) -> zipfile.ZipFile:
    """An archive; names that are not UTF-8 are mostly of a Chinese Windows."""
    try:
        return zipfile.ZipFile(cast(IO[bytes], file), metadata_encoding="gb18030")
    except UnicodeDecodeError:
        return zipfile.ZipFile(cast(IO[bytes], file))


def _plain(name: str) -> BinaryIO:
    if is_url(name):
        system, path = file_system(name)
        return cast(BinaryIO, io.BufferedReader(system.open(path, "rb"), 1 << 20))
    return Path(name).open("rb")
