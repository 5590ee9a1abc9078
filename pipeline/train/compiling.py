"""torch.compile: whether it pays for a run comes out; and of a model, one that was really compiled, or itself and why.

Compiling takes its time once, at the start of each process that trains. It is tried on a batch of the run's own shape
before the first step, where a compiler that is missing, or that gives up, costs a line and nothing else.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

import model as architectures
from pipeline.train.config import TrainConfig
from pipeline.train.objectives.base import Batch
from utils.console import say, tell, warn

LONG_ENOUGH = 600.0
"""Seconds of a whole run from which compiling is worth the half minute or so that it takes."""

USUAL_SHARE = 0.35
"""Of the peak, what a run may reach: good enough to tell a long run from a short one."""


@dataclass(frozen=True)
class Choice:
    """Whether to compile, and why."""

    wanted: bool
    why: str


def choose(config: TrainConfig, engine: str, flops: float, peak: float, before: bool | None) -> Choice:
    """`flops` are those of the whole run on each process, whose peak is given. A run goes on as it began (`before`),
    for compiled code rounds otherwise."""
    if engine.startswith("zero"):
        return Choice(False, tell("DeepSpeed's hooks would cut it to pieces", "DeepSpeed 的钩子会把计算图切碎"))
    if config.compile != "auto":
        return Choice(config.compile == "always", tell("as the recipe says", "按配方设定"))
    if before is not None:
        return Choice(before, tell("as the run began", "与开始时一致"))
    seconds = flops / (USUAL_SHARE * peak)
    if seconds < LONG_ENOUGH:
        return Choice(False, tell("the run is too short", "训练太短，不值得"))
    return Choice(True, tell("the run is long", "训练较长，值得"))


def compile_layers(model: PreTrainedModel, example: Batch) -> bool:
    """Compile the layers, and see whether it worked on a batch like those of the run. Gradients are dropped."""
    counters: Any = torch._dynamo.utils.counters["stats"]
    before, began = counters["unique_graphs"], time.perf_counter()
    architectures.compile_layers(model)
    model.train()  # as in a step: what a finetune begins with was loaded to be asked
    try:
        model(**example).loss_sum.backward()
    except Exception as error:  # whatever a compiler meets, the model itself still trains
        torch.compiler.set_stance("force_eager")
        first = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
        warn(tell(f"torch.compile failed; going on without it ({first})", f"torch.compile 失败，不使用编译（{first}）"))
        return False
    finally:
        model.zero_grad(set_to_none=True)
    graphs, seconds = counters["unique_graphs"] - before, time.perf_counter() - began
    if not graphs:
        warn(tell("torch.compile compiled nothing; going on without it", "torch.compile 没有编译任何内容，不使用编译"))
        return False
    say(tell(f"compiled: {graphs} graphs in {seconds:.0f} s", f"已编译：{graphs} 个计算图，用时 {seconds:.0f} 秒"))
    return True


def uncompiled() -> AbstractContextManager[Any]:
    """Within, compiled code is left aside."""
    return torch.compiler.set_stance("force_eager")  # type: ignore[no-any-return]
