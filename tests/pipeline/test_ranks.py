"""Before any process group exists: rank 0 prepares, the others wait for this launch's rank 0 and no other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.ranks import TICKET
from tests.commands import ROOT, environment

RANK = """
import sys, time
from pathlib import Path
from pipeline.ranks import prepared
from pipeline.watch import Watch
workspace = Path(sys.argv[1])
def prepare():
    time.sleep(float(sys.argv[2]))
    (workspace / "ready").write_text("")
with prepared(workspace, prepare, Watch()):
    print((workspace / "ready").exists())
    time.sleep(float(sys.argv[3]))
"""


def start(rank: int, workspace: Path, prepare: float = 0, work: float = 0) -> subprocess.Popen[str]:
    """One rank of a launch of two."""
    return subprocess.Popen(
        [sys.executable, "-c", RANK, str(workspace), str(prepare), str(work)],
        cwd=ROOT, env=environment(RANK=str(rank), WORLD_SIZE="2"), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def soon(true: Callable[[], object]) -> None:
    """Wait for it, but not forever."""
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def tickets(workspace: Path) -> list[Path]:
    return list(workspace.glob(f"{TICKET}*"))


def test_a_rank_that_comes_early_waits(tmp_path: Path) -> None:
    (tmp_path / f"{TICKET}of-a-killed-launch").touch()
    one = start(1, tmp_path)
    soon(lambda: len(tickets(tmp_path)) == 2)
    zero = start(0, tmp_path, prepare=1, work=2)
    assert one.communicate(timeout=30)[0] == "True\n"
    assert zero.communicate(timeout=30)[0] == "True\n"
    assert tickets(tmp_path) == []


def test_a_rank_that_comes_late_goes_on(tmp_path: Path) -> None:
    zero = start(0, tmp_path, work=6)
    soon((tmp_path / "ready").exists)
    time.sleep(1)
    one = start(1, tmp_path)
    assert one.communicate(timeout=30)[0] == "True\n"
    assert zero.poll() is None  # it was not the end of rank 0 that let it go
    zero.communicate(timeout=30)


def test_a_rank_that_is_stopped_leaves_no_ticket(tmp_path: Path) -> None:
    one = start(1, tmp_path / "new")
    soon(lambda: tickets(tmp_path / "new"))
    one.send_signal(signal.SIGINT)
    one.communicate(timeout=30)
    assert tickets(tmp_path / "new") == []


def test_a_rank_whose_launcher_died_does_not_wait_forever(tmp_path: Path) -> None:
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {RANK!r}, *sys.argv[1:]]); input()"
    launcher = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), "0", "0"],
        cwd=ROOT, env=environment(RANK="1", WORLD_SIZE="2"), stdin=subprocess.PIPE,
    )  # fmt: skip
    soon(lambda: tickets(tmp_path))
    os.kill(launcher.pid, signal.SIGKILL)
    launcher.communicate()
    soon(lambda: not tickets(tmp_path))
