"""The real commands, as tests run them: the tiny recipe, the launchers, and what a run leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TINY = "tests/train/tiny.yaml"
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch"]
PLAIN_FLAGS = ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]


def environment(**more: str) -> dict[str, str]:
    """This process's variables, one thread a process, and no wandb by accident."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "YAYA_"))}
    return kept | {"OMP_NUM_THREADS": "1", "LC_ALL": "C.UTF-8"} | more


def run(words: Sequence[str | Path], code: int = 0, timeout: float = 300, **more: str) -> str:
    """Run a real command from the root; its exit code is part of what is tested."""
    done = subprocess.run(
        [str(w) for w in words], cwd=ROOT, env=environment(**more), capture_output=True, text=True, timeout=timeout
    )
    said = done.stdout + done.stderr
    assert done.returncode == code, said[-3000:]
    return said


def launcher(engine: str) -> list[str]:
    """The words before train.py for one of the ways to launch: two processes, or four (`ddpx4`)."""
    if engine == "single":
        return [sys.executable]
    if engine == "zero2":
        return [*LAUNCH, "--config_file", "accelerate.yaml"]
    several = ["--num_processes", "4" if engine.endswith("x4") else "2", *PLAIN_FLAGS]
    if engine.startswith("ddp"):
        return [*LAUNCH, "--multi_gpu", *several]
    return [*LAUNCH, "--use_deepspeed", "--zero_stage", engine[len("zero")], *several]


def train(engine: str, workspace: Path, *fields: str, verb: str = "train", code: int = 0, **more: str) -> str:
    """One verb under one engine."""
    return run([*launcher(engine), "train.py", verb, TINY, f"workspace={workspace}", *fields], code, **more)


def lines(workspace: Path, name: str, verb: str = "pretrain") -> list[dict[str, Any]]:
    """All lines of one of a run's files."""
    return [json.loads(text) for text in (workspace / verb / name).read_text(encoding="utf-8").splitlines()]


def metrics(workspace: Path, verb: str = "pretrain") -> list[dict[str, float]]:
    """The lines of steps."""
    return [line for line in lines(workspace, "metrics.jsonl", verb) if "loss" in line]


def losses(workspace: Path, verb: str = "pretrain") -> list[float]:
    """The loss of each step."""
    return [line["loss"] for line in metrics(workspace, verb)]
