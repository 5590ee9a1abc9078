"""What a person sees in the terminal, and how a program ends.

Errors of the user become one line and exit code 2; Ctrl-C ends with 130, SIGTERM with 143; everything else
is our bug and keeps its traceback (exit 1). Progress is drawn by rich on a terminal and printed as plain lines
elsewhere. Text meant for a person follows the locale, Chinese or English; error lines (`UserError`) are English
everywhere, so that a search finds them. Only rank 0 of a launch speaks, unless another rank alone fails.
"""

from __future__ import annotations

import atexit
import errno
import io
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn, TextIO, cast

EXIT_FILE = "YAYA_EXIT_FILE"
"""Environment variable: where a program notes its exit code, for a parent that a launcher stands in front of."""

RANK_0_GOES_FIRST = 5.0
"""Seconds that another rank's error waits: if rank 0 meets it too, its launcher ends the launch within them."""


class UserError(ValueError):
    """A mistake of the user: one line that names the file, field or value, and the mend."""


class Stopped(BaseException):
    """Asked to stop by a signal, and stopped in good order. Like KeyboardInterrupt, no `except Exception` holds it."""

    def __init__(self, message: str, signum: int = signal.SIGINT):
        super().__init__(message)
        self.code = 128 + signum


def is_chinese() -> bool:
    """Does the locale ask for Chinese? As in gettext: of LC_ALL, LC_MESSAGES and LANG the first that is set is the
    locale; LANGUAGE goes before it, unless it is C."""
    given = (os.environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    locale = next(filter(None, given), "C")
    if locale.partition(".")[0] not in ("C", "POSIX"):
        locale = os.environ.get("LANGUAGE") or locale
    return locale.lower().startswith("zh")


def tell(en: str, zh: str) -> str:
    """The text in the language of the person who reads it."""
    return zh if is_chinese() else en


def amount(count: float) -> str:
    """So many bytes, as people say it."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 1e3:,.1f} kB"


def well_formed(text: str) -> str:
    """Text that UTF-8 can hold: half characters, from a broken terminal, pipe or file, become U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def rank() -> int:
    """This process's number in its launch, by what the launcher has said; 0 without one."""
    return int(os.environ.get("RANK", "0"))


def speaks() -> bool:
    """Only one process of a launch talks to the terminal."""
    return rank() == 0


def say(text: str) -> None:
    """One line to the person, at once, from the one process that speaks."""
    if speaks():
        _print(text, sys.stdout)


def warn(text: str) -> None:
    """One line that should not be missed, on the error stream so that pipes keep it apart."""
    if speaks():
        _print(tell("warning: ", "警告：") + text, sys.stderr)


def _print(text: str, stream: TextIO) -> None:
    with _heard(stream):
        print(text, file=stream, flush=True)


@contextmanager
def _heard(stream: TextIO) -> Iterator[None]:
    """Within, something is written that may find no reader: see `when_nobody_reads`."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EIO):
            raise
        _speak_to_nobody(stream)
        if error.errno == errno.EIO:
            return  # a terminal is gone: its SIGHUP asks us to stop, and who has it ignored wants us to go on
        if not _WHEN_ALONE:
            raise
        _WHEN_ALONE[-1]()


_WHEN_ALONE: list[Callable[[], None]] = []


class _Screen:
    """A terminal to draw on, which may go away meanwhile: words will be missed, but not the drawing."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(BrokenPipeError), _heard(self._stream):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(BrokenPipeError), _heard(self._stream):
            self._stream.flush()

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


@contextmanager
def when_nobody_reads(act: Callable[[], None]) -> Iterator[None]:
    """Within: if the reader of a pipe that we write to goes away, that is no error; `act` is called."""
    _WHEN_ALONE.append(act)
    try:
        yield
    finally:
        _WHEN_ALONE.remove(act)


def _speak_to_nobody(stream: TextIO) -> None:
    """From now on what is written there is lost, and fails no more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def disk_is_full(error: BaseException) -> bool:
    """Or may a file grow no further? Libraries wrap ENOSPC in errors of their own; the words survive in all of them."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return full or "No space left on device" in str(error) or "os error 28" in str(error) or file_is_full(error)


def file_is_full(error: BaseException) -> bool:
    full = isinstance(error, OSError) and error.errno == errno.EFBIG
    return full or "File too large" in str(error) or "os error 27" in str(error)


def no_room(error: BaseException) -> tuple[str, str]:
    """What `disk_is_full` found, in English and in Chinese: a full disk, or a limit on the size of files."""
    if file_is_full(error):
        return "file size limit reached (ulimit -f)", "文件大小已达上限（ulimit -f）"
    return "disk full", "磁盘已满"


WAITING = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000"}
"""How threads wait for each other: some microseconds awake, then asleep. Awake for long, as they do unasked, they slow
each other down where cores are shared: products of a small model ran ten times slower beside one other process. Asleep
at once, a training step takes a sixth longer, and half as long again beside another process (docs/lab-notes.md)."""


def wishes() -> list[signal.Signals]:
    """Signals that ask a program to stop: besides SIGTERM, SIGUSR1 of a batch system whose time is nearly up (exit code
    138 tells it to put the job in again), and SIGHUP of a terminal that goes away, unless nohup has us ignore it.
    Windows has neither."""
    known = [getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGHUP") if hasattr(signal, name)]
    return [number for number in known if signal.getsignal(number) != signal.SIG_IGN]


def run_program(main: Callable[[], None]) -> NoReturn:
    """Run `main` and end the process as the house ends: see the module's first paragraph."""
    for name, value in WAITING.items():  # has to be said before torch is imported
        os.environ.setdefault(name, value)
    _make_streams_bearable()
    code = _exit_code(main)
    for wish in wishes():
        signal.signal(wish, signal.SIG_IGN)  # a late one, of a launcher, changes no exit code
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # all is said: an impatient second Ctrl-C ends what is left at once
    note = os.environ.get(EXIT_FILE)
    if note and code:
        _note_exit_code(note, code)
    sys.stdout.flush()
    if "TORCHELASTIC_RUN_ID" in os.environ:
        _leave_launch(code)
    sys.exit(code)


def _leave_launch(code: int) -> NoReturn:
    """End a rank without Python taking itself down, in which threads of torch and DeepSpeed may abort the process
    (one end in twelve of ZeRO-3 with offload, on a busy machine): the launcher would call a finished run failed."""
    atexit._run_exitfuncs()  # wandb's, and the watch's last word
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _make_streams_bearable() -> None:
    """A closed stdout swallows what is said; one that is not UTF-8 shows what it cannot say as escapes."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  (stays open as long as we do)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _exit_code(main: Callable[[], None]) -> int:
    def terminate(signum: int, frame: object) -> NoReturn:
        name = signal.Signals(signum).name
        english = f"stopped by {name}; the same command goes on"
        raise Stopped(tell(english, f"已被 {name} 停止；再次运行同一命令即可继续"), signum)

    for wish in wishes():
        signal.signal(wish, terminate)
    try:
        main()
    except UserError as error:
        return _fail(str(error))
    except Stopped as stopped:
        return _end_with(str(stopped), stopped.code)
    except SystemExit as end:  # a child said why it failed; Fire and argparse end this way too
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    except KeyboardInterrupt:
        return _end_with(
            tell("stopped by Ctrl-C; the same command goes on", "已被 Ctrl-C 停止；再次运行同一命令即可继续"), 130
        )
    except BrokenPipeError:
        _speak_to_nobody(sys.stdout)
        return 141
    except Exception as error:
        if disk_is_full(error):
            name = getattr(error, "filename", None)
            where = f" while writing {name}" if name else ""
            return _fail(f"{no_room(error)[0]}{where}; make room and run again")
        if isinstance(error, PermissionError):
            return _fail(f"{error.filename}: permission denied; allow it to this user, or name another path")
        if isinstance(error, OSError) and error.filename and error.strerror:
            return _fail(f"{error.filename}: {error.strerror.lower()}; mend that, or name another path")
        raise
    return 0


def _end_with(line: str, code: int) -> int:
    if speaks():
        _say_last(line)
    return code


def _fail(mistake: str) -> int:
    """Say the mistake. All ranks mostly meet the same one: the others wait, and speak if rank 0 did not end them."""
    if not speaks():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(RANK_0_GOES_FIRST)
    _say_last(f"error: {mistake}" if speaks() else f"rank {rank()}: error: {mistake}")
    return 2


def _say_last(words: str) -> None:
    """One line, why a program ends; to whom it may concern."""
    with suppress(OSError):
        _print(" ".join(words.split("\n")), sys.stderr)


def _note_exit_code(path: str, code: int) -> None:
    """The first process to fail names the reason; the others die of it."""
    try:
        with open(path, "x", encoding="ascii") as file:
            file.write(str(code))
    except OSError:  # another rank was first, or the disk is full: the parent falls back to the launcher's code
        return


class Meter:
    """A progress bar on a terminal; elsewhere a line when there is something new to say, at most every 10 s.

    `long_notes` say all there is to say, the time that is left among it: the bar makes room for them."""

    def __init__(self, title: str, total: int | None, unit: str = "", long_notes: bool = False):
        self.title, self.total, self.unit, self.done = title, total, unit, 0
        self._long_notes = long_notes
        self._started = self._spoken = time.monotonic()
        self._bar = self._draw() if speaks() and sys.stdout.isatty() else None

    def _draw(self):  # type: ignore[no-untyped-def]  # rich is imported only where something is drawn
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        count = "{task.completed:,.0f}" if self.total or self.unit else ""  # of what has no parts there is no count
        columns = (
            TextColumn("{task.description}"),
            BarColumn(10 if self._long_notes else 40),
            TextColumn(count + self._of_total() + " {task.fields[unit]} {task.fields[note]}"),
            *(() if self._long_notes else (TimeRemainingColumn(),)),
        )
        bar = Progress(*columns, transient=True, console=Console(file=cast(TextIO, _Screen(sys.stdout))))
        self._task = bar.add_task(self.title, total=self.total, unit=self.unit, note="")
        bar.start()
        return bar

    def advance(self, by: int = 1, note: str = "") -> None:
        """So much more is done; `note` stands beside the bar."""
        self.done += by
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, note=note)
        elif time.monotonic() - self._spoken > 10:
            self._spoken = time.monotonic()
            say(f"  {self.title}: {self.done:,}{self._of_total()} {self.unit} {note}".rstrip())

    def _of_total(self) -> str:
        return f"/{self.total:,}" if self.total else ""

    def close(self) -> None:
        """Take the bar off the screen; what was done is told by the stage's own closing line."""
        if self._bar is not None:
            self._bar.stop()


@contextmanager
def progress(title: str, total: int | None = None, unit: str = "") -> Iterator[Meter]:
    """`with progress("clean", 12, "files") as meter: … meter.advance()`."""
    meter = Meter(title, total, unit)
    try:
        yield meter
    finally:
        meter.close()
