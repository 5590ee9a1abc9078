"""What a person sees: the language, the bar on a real terminal, and how a program ends."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.commands import ROOT, TINY, environment
from utils.console import Stopped, is_chinese


@pytest.mark.parametrize(
    ("variables", "chinese"),
    [
        ({}, False),
        ({"LANG": "zh_CN.UTF-8"}, True),
        ({"LC_ALL": "C.UTF-8", "LANG": "zh_CN.UTF-8"}, False),
        ({"LC_ALL": "", "LANG": "zh_CN.UTF-8"}, True),
        ({"LC_MESSAGES": "en_US.UTF-8", "LANG": "zh_CN.UTF-8"}, False),
        ({"LC_ALL": "zh_TW", "LC_MESSAGES": "en_US.UTF-8"}, True),
        ({"LANG": "en_US.UTF-8", "LANGUAGE": "zh_CN:en"}, True),
        ({"LANG": "zh_CN.UTF-8", "LANGUAGE": "en:zh"}, False),
        ({"LC_ALL": "C", "LANGUAGE": "zh_CN"}, False),
        ({"LANGUAGE": "zh_CN"}, False),
    ],
)
def test_the_language_is_that_of_gettext(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], chinese: bool
) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG", "LANGUAGE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_chinese() == chinese


def in_terminal(words: Sequence[str | Path]) -> tuple[int, str]:
    """Run a real command on a pseudo-terminal: its exit code and all that it drew."""
    ours, theirs = pty.openpty()
    env = environment(TERM="xterm", COLUMNS="100")
    process = subprocess.Popen([str(w) for w in words], cwd=ROOT, env=env, stdout=theirs, stderr=theirs)
    os.close(theirs)
    drawn = b""
    try:
        while block := os.read(ours, 65536):
            drawn += block
    except OSError:  # on Linux, the end of a terminal
        pass
    os.close(ours)
    return process.wait(timeout=60), drawn.decode("utf-8", "replace")


BARS = """
import time
from utils.console import progress, run_program
def main():
    for total in (None, 3000):
        with progress("thing", total, "files") as meter:
            for _ in range(2):
                meter.advance(1500, "so far")
                time.sleep(0.3)
run_program(main)
"""


def test_a_bar_with_and_without_a_total() -> None:
    code, drawn = in_terminal([sys.executable, "-c", BARS])
    assert code == 0, drawn
    assert "3,000 files so far" in drawn
    assert "1,500/3,000 files so far" in drawn


def test_the_cheap_stages_on_a_terminal(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "pipeline", TINY, f"workspace={tmp_path / 'w'}", "--until=pack"]
    code, drawn = in_terminal(words)
    assert code == 0, drawn
    assert (tmp_path / "w" / "pack" / "manifest.json").is_file()


def ending(main: str, rank: str = "0") -> subprocess.Popen[str]:
    """A program whose body is `main`, on its way."""
    body = textwrap.indent(main, "    ")
    code = f"import time\nfrom utils.console import *\ndef main():\n{body}\nrun_program(main)"
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env=environment(RANK=rank), stderr=subprocess.PIPE, text=True
    )


def test_only_rank_0_tells_of_a_mistake_that_all_ranks_meet() -> None:
    other = ending("print('begun', file=sys.stderr, flush=True); raise UserError('no such file')", rank="1")
    assert other.stderr is not None
    assert other.stderr.readline() == "begun\n"
    time.sleep(0.5)
    other.terminate()  # as a launcher does when rank 0 has failed
    assert other.communicate(timeout=30)[1] == ""


def test_a_mistake_that_another_rank_meets_alone_is_told() -> None:
    other = ending("raise UserError('no such file')", rank="3")
    assert other.communicate(timeout=30)[1] == "rank 3: error: no such file\n"
    assert other.returncode == 2


def test_permission_denied_names_the_path(tmp_path: Path) -> None:
    path = tmp_path / "mine"
    # Root may read and write everything: raise what the system would.
    said = ending(f"raise PermissionError(13, 'Permission denied', {str(path)!r})").communicate(timeout=30)[1]
    assert said == f"error: {path}: permission denied; allow it to this user, or name another path\n"


def test_no_broad_except_holds_a_stop() -> None:
    process = ending("try:\n    signal.raise_signal(signal.SIGTERM)\nexcept Exception:\n    pass")
    said = process.communicate(timeout=30)[1]
    assert process.returncode == 128 + signal.SIGTERM, said
    assert "the same command goes on" in said
    assert not issubclass(Stopped, Exception)
