"""The whole of training: steps until the horizon, a line for each, checkpoints on the way.

A model, a feed and an engine come in; what they know of devices, shards and files stays theirs. The state is a
handful of integers (`checkpoints.State`), and the data at a step follows from one of them.
"""

from __future__ import annotations

import dataclasses
import math
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.train.ahead import Ahead, Read
from pipeline.train.checkpoints import State
from pipeline.train.config import TrainConfig
from pipeline.train.engine import Engine, StepResult
from pipeline.train.feed import Feed
from pipeline.train.hardware import memory_gb
from pipeline.train.log import Log
from pipeline.train.objectives.base import Batch, Objective
from pipeline.train.rows import Rows
from pipeline.train.schedules import learning_rate
from utils.console import Stopped, UserError, tell
from utils.scoring import UNTRAINED
from utils.stage import Json

LOOK_UP = 0.5
"""Seconds after which one who waits for a batch looks whether to stop; a host that is silent may take minutes."""


@dataclass(frozen=True)
class Run:
    """What the loop works with."""

    config: TrainConfig
    engine: Engine
    feed: Feed
    objective: Objective
    log: Log
    total: int
    micro_batch: int
    flops_per_token: float
    peak_flops: float
    save: Callable[[State], bool]
    """Write a checkpoint; False if the disk was full."""
    look: Callable[[State], None]
    """Score the held-out text."""


def train(run: Run, state: State, stop_signal: Callable[[], int]) -> State:
    """Step until the horizon; a signal ends the step, or the wait for its batch, saves, and leaves."""
    config, engine = run.config, run.engine
    lanes = share(config.batch_size, engine.rank, engine.world)
    number = rounds(config.batch_size, engine.world, run.micro_batch)
    begun_at = state.step
    with Ahead(run.feed, lanes, batches_left(run, state)) as ahead:
        while state.step < run.total:
            began = time.perf_counter()
            read, count, asked = agreed(run, ahead, stop_signal)
            waited = time.perf_counter() - began
            if read is None:
                saved = state.step == begun_at or run.save(state)
                raise Stopped(stopped(state, run.total, saved), stop_signal() or signal.SIGTERM)
            batches = micro_batches(read.rows, number, run.micro_batch)
            torch.manual_seed(config.seed + state.consumed + lanes.start)  # whatever is drawn, resume draws it again
            lr = learning_rate(config, state.step, run.total, state.warm)
            result = step(run, batches, count, lr)
            state = after(state, run, count, read.cursors)
            check_finite(run, state, result)
            run.log.step(line(run, state, result, lr, time.perf_counter() - began, waited))
            if config.eval_every and state.step % config.eval_every == 0 and state.step < run.total:
                run.look(state)
            saved = True
            if state.step % config.save_every == 0 or state.step in (state.decay_start, run.total) or asked:
                saved = run.save(state)
            if asked:
                raise Stopped(stopped(state, run.total, saved), stop_signal() or signal.SIGTERM)
    return state


def agreed(run: Run, ahead: Ahead, stop_signal: Callable[[], int]) -> tuple[Read | None, int, bool]:
    """The next batch, the trained tokens in all ranks' rows of it, and whether any rank was asked to stop.

    The ranks look together, again and again: all have their rows, and all take the step; or one was asked to stop
    while another still waits, and nobody does (None).
    """
    read = None
    while True:
        read = read or ahead.next(LOOK_UP)
        mine = run.objective.count(read.rows) if read else 0
        count, asked, there = run.engine.sum([mine, float(stop_signal() > 0), float(read is not None)])
        if there == run.engine.world:
            return read, int(count), asked > 0
        if asked:
            return None, 0, True


def batches_left(run: Run, state: State) -> range:
    """Where each batch up to the horizon begins."""
    size = run.config.batch_size
    return range(state.consumed, state.consumed + (run.total - state.step) * size, size)


def stopped(state: State, total: int, saved: bool) -> str:
    """What a person who stopped a run wants to know."""
    if state.step == 0:
        return tell(
            "stopped before the first step; the same command begins", "尚未开始第一步即停止；再次运行同一命令即可开始"
        )
    if saved:
        return tell(
            f"saved step {state.step} of {total}; the same command goes on",
            f"已保存第 {state.step} 步（共 {total} 步）；再次运行同一命令即可继续",
        )
    return tell(
        f"stopped at step {state.step} of {total}, which was not saved; the same command goes on from the one before",
        f"停在第 {state.step} 步（共 {total} 步），未能保存；再次运行同一命令将从上一个检查点继续",
    )


def step(run: Run, batches: list[Rows], count: float, lr: float) -> StepResult:
    """One step on this rank's micro-batches."""

    def loss(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        return run.objective.loss(model, batch, run.config.label_smoothing)

    try:
        return run.engine.step(loss, [on(run.engine.device, b) for b in batches], max(count, 1.0), lr)
    except torch.OutOfMemoryError:
        raise UserError(f"out of GPU memory with micro_batch={run.micro_batch}; give a smaller micro_batch") from None


def check_finite(run: Run, state: State, result: StepResult) -> None:
    """Stop before a loss or gradient that is no number reaches a checkpoint; fp16 skips overflows by itself."""
    if math.isfinite(result.loss) and (math.isfinite(result.grad_norm) or run.engine.precision == "fp16"):
        return
    raise UserError(
        f"step {state.step}: loss {result.loss}, gradient norm {result.grad_norm}; the last checkpoint is untouched; "
        "train anew with a lower lr (overwrite=True sets this run aside)"
    )


def after(state: State, run: Run, count: int, cursors: Json) -> State:
    """The state once a step is done; the cursors are those of this rank's lanes."""
    return dataclasses.replace(
        state,
        step=state.step + 1,
        consumed=state.consumed + run.config.batch_size,
        tokens=state.tokens + count,
        updates=run.engine.updates,
        loss_scale=run.engine.loss_scale,
        since_overflow=run.engine.since_overflow,
        cursors=cursors,
        wandb_id=run.log.wandb_id,
    )


def line(run: Run, state: State, result: StepResult, lr: float, seconds: float, waited: float) -> dict[str, float]:
    """A step's line of metrics.jsonl."""
    tokens_per_second = run.config.batch_size * run.config.seq_len / seconds
    return {
        "step": state.step,
        "loss": result.loss,
        "lr": lr,
        "grad_norm": result.grad_norm,
        "tokens": state.tokens,
        "consumed": state.consumed,
        "tokens_per_second": tokens_per_second,
        "mfu": tokens_per_second * run.flops_per_token / (run.peak_flops * run.engine.world),
        "wait": waited / seconds,
        "memory_gb": memory_gb(run.engine.device),
        "seconds": seconds,
    }


# ---------------------------------------------------------------- who works on which rows


def share(batch_size: int, rank: int, world: int) -> range:
    """The rows of a batch that are this rank's: neighbours, as even as they can be."""
    each = math.ceil(batch_size / world)
    return range(min(rank * each, batch_size), min((rank + 1) * each, batch_size))


def rounds(batch_size: int, world: int, micro_batch: int) -> int:
    """Micro-batches a step: as many on every rank, or ranks would wait for each other for ever."""
    return math.ceil(math.ceil(batch_size / world) / micro_batch)


def micro_batches(rows: Rows, number: int, size: int) -> list[Rows]:
    """A rank's rows in `number` pieces; where there are too few, a row that trains nothing takes the place."""
    pieces = [cut(rows, slice(i * size, (i + 1) * size)) for i in range(number)]
    return [piece if len(piece.targets) else idle(rows.targets.shape[1]) for piece in pieces]


def cut(rows: Rows, part: slice) -> Rows:
    """Some of the rows."""
    return Rows(rows.input_ids[part], rows.targets[part], rows.position_ids[part])


def idle(length: int) -> Rows:
    """One row that trains no token."""
    zeros = np.zeros((1, length), np.int32)
    return Rows(zeros, np.full_like(zeros, UNTRAINED), np.arange(length, dtype=np.int32)[None])


def on(device: torch.device, rows: Rows) -> Batch:
    """Rows as the int64 tensors that the model's door takes; widened on the device, so that half as much travels."""
    arrays = {"input_ids": rows.input_ids, "targets": rows.targets, "position_ids": rows.position_ids}
    return {name: torch.from_numpy(array).to(device, non_blocking=True).long() for name, array in arrays.items()}
