"""A read that breaks is tried again, after pauses that grow; what would only break again is told at once."""

from __future__ import annotations

import ssl
import time
import zlib
from gzip import BadGzipFile
from lzma import LZMAError
from typing import Literal

from utils.console import disk_is_full, tell, warn

PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
"""Seconds before each new try: two minutes in all, and what came in between starts them anew."""

BUGS = (AssertionError, AttributeError, NameError, TypeError)
"""Mistakes of a program: never tried again, and never told as the person's."""

_LASTING = (FileNotFoundError, PermissionError, ImportError, MemoryError, NotImplementedError)
_OF_CONTENT = (ValueError, LookupError, EOFError, BadGzipFile, LZMAError, zlib.error)
"""Wrong names, wrong columns, damaged files: pyarrow's errors of content are ValueErrors, and so is `UserError`."""

Refusal = Literal["missing", "forbidden", "wrong", "passing"]


class GaveUp(ConnectionError):
    """All tries failed: whoever reads through several layers need not try each of them again."""


class Patience:
    """How often a read may still be tried again."""

    def __init__(self, what: str):
        self.what = what
        self._tries = 0

    def renew(self) -> None:
        """Something came: the pauses start anew."""
        self._tries = 0

    def wait(self, error: Exception) -> None:
        """Say what broke, and wait; or raise, if another try cannot help, or this was the last."""
        if is_lasting(error):
            raise error
        told = one_line(error)
        if self._tries == len(PAUSES):
            raise GaveUp(f"{self.what}: {told}, after {self._tries + 1} tries") from error
        pause = PAUSES[self._tries]
        self._tries += 1
        warn(
            tell(
                f"{self.what} broke off ({told}); try {self._tries} of {len(PAUSES)} in {pause:g} s",
                f"{self.what} 读取中断（{told}）；{pause:g} 秒后重试（第 {self._tries} 次，共 {len(PAUSES)} 次）",
            )
        )
        time.sleep(pause)


def is_lasting(error: Exception) -> bool:
    """Would the same read fail again? A host's own error (5xx), too much at once (429) and any silence may pass."""
    status = http_status(error)
    if status:
        return kind_of_refusal(status) != "passing"
    known = isinstance(error, (GaveUp, *_LASTING, *BUGS)) or is_of_content(error)
    return known or of_full_disk(error) or of_certificate(error)


def is_of_content(error: Exception) -> bool:
    """Is what came no file of its kind? A plain OSError without a number is pyarrow's, of bytes that do not unpack."""
    does_not_unpack = (type(error) is OSError and error.errno is None) or type(error).__name__ == "ZstdError"
    return isinstance(error, _OF_CONTENT) or does_not_unpack


def of_full_disk(error: BaseException) -> bool:
    """Had this machine no room left?"""
    return any(map(disk_is_full, _with_causes(error)))


def of_certificate(error: BaseException) -> bool:
    """Did the host not prove who it is?"""
    return any(isinstance(e, ssl.SSLCertVerificationError) for e in _with_causes(error))


def _with_causes(error: BaseException) -> list[BaseException]:
    """An error, and those that it was raised from: libraries put their own in front."""
    found = [error]
    while (deeper := found[-1].__cause__ or found[-1].__context__) and deeper not in found:
        found.append(deeper)
    return found


def http_status(error: Exception) -> int:
    """What the hub answered; 0 if this is no answer of the hub."""
    from huggingface_hub.errors import HfHubHTTPError

    return error.response.status_code if isinstance(error, HfHubHTTPError) else 0


def kind_of_refusal(status: int) -> Refusal:
    """What an HTTP status that is no success says: of these only the last may change when asked again."""
    if status in (404, 410):
        return "missing"
    if status in (401, 403):
        return "forbidden"
    return "wrong" if 400 <= status < 500 and status not in (408, 425, 429) else "passing"


def one_line(error: BaseException) -> str:
    """An error's kind and words."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
