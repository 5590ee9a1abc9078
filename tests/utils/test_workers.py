"""Tasks over processes: all results, errors at once, and nobody left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from utils.console import UserError
from utils.workers import run_apart, run_tasks


def square(number: int) -> tuple[int, int]:
    return number * number, os.getpid()


def fail_or_wait(number: int) -> int:
    if number == 0:
        raise UserError("task 0 failed")
    time.sleep(60)
    return number


def die(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def note_and_wait(path: Path) -> None:
    path.write_text(str(os.getpid()))
    time.sleep(60)


def run_and_wait(folder: str) -> None:
    list(run_tasks(note_and_wait, [Path(folder) / "a", Path(folder) / "b"], 2))


def test_all_results_from_other_processes_and_inline():
    for workers in (1, 2):
        results = list(run_tasks(square, list(range(9)), workers))
        assert sorted(value for value, _ in results) == [n * n for n in range(9)]
        assert (os.getpid() in {pid for _, pid in results}) == (workers == 1)


def test_an_error_ends_the_others_at_once():
    began = time.monotonic()
    with pytest.raises(UserError, match="task 0 failed"):
        list(run_tasks(fail_or_wait, [0, 1], 2))
    assert time.monotonic() - began < 30
    assert not multiprocessing.active_children()


def test_a_killed_worker_is_told():
    with pytest.raises(UserError, match="fewer workers="):
        list(run_tasks(die, [0, 1], 2))


def test_one_task_apart():
    value, pid = run_apart(square, 7, "ask for less")
    assert value == 49
    assert pid != os.getpid()
    with pytest.raises(UserError, match="want of memory; ask for less"):
        run_apart(die, 0, "ask for less")


@pytest.mark.skipif(os.name != "posix", reason="kills a process as POSIX does")
def test_workers_die_with_their_parent(tmp_path: Path):
    code = (
        f"from tests.utils.test_workers import run_and_wait\nif __name__ == '__main__': run_and_wait({str(tmp_path)!r})"
    )
    script = tmp_path / "parent.py"
    script.write_text(code)
    root = Path(__file__).parents[2]
    parent = subprocess.Popen([sys.executable, str(script)], cwd=root, env=os.environ | {"PYTHONPATH": str(root)})
    try:
        pids = [int(_when_written(tmp_path / name)) for name in "ab"]
    finally:
        parent.kill()
        parent.wait()
    deadline = time.monotonic() + 20
    while any(_lives(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_lives(pid) for pid in pids)


def _when_written(path: Path) -> str:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if path.is_file() and path.read_text():
            return path.read_text()
        time.sleep(0.05)
    raise AssertionError(f"{path} was never written")


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except OSError:
        return False
