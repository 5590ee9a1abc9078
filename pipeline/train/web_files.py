"""A URL comes in (`http://`, `https://`); a file that `datasets` can read and seek in goes out.

fsspec's own takes a short answer for the end of a file in places, waits five minutes on a silent host, and needs
aiohttp. Here every answer is measured against what was asked for, silence ends after TIMEOUT, and a read that
breaks goes on at the byte where it broke. A host that serves no ranges is asked once for each file, which is read
from a copy in the temporary folder.
"""

from __future__ import annotations

import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPResponse
from typing import IO, Any, ClassVar
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

import fsspec
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

from pipeline.train.guards import room_for_temporary_files
from pipeline.train.patience import Patience, Refusal, kind_of_refusal
from utils.console import say, tell

TIMEOUT = 60.0
"""Seconds of silence that end a try."""

BLOCK = 8 << 20
"""Bytes a request brings beyond those that were asked for."""

_PIECE = 1 << 20
_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+)")


class Changed(ValueError):
    """The file is not the one that was opened."""


@dataclass(frozen=True)
class About:
    """What a host says of a file."""

    size: int
    tag: str
    """Changes with the file; "" if the host gives none."""
    ranges: bool
    """Does it serve parts of the file?"""


class Seen:
    """What this process knows of the web: each file as it was when first asked for, and a copy of one."""

    def __init__(self) -> None:
        self.files: dict[str, About] = {}
        self._copy: tuple[str, IO[bytes]] | None = None
        self._reading = threading.Lock()
        self._said = False

    def about(self, url: str) -> About:
        """Asked once: a file that changes after that is found by its next answer."""
        patience = Patience(url)
        while url not in self.files:
            try:
                with _asked(url, 0, 1) as answer:
                    self.files[url] = _about(answer)
            except Exception as error:
                patience.wait(error)
        return self.files[url]

    def read_copy(self, url: str, start: int, end: int) -> bytes:
        """Some bytes of a file that comes only whole; one at a time is kept, since files are read one by one."""
        with self._reading:
            if self._copy is None or self._copy[0] != url:
                if self._copy:
                    self._copy[1].close()
                    self._copy = None
                self._copy = url, self._fetched(url)
            file = self._copy[1]
            file.seek(start)
            return file.read(end - start)

    def _fetched(self, url: str) -> IO[bytes]:
        patience, about = Patience(url), self.about(url)
        with room_for_temporary_files():
            self._say_where(url, about)
            file = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as it is read)
            while True:
                try:
                    file.seek(0)
                    with _asked(url, 0, about.size) as answer:
                        _refuse_change(_about(answer), about)
                        for piece in _pieces(answer, about.size):
                            file.write(piece)
                    file.flush()
                    return file
                except Exception as error:
                    patience.wait(error)

    def _say_where(self, url: str, about: About) -> None:
        if self._said:
            return
        self._said = True
        size, place = f"{about.size / 1e6:,.1f} MB", tempfile.gettempdir()
        say(
            tell(
                f"{url}: the host sends no parts of files; a copy of {size}, one file at a time, goes to {place}",
                f"{url}：该主机不支持分段读取；文件将逐个（此文件 {size}）复制到 {place}",
            )
        )


class WebFiles(AbstractFileSystem):
    """fsspec's view of the web: single files, no folders."""

    protocol = ("http", "https")
    seen: ClassVar[Seen] = Seen()
    """One for all: fsspec makes an instance of this class for each thread."""

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        about = self.seen.about(path)
        return {"name": path, "type": "file", "size": about.size, "ETag": f"{about.tag}/{about.size}"}

    def exists(self, path: str, **_: Any) -> bool:
        try:
            return bool(self.seen.about(path))
        except FileNotFoundError:
            return False

    isfile = exists

    def glob(self, path: str, maxdepth: int | None = None, **_: Any) -> dict[str, dict[str, Any]]:
        return {path: self.info(path)}

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **_: Any) -> WebFile:
        return WebFile(self, path, mode, block_size or BLOCK, size=self.seen.about(path).size)


class WebFile(AbstractBufferedFile):
    """One file of the web, read block by block."""

    fs: WebFiles

    def _fetch_range(self, start: int, end: int) -> bytes:
        """Exactly these bytes; a broken answer is taken up where it broke."""
        data = bytearray()
        patience = Patience(self.path)
        while len(data) < end - start:
            before = len(data)
            try:
                if not self._add(data, start + before, end):
                    return self.fs.seen.read_copy(self.path, start, end)
            except Exception as error:
                if len(data) > before:
                    patience.renew()
                patience.wait(error)
        return bytes(data)

    def _add(self, data: bytearray, start: int, end: int) -> bool:
        """Ask for the bytes from start on and keep what comes of them; False if this host serves no ranges."""
        about = self.fs.seen.about(self.path)
        if not about.ranges:
            return False
        with _asked(self.path, start, end) as answer:
            _refuse_change(_about(answer), about)
            if answer.status == 200:
                self.fs.seen.files[self.path] = replace(about, ranges=False)
                return False
            if answer.status != 206:
                raise ConnectionError(f"HTTP {answer.status}")
            first, last = _span(answer)
            if first != start or not start <= last < end:
                raise ConnectionError(f"bytes {first}-{last} came for {start}-{end - 1}")
            for piece in _pieces(answer, last + 1 - start):
                data += piece
        return True


def _pieces(answer: HTTPResponse, count: int) -> Iterator[bytes]:
    """All `count` bytes of an answer, or an error behind those that came."""
    came = 0
    while came < count:
        piece = answer.read1(min(_PIECE, count - came))
        if not piece:
            raise ConnectionError(f"{came:,} of {count:,} bytes came")
        came += len(piece)
        yield piece


@contextmanager
def _asked(url: str, start: int, end: int) -> Iterator[HTTPResponse]:
    """The answer to a request for some bytes; a refusal as the error that a file system would raise."""
    headers = {"Range": f"bytes={start}-{max(start, end - 1)}", "Accept-Encoding": "identity", "User-Agent": "yaya"}
    request = Request(quote(url, safe="%/:=&?~#+!$,;'@()*[]"), headers=headers)
    try:
        with urlopen(request, timeout=TIMEOUT) as answer:
            yield answer
    except HTTPError as error:
        with error:
            if error.code == 416 and _RANGE.fullmatch(error.headers.get("Content-Range", "")):
                yield error  # type: ignore[misc]  # an empty file has no first byte
            else:
                raise _refusal(url, error) from None


_REFUSALS: dict[Refusal, type[Exception]] = {
    "missing": FileNotFoundError,
    "forbidden": PermissionError,
    "wrong": ValueError,
    "passing": ConnectionError,
}


def _refusal(url: str, error: HTTPError) -> Exception:
    return _REFUSALS[kind_of_refusal(error.code)](f"HTTP {error.code} {error.reason}: {url}")


def _about(answer: HTTPResponse) -> About:
    """What an answer says of the whole file."""
    headers = answer.headers
    if headers.get_content_type() == "text/html":  # of a gateway that wants a login, or of a host in trouble
        raise ConnectionError("a page came in place of the file")
    if headers.get("Content-Encoding", "identity") != "identity":
        raise ValueError(f"the host packs it on the way ({headers['Content-Encoding']}), so its length is not known")
    whole = _RANGE.fullmatch(headers.get("Content-Range", "")) if answer.status in (206, 416) else None
    size = whole[3] if whole else headers.get("Content-Length") if answer.status == 200 else None
    if size is None:
        raise ValueError("the host does not say how long it is, so an answer that broke off could not be told")
    tags = headers.get("ETag", ""), headers.get("Last-Modified", "")
    return About(int(size), next((tag for tag in tags if tag and not tag.startswith("W/")), ""), answer.status != 200)


def _span(answer: HTTPResponse) -> tuple[int, int]:
    found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    assert found, "_about has read it"
    return int(found[1]), int(found[2])


def _refuse_change(now: About, then: About) -> None:
    if now.tag and then.tag and now.tag != then.tag:
        raise Changed("it changed while it was read")
    if now.size != then.size:  # without a tag it may be some passing answer
        raise ConnectionError(f"the host says {now.size:,} bytes, and said {then.size:,}")


def register() -> None:
    """From now on fsspec opens http and https through this module."""
    for protocol in WebFiles.protocol:
        fsspec.register_implementation(protocol, WebFiles, clobber=True)


def forget() -> None:
    """From now on every file is asked for anew."""
    WebFiles.seen = Seen()
