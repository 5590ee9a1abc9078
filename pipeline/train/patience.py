"""A read that breaks is tried again, after pauses that grow; what would only break again is told at once."""

from __future__ import annotations

import time

from utils.console import UserError, tell, warn

PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
"""Seconds before each new try: two minutes in all, and what came in between starts them anew."""

_OUR_OWN = (FileNotFoundError, PermissionError, EOFError, ImportError, MemoryError, NotImplementedError)
_NOT_A_HOST = (ValueError, TypeError, LookupError, AttributeError, AssertionError)
"""Wrong names, wrong columns, damaged files: pyarrow's errors of content are ValueErrors."""


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
        return is_lasting_status(status)
    return isinstance(error, (GaveUp, UserError, *_OUR_OWN, *_NOT_A_HOST))


def http_status(error: Exception) -> int:
    """What the hub answered; 0 if this is no answer of the hub."""
    from huggingface_hub.errors import HfHubHTTPError

    return error.response.status_code if isinstance(error, HfHubHTTPError) else 0


def is_lasting_status(code: int) -> bool:
    """Does this HTTP status say that asking again is of no use?"""
    return 400 <= code < 500 and code not in (408, 425, 429)


def one_line(error: BaseException) -> str:
    """An error's kind and words."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
