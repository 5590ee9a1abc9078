"""train.py with a fault: at these calls of a step, its loss is no number, or its tokens are noise.

    python -m tests.train.faulty nan=7,8 noise=20 rank=1 train RECIPE …

`nan=7+` means from the seventh call on. Calls are counted, not steps: after going back, a fault has passed.
With `hardware=other` a rank finds the other precision best.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch

import train
from pipeline.train import engine
from pipeline.train.engine import Engine, Loss, StepResult
from pipeline.train.objectives.base import Batch
from utils.console import rank, run_program

calls = 0


def is_due(words: dict[str, str], fault: str) -> bool:
    """Does this call have this fault, in this process?"""
    given = words.get(fault, "")
    if not given or rank() != int(words.get("rank", "0")):
        return False
    return calls >= int(given[:-1]) if given.endswith("+") else str(calls) in given.split(",")


def noise(batch: Batch) -> Batch:
    """Tokens drawn blindly, to be predicted."""
    drawn = torch.randint(20, 1900, batch["input_ids"].shape, generator=torch.Generator().manual_seed(calls))
    return batch | {"input_ids": drawn, "targets": drawn.roll(-1, 1)}


def broken(words: dict[str, str]) -> None:
    """Let `Engine.step` fail as these words say."""
    whole = Engine.step

    def step(self: Engine, loss_of: Loss, batches: Sequence[Batch], count: float, lr: float) -> StepResult:
        global calls
        calls += 1
        if is_due(words, "noise"):
            batches = [noise(batch) for batch in batches]
        no_number = is_due(words, "nan")
        return whole(self, lambda m, b: loss_of(m, b) * (float("nan") if no_number else 1.0), batches, count, lr)

    Engine.step = step  # type: ignore[method-assign]
    if "hardware" in words and rank() == int(words["rank"]):
        known = engine.multiplies_bf16
        engine.multiplies_bf16 = lambda cpuinfo: not known(cpuinfo)


if __name__ == "__main__":
    faults = {}
    while "=" in sys.argv[1]:
        name, _, value = sys.argv.pop(1).partition("=")
        faults[name] = value
    broken(faults)
    run_program(train.main)
