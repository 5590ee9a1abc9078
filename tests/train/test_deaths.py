"""Ranks that are killed by force under the real launchers: who died is named, all end, or go on by themselves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands import TINY, launcher, losses, metrics, run
from tests.train.test_resume import start, wait_for_step

Runs = Callable[..., Path]
ENDLESS = ["pretrain.max_steps=100000", "pretrain.save_every=20"]
WITHIN = 15  # seconds
LONG = 90
"""Steps of a run that ends, and is killed for sure before it does."""


def workers(process: subprocess.Popen[str]) -> dict[int, int]:
    """The pids of a launcher's ranks."""
    found = {}
    for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii").split():
        said = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        ranks = [int(word[5:]) for word in said if word.startswith(b"RANK=")]
        found |= {number: int(child) for number in ranks}
    return found


def command(engine: str, workspace: Path, *fields: str, more: list[str] | None = None) -> list[str]:
    words = launcher(engine)
    return [*words, *(more or []), "train.py", "train", TINY, f"workspace={workspace}", *fields]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("engine", "victim"),
    [
        pytest.param("ddp", 1, marks=pytest.mark.slow),
        pytest.param("ddp", 0, marks=pytest.mark.slow),
        pytest.param("zero2", 1, marks=pytest.mark.slow),
        ("zero3", 0),
    ],
)
def test_a_rank_killed_by_force_is_named_and_all_end(workspace: Path, engine: str, victim: int) -> None:
    process = start(command(engine, workspace, *ENDLESS))
    wait_for_step(workspace, 25, process)
    pids = workers(process)
    os.kill(pids[victim], signal.SIGKILL)
    began = time.monotonic()
    said, _ = process.communicate(timeout=60)
    took = time.monotonic() - began
    print(f"all ended within {took:.1f} s")
    assert took < WITHIN
    assert process.returncode == 1
    line = f"error: rank {victim} died (signal 9); the same command goes on from the newest checkpoint"
    assert said.count(line) == 1
    assert said.count("Traceback") == 1, "the launcher's own; our ranks have none"
    assert said.index(line) < said.index("Traceback")
    assert not any(map(alive, pids.values()))
    assert list((workspace / "pretrain" / "checkpoints").glob("step-*"))


@pytest.mark.parametrize(("engine", "victim"), [("ddp", 1), pytest.param("zero2", 0, marks=pytest.mark.slow)])
def test_with_max_restarts_the_run_goes_on_by_itself(runs: Runs, workspace: Path, engine: str, victim: int) -> None:
    """Both ways to lose a launch: rank 0, who holds the lock and writes, or another."""
    process = start(command(engine, workspace, f"pretrain.max_steps={LONG}", more=["--max_restarts", "1"]))
    wait_for_step(workspace, 8, process)
    os.kill(workers(process)[victim], signal.SIGKILL)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert f"rank {victim} died (signal 9); all begin again from the newest checkpoint (restart 1 of 1)" in said
    assert "going on from step" in said
    assert len(losses(workspace)) == LONG
    assert losses(workspace)[:40] == pytest.approx(losses(runs("single", steps=LONG))[:40], rel=1e-4)


@pytest.mark.slow
def test_a_mistake_is_told_once_however_many_restarts_are_left(workspace: Path) -> None:
    said = run(command("zero2", workspace, "pretrain.precision=fp16", more=["--max_restarts", "3"]), code=1)
    assert said.count("fp16 is not offered under DeepSpeed") == 1
    assert "begin again" not in said


@pytest.mark.slow
def test_a_signal_that_asks_to_stop_is_no_crash(workspace: Path) -> None:
    """SIGUSR1 to one rank, as from a batch system: all save and leave, and the launcher does not begin again."""
    process = start(command("ddp", workspace, *ENDLESS, more=["--max_restarts", "3"]))
    wait_for_step(workspace, 8, process)
    os.kill(workers(process)[1], signal.SIGUSR1)
    said, _ = process.communicate(timeout=60)
    assert "saved step" in said
    assert "begin again" not in said
    before = len(metrics(workspace))
    time.sleep(2)
    assert len(metrics(workspace)) == before


@pytest.mark.parametrize(
    "program", ["train.py", *(pytest.param(p, marks=pytest.mark.slow) for p in ("pipeline", "ddp"))]
)
def test_a_batch_systems_notice_saves_and_ends_with_138(workspace: Path, program: str) -> None:
    """To the training itself, or to the pipeline above it, whose child it is, or whose child's launcher's."""
    words = [sys.executable, "-m", "pipeline", TINY, f"workspace={workspace}", "--until=pretrain", *ENDLESS]
    words += ["launch.engine=ddp", "launch.num_processes=2"] if program == "ddp" else []
    process = start(command("single", workspace, *ENDLESS) if program == "train.py" else words)
    wait_for_step(workspace, 3, process)
    process.send_signal(signal.SIGUSR1)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 138, said
    assert "saved step" in said


@pytest.mark.slow
def test_a_rank_that_dies_before_all_have_met_ends_the_launch(workspace: Path) -> None:
    process = start(command("ddp", workspace, *ENDLESS))
    until = time.monotonic() + 60
    while len(workers(process)) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(2)
    os.kill(workers(process)[1], signal.SIGKILL)
    began = time.monotonic()
    said, _ = process.communicate(timeout=60)
    assert time.monotonic() - began < WITHIN, said
