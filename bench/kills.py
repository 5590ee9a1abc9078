"""Kill training runs by force at random moments, run the same command each time, and compare with a quiet run.

    python -m bench.kills [--kills 10] [--engine single|ddp|zero2|zero3] [--seed 0] [--recipe tests/train/tiny.yaml]

At its end a run must have the losses and the records of every step that the quiet one has, bit for bit, and its final
weights. Then the next begins, until so many kills have met a run before its end. Of a launch of two processes now the
launcher is killed, now one of its ranks.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SAVE_EVERY = 7
STEPS = 60
"""Of a run: some eight kills, for between two of them it comes about seven steps further."""

LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--num_machines", "1", "--num_processes", "2",
          "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]  # fmt: skip
LAUNCHERS = {
    "single": [sys.executable],
    "ddp": [*LAUNCH, "--multi_gpu"],
    "zero2": [*LAUNCH, "--use_deepspeed", "--zero_stage", "2"],
    "zero3": [*LAUNCH, "--use_deepspeed", "--zero_stage", "3"],
}


@dataclass(frozen=True)
class Run:
    """One run, left alone or killed again and again."""

    recipe: str
    engine: str
    steps: int
    workspace: Path

    @property
    def output(self) -> Path:
        """Where it writes."""
        return self.workspace / "pretrain"

    def command(self) -> list[str]:
        """The one command, run again after every kill."""
        fields = [f"workspace={self.workspace}", f"pretrain.max_steps={self.steps}"]
        fields += [f"pretrain.save_every={SAVE_EVERY}", "pretrain.record_ids=True"]
        return [*LAUNCHERS[self.engine], "train.py", "train", self.recipe, *fields]

    def step(self) -> int:
        """How far the log has come."""
        return len(read_lines(self.output / "metrics.jsonl", "loss"))

    def finished(self) -> bool:
        """Has it come to its end?"""
        return (self.output / "manifest.json").is_file()


def environment() -> dict[str, str]:
    """One thread, so that a shared machine does not slow the runs down."""
    return os.environ | {"OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"}


def read_lines(path: Path, key: str) -> list[dict[str, Any]]:
    """The whole lines of a file that hold this key."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n") and f'"{key}"' in line]


def children(pid: int) -> list[int]:
    """Processes that this one has started."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except OSError:
        return []
    return [int(word) for word in text.split()]


def run_and_kill(run: Run, dice: random.Random) -> str:
    """Start the command and kill it: a few steps from where it stands, or at any moment of its start."""
    process = subprocess.Popen(
        run.command(), cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    target = run.step() + dice.randint(1, 2 * SAVE_EVERY)
    until = time.monotonic() + (dice.uniform(1, 8) if dice.random() < 0.2 else 300)
    while process.poll() is None and run.step() < target and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(dice.uniform(0, 0.05))
    ranks = children(process.pid)
    victim, name = process.pid, "launcher" if ranks else "process"
    if ranks and dice.random() < 0.5:
        number = dice.randrange(len(ranks))
        victim, name = ranks[number], f"rank {number}"
    if process.poll() is None:
        os.kill(victim, signal.SIGKILL)
    elif process.returncode or not run.finished():
        raise AssertionError(f"the run ended by itself, exit {process.returncode}")
    code, step = process.wait(timeout=120), run.step()
    await_end(ranks)
    return f"{name}, exit {code} at step {step}"


def await_end(pids: list[int]) -> None:
    """Whatever the launcher leaves behind has to end by itself, soon."""
    until = time.monotonic() + 15
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < until, "ranks outlive their launch by 15 seconds"
        time.sleep(0.05)


def outcome(run: Run) -> tuple[list[float], list[list[dict[str, Any]]], str]:
    """The loss of every step, which records each step has read, rank by rank, and a hash of the final weights."""
    weights = (run.output / "model" / "model.safetensors").read_bytes()
    lines = read_lines(run.output / "metrics.jsonl", "loss")
    assert [line["step"] for line in lines] == list(range(1, run.steps + 1)), "a step is missing, or stands there twice"
    read = [read_lines(path, "ids") for path in sorted(run.output.glob("ids-*.jsonl"))]
    for one in read:
        assert [line["step"] for line in one] == list(range(1, run.steps + 1))
    return [line["loss"] for line in lines], read, hashlib.sha256(weights).hexdigest()


def compare(kills: int, seed: int, recipe: str, engine: str, folder: Path) -> None:
    """A quiet run, as many killed ones as it takes, and the verdict."""
    packed = folder / "packed"
    prepare = [sys.executable, "-m", "pipeline", recipe, f"workspace={packed}", "--until=pack"]
    subprocess.run(prepare, cwd=ROOT, env=environment(), check=True)
    quiet = Run(recipe, engine, STEPS, folder / "quiet")
    shutil.copytree(packed, quiet.workspace)
    subprocess.run(quiet.command(), cwd=ROOT, env=environment(), check=True)
    expected, dice, met, runs = outcome(quiet), random.Random(seed), 0, 0
    while met < kills:
        runs += 1
        killed = Run(recipe, engine, STEPS, folder / f"killed-{runs}")
        shutil.copytree(packed, killed.workspace)
        while met < kills and not killed.finished():
            said = run_and_kill(killed, dice)
            met += not killed.finished()
            counted = "too late" if killed.finished() else f"kill {met}"
            print(f"run {runs}, {counted}: {said}", flush=True)
        subprocess.run(killed.command(), cwd=ROOT, env=environment(), check=True)
        for ours, theirs, what in zip(outcome(killed), expected, ("losses", "records", "weights"), strict=True):
            assert ours == theirs, f"run {runs}: the {what} differ"
        shutil.rmtree(killed.workspace)
    print(
        f"{met} kills of {runs} runs before their ends, {engine}: {len(expected[0])} losses and the records of every "
        f"step equal bit for bit, final weights {expected[-1][:16]} as in the quiet run"
    )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--engine", choices=list(LAUNCHERS), default="single")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--recipe", default="tests/train/tiny.yaml")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="yaya-kills-") as folder:
        compare(given.kills, given.seed, given.recipe, given.engine, Path(folder))


if __name__ == "__main__":
    main()
