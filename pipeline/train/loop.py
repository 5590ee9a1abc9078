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
from functools import partial
from pathlib import Path

import numpy as np
import torch

from pipeline.train.ahead import Ahead, Read
from pipeline.train.checkpoints import State
from pipeline.train.config import TrainConfig
from pipeline.train.dealing import micro_batches, on, rounds, share
from pipeline.train.engine import Engine, StepResult
from pipeline.train.feed import Feed
from pipeline.train.fitting import MicroBatch
from pipeline.train.hardware import memory_gb
from pipeline.train.log import Log
from pipeline.train.objectives.base import Batch, Objective
from pipeline.train.oddities import GoBack, Spikes, Streak
from pipeline.train.record import Record
from pipeline.train.rows import Rows
from pipeline.train.schedules import learning_rate
from utils.console import Stopped, UserError, tell, warn

TOLD = 5
"""Records of a spike that are named in the terminal; all are in metrics.jsonl."""

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
    micro_batch: MicroBatch
    flops: tuple[float, float]
    """Of a token, and of a pair of tokens of which the later one sees the earlier: training, forward and backward."""
    peak_flops: float
    save: Callable[[State, bool], bool]
    """Begin to write a checkpoint, or wait until it is written (True); False if the disk was full."""
    look: Callable[[State], State]
    """Score the held-out text; the state notes the best."""
    back: Callable[[int], State | None]
    """From this step go back to the last checkpoint; None if there is none."""
    dump: Callable[[State, Rows, list[list[str]]], Path]
    """Keep this rank's rows of a batch for inspection."""
    record: Record | None = None
    """Where it is written which records each step has read, if the recipe asks for it."""


@dataclass(frozen=True)
class Agreed:
    """What all ranks know at the beginning of a step."""

    read: Read | None
    """This rank's rows; None if the run stops while somebody still waits for theirs."""
    count: int
    """Trained tokens in all ranks' rows."""
    pairs: int
    """Pairs of tokens in them that see each other."""
    asked: bool
    """Was any rank asked to stop?"""
    late: bool
    """Is it time, by the clock, for a checkpoint?"""


def train(run: Run, state: State, stop_signal: Callable[[], int]) -> State:
    """Step until the horizon; a signal ends the step, or the wait for its batch, saves, and leaves."""
    streak = Streak(run.config.skips)
    while True:
        try:
            return steps(run, state, stop_signal, streak)
        except GoBack as found:
            state = gone_back(run, state, found.step, streak)


def steps(run: Run, state: State, stop_signal: Callable[[], int], streak: Streak) -> State:
    """Steps from here to the horizon."""
    config, engine, spikes = run.config, run.engine, Spikes()
    lanes = lanes_of(run)
    begun_at, saved_at = state.step, time.monotonic()
    with Ahead(run.feed, lanes, batches_left(run, state)) as ahead:
        while state.step < run.total:
            began = time.perf_counter()
            now = agreed(run, ahead, stop_signal, saved_at)
            waited = time.perf_counter() - began
            if now.read is None:
                saved = state.step == begun_at or run.save(state, True)
                engine.wait()  # a rank that left early would make the launcher end those that still save
                raise Stopped(stopped(state, run.total, saved), stop_signal() or signal.SIGTERM)
            seed = config.seed + state.consumed + lanes.start  # whatever is drawn, resume draws it again
            lr = learning_rate(config, state.step, run.total, state.warm)
            result = run.micro_batch.take(partial(step, run, now.read.rows, now.count, lr, seed))
            state = after(state, run, now, result)
            run.log.step(line(run, state, result, now, lr, time.perf_counter() - began, waited))
            if run.record:
                run.record.step(state.step, run.feed.ids(state.consumed - config.batch_size, lanes))
            watch(run, state, result, now.read.rows, spikes, streak)
            if (config.eval_every and state.step % config.eval_every == 0) or state.step == run.total:
                state = run.look(state)
            due = (now.late or is_due(state, config)) and not streak.length  # who goes back goes before the streak
            if now.asked or due or state.step == run.total:
                saved, saved_at = run.save(state, now.asked or state.step == run.total), time.monotonic()
                if now.asked:
                    engine.wait()
                    raise Stopped(stopped(state, run.total, saved), stop_signal() or signal.SIGTERM)
    return state


def lanes_of(run: Run) -> range:
    """This rank's rows of every batch."""
    return share(run.config.batch_size, run.engine.rank, run.engine.world, run.micro_batch.piece)


def is_due(state: State, config: TrainConfig) -> bool:
    """Is this a step to save at?"""
    return state.step % config.save_every == 0 or state.step in (state.decay_start, state.best_step, state.total)


def agreed(run: Run, ahead: Ahead, stop_signal: Callable[[], int], saved_at: float) -> Agreed:
    """The next batch, and what all ranks know of it.

    The ranks look together, again and again: all have their rows, and all take the step; or one was asked to stop
    while another still waits, and nobody does.
    """
    read, minutes = None, run.config.save_minutes
    while True:
        read = read or ahead.next(LOOK_UP)
        mine = [run.objective.count(read.rows), seen(read.rows)] if read else [0, 0]
        late = run.engine.rank == 0 and 0 < minutes * 60 < time.monotonic() - saved_at  # one clock for all
        told = [*mine, float(stop_signal() > 0), float(read is not None), float(late)]
        count, pairs, asked, there, by_clock = run.engine.sum(told)
        if there == run.engine.world:
            return Agreed(read, int(count), int(pairs), asked > 0, by_clock > 0)
        if asked:
            return Agreed(None, 0, 0, True, False)


def seen(rows: Rows) -> int:
    """Pairs of tokens of one document of which the later one sees the earlier, itself among them."""
    return int(rows.position_ids.sum(dtype=np.int64)) + rows.position_ids.size


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


def step(run: Run, rows: Rows, count: float, lr: float, seed: int, size: int) -> StepResult:
    """One step on this rank's rows, so many at once."""

    def loss(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        return run.objective.loss(model, batch, run.config.label_smoothing)

    number = rounds(run.config.batch_size, run.engine.world, size, run.micro_batch.piece)
    batches = [on(run.engine.device, batch) for batch in micro_batches(rows, number, size)]
    torch.manual_seed(seed)
    return run.engine.step(loss, batches, max(count, 1.0), lr)


def watch(run: Run, state: State, result: StepResult, rows: Rows, spikes: Spikes, streak: Streak) -> None:
    """Tell what is odd about a step; too many in a row without a gradient lead back (`GoBack`)."""
    if not_a_number(run, result):
        tell_skipped(run, state, result, rows)
        streak.skipped(state.step)
        return
    streak.broken()
    usual = spikes.usual(result.loss)
    if usual is not None:
        tell_spike(run, state, result.loss, usual)


def tell_skipped(run: Run, state: State, result: StepResult, rows: Rows) -> None:
    """The step just taken changed nothing, for it had no gradient; its batch is kept."""
    place = run.dump(state, rows, run.feed.ids(state.consumed - run.config.batch_size, lanes_of(run)))
    run.log.event(state.step, "skipped", batch=str(place))
    warn(
        tell(
            f"step {state.step}: loss {result.loss}, gradient norm {result.grad_norm}; skipped, batch in {place}",
            f"第 {state.step} 步：损失 {result.loss}，梯度范数 {result.grad_norm}；已跳过，该批数据见 {place}",
        )
    )


def tell_spike(run: Run, state: State, loss: float, usual: float) -> None:
    """The step just taken had an unusual loss; these are the records of its batch."""
    size = run.config.batch_size
    ids = run.feed.ids(state.consumed - size, range(size))
    run.log.event(state.step, "spike", was=loss, usual=usual, ids=ids)
    records = list(dict.fromkeys(one for row in ids for one in row))
    told = ", ".join(records[:TOLD]) + (" …" if len(records) > TOLD else "")
    was = f"{loss:.3f}"
    warn(
        tell(
            f"step {state.step}: loss spike, {was} for the usual {usual:.3f}; harmless unless it stays; "
            f"the batch held {told}",
            f"第 {state.step} 步：损失突增到 {was}（通常为 {usual:.3f}），很快回落便无妨；该批数据来自 {told}",
        )
    )


def not_a_number(run: Run, result: StepResult) -> bool:
    """Had the step no finite gradient? fp16 overflows as a matter of course until its loss scale has come down."""
    scaling = run.engine.precision == "fp16" and run.engine.loss_scale > 1.0
    return not math.isfinite(result.loss) or not (math.isfinite(result.grad_norm) or scaling)


def gone_back(run: Run, began: State, step: int, streak: Streak) -> State:
    """The state of the last checkpoint, to step from again; once in a run, and towards the horizon that it began with,
    for a checkpoint of a shorter one knows another end."""
    found = None if streak.went_back else run.back(step)
    if found is None:
        again = "again after going back" if streak.went_back else "and no checkpoint to go back to"
        raise UserError(
            f"{streak.most} steps in a row without a finite gradient, {again}; train anew with a lower lr "
            "(overwrite=True sets this run aside), or look at the batches kept beside the checkpoints"
        )
    streak.went_back = True
    warn(
        tell(
            f"{streak.most} steps in a row without a finite gradient: back to step {found.step}",
            f"连续 {streak.most} 步没有有限的梯度：退回第 {found.step} 步",
        )
    )
    return dataclasses.replace(found, total=began.total, decay_start=began.decay_start)


def after(state: State, run: Run, now: Agreed, result: StepResult) -> State:
    """The state once a step is done; the cursors are those of this rank's lanes."""
    assert now.read is not None
    return dataclasses.replace(
        state,
        step=state.step + 1,
        consumed=state.consumed + run.config.batch_size,
        tokens=state.tokens + now.count,
        updates=run.engine.updates,
        loss_scale=run.engine.loss_scale,
        since_overflow=run.engine.since_overflow,
        cursors=now.read.cursors,
        wandb_id=run.log.wandb_id,
        skipped=state.skipped + (not math.isfinite(result.grad_norm)),
    )


def line(
    run: Run, state: State, result: StepResult, now: Agreed, lr: float, seconds: float, waited: float
) -> dict[str, float]:
    """A step's line of metrics.jsonl. MFU counts attention within documents alone."""
    tokens = run.config.batch_size * run.config.seq_len
    flops = tokens * run.flops[0] + now.pairs * run.flops[1]
    return {
        "step": state.step,
        "loss": result.loss,
        "lr": lr,
        "grad_norm": result.grad_norm,
        "tokens": state.tokens,
        "consumed": state.consumed,
        "tokens_per_second": tokens / seconds,
        "mfu": flops / seconds / (run.peak_flops * run.engine.world),
        "wait": waited / seconds,
        "memory_gb": memory_gb(run.engine.device),
        "seconds": seconds,
    }
