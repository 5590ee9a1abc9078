"""What may befall a run from outside: signals, a launcher that dies, a disk that fills."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from utils.console import UserError, disk_is_full, no_room, tell, warn, when_nobody_reads, wishes


class StopRequest:
    """Remembers the first signal that asks the run to stop; a second Ctrl-C, if meant, stops at once."""

    def __init__(self) -> None:
        self.signum, self._when = 0, 0.0

    def __call__(self, signum: int, frame: object) -> None:
        # A launcher hands on the Ctrl-C that the terminal has sent us already: that is not a second one.
        meant = time.monotonic() - self._when > 1 and "TORCHELASTIC_RUN_ID" not in os.environ
        if self.signum and signum == signal.SIGINT and meant:
            raise KeyboardInterrupt
        self.signum, self._when = self.signum or signum, time.monotonic()


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Within: a signal is remembered, so that a step ends and a checkpoint is saved before leaving. So is a reader of
    our words that goes away (`… | head`), which by itself would end us in the middle of a step."""
    request = StopRequest()
    before = {number: signal.signal(number, request) for number in (signal.SIGINT, *wishes())}
    try:
        with when_nobody_reads(lambda: request(getattr(signal, "SIGPIPE", signal.SIGTERM), None)):
            yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def follow_parent() -> None:
    """Let the kernel (Linux's) end this process when the one that started it dies, whatever its threads wait for."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def die_with_launcher() -> None:
    """A launcher killed by force leaves its workers behind; each follows it, and elsewhere than on Linux watches it.

    The thread alone would not do: torch may wait for a thread of its own in the middle of an error, holding the lock
    that all Python threads need.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ and "YAYA_PARENT" not in os.environ:
        return
    parent = os.getppid()
    follow_parent()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def survives_full_disk(what: str, write: Callable[[], object]) -> bool:
    """Was it written? A full disk costs a checkpoint or a line of the log, never the run."""
    try:
        write()
    except Exception as error:
        if not disk_is_full(error):
            raise
        english, chinese = no_room(error)
        warn(
            tell(
                f"{english}: {what} was not saved; training goes on, the older checkpoint stays; make room",
                f"{chinese}：{what} 未能保存；训练继续，旧检查点仍在；请腾出空间",
            )
        )
        return False
    return True


@contextmanager
def room_for_temporary_files() -> Iterator[None]:
    """Within: where the temporary folder has no room left, the person is told which one it is."""
    try:
        yield
    except OSError as error:
        # `tempfile` writes into each folder that it knows before it takes one; it may find none.
        nowhere = isinstance(error, FileNotFoundError) and tempfile.tempdir is None
        if not (nowhere or disk_is_full(error)):
            raise
        place = tempfile.tempdir or "no temporary folder can be written"
        mend = "free some space there, or name a folder on another disk in TMPDIR"
        raise UserError(f"disk full: {place}, where text of a stream waits; {mend}") from error
