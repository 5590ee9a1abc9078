"""How many rows a process works on at once: what fits comes out, and less of it when memory runs out in mid-run.

With `micro_batch: auto` on a GPU the plan says what should fit (`plan/footprint.py`), and one forward and backward pass
beside as much memory as the run will keep shows whether it does. Each rank looks by itself, and all take the smallest.

A step that runs out of memory is taken again with half the rows, if nothing has been sent or changed by then: in one
process, and in several whose gradients travel after the last backward pass (DDP below fp32). Then no loss changes but
by rounding, since a micro-batch is no part of the rule for the loss. Elsewhere the run ends, and says what to give.
"""

from __future__ import annotations

import copy
import gc
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from pipeline.train.config import TrainConfig
from pipeline.train.dealing import even_share
from pipeline.train.hardware import DTYPES
from pipeline.train.plan.footprint import ROOM, Footprint, Setting, Sizes, even
from pipeline.train.plan.rehearsal import same_batch
from utils.console import UserError, tell, warn

if TYPE_CHECKING:
    from pipeline.train.engine import Engine

T = TypeVar("T")
Probe = Callable[[int], float | None]
"""(rows) → the bytes that a forward and backward pass of so many takes; None if there is no room for it."""


class OutOfRoom(Exception):
    """Memory ran out on some rank before the step had changed anything; every rank is told."""


class MicroBatch:
    """Rows at once, of a rank's share of the batch."""

    def __init__(self, rows: int, share: int, config: TrainConfig, piece: int = 1):
        self.rows, self.share, self.config = rows, share, config
        self.piece = piece
        """A batch is dealt out in pieces of so many rows (`dealing.py`)."""

    def take(self, step: Callable[[int], T]) -> T:
        """The result of a step, which is given the rows to work on at once; with fewer, as often as it needs."""
        while True:
            try:
                return step(self.rows)
            except OutOfRoom:
                pass  # taken up outside, where the error no longer holds the tensors of its frames
            except torch.OutOfMemoryError:
                raise UserError(f"out of GPU memory with micro_batch={self.rows}; {self._mend()}") from None
            if self.rows == 1:
                raise UserError(f"out of GPU memory with micro_batch=1; {self._mend()}")
            before, self.rows = self.rows, smaller(self.rows, self.share)
            warn(
                tell(
                    f"out of memory with micro_batch={before}; taking the step again with {self.rows}",
                    f"micro_batch={before} 显存不足；改用 {self.rows} 重做这一步",
                )
            )

    def _mend(self) -> str:
        if self.rows > 1:
            return f"give micro_batch={smaller(self.rows, self.share)}; the same command goes on from its checkpoint"
        ways = ["a smaller seq_len or model"]
        if self.config.gradient_checkpointing != "full":
            ways.insert(0, "gradient_checkpointing=full")
        return f"give {', or '.join(ways)}"


def smaller(rows: int, share: int) -> int:
    """At most half of the rows, cutting the share into rounds as even as they can be."""
    return math.ceil(share / math.ceil(share / max(1, rows // 2)))


def attempted(engine: Engine, accumulate: Callable[[], T]) -> T:
    """What it returns; OutOfRoom on every rank if memory ran out on one. It must send nothing, and add up gradients."""
    result = None
    try:
        result = accumulate()
    except torch.OutOfMemoryError:
        if not engine.may_repeat:
            raise
    if engine.may_repeat and engine.sum([float(result is None)])[0]:
        engine.forget_gradients()
        give_back()
        raise OutOfRoom
    assert result is not None
    return result


def give_back() -> None:
    """What nothing holds any longer, back to the GPU."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


# ---------------------------------------------------------------- at the start


def fitted(config: TrainConfig, model: Any, engine: Engine, rule: int) -> MicroBatch:
    """As the recipe says; with auto, `rule` on a CPU, and what fits on a GPU. Called before the engine takes the model
    over, by every rank."""
    share, rows = even_share(config.batch_size, engine.world), rule
    if config.micro_batch != "auto":
        return MicroBatch(rows, share, config, piece=1 if engine.precision == "fp32" else rows)
    if engine.device.type == "cuda":
        mine = largest(config, model, engine, rule)
        rows = min(int(found["rows"]) for found in engine.gather({"rows": mine}))
    return MicroBatch(rows, share, config)


def largest(config: TrainConfig, model: Any, engine: Engine, rule: int) -> int:
    """The most rows that fit on this rank's GPU; `rule`, if that cannot be found out."""
    share = even_share(config.batch_size, engine.world)
    setting = Setting(engine.name, engine.world, engine.precision, config.optimizer)  # type: ignore[arg-type]
    try:
        shape = copy.deepcopy(model.config)
        footprint = Footprint(config, shape, Sizes.of(shape, config.seq_len))
        guess = footprint.largest(setting, _free(engine.device) * ROOM) or 1
    except (RuntimeError, NotImplementedError) as error:  # an operation that the meta device does not know
        warn(tell(f"micro_batch: not planned ({error})", f"micro_batch：未能规划（{error}）"))
        return rule
    if engine.name == "zero3":  # the whole model may not fit on one GPU, so nothing can be tried without the others
        return guess
    keeps = footprint.at(setting, guess).lasting
    beside = keeps.state - keeps.weights + (keeps.gradients if setting.width < 4 or setting.stage else 0)
    room = _free(engine.device) * ROOM - beside
    rows = search(even(share), guess, probe_of(config, model, engine, beside), room)
    give_back()
    return rows


def probe_of(config: TrainConfig, model: Any, engine: Engine, beside: float) -> Probe:
    """Tries a copy of the model in the working precision, as the one that will train."""
    working = copy.deepcopy(model).to(engine.device, DTYPES[engine.precision]).train()
    return lambda rows: tried(working, rows, config.seq_len, beside)


def search(sizes: Sequence[int], guess: int, probe: Probe, room: float) -> int:
    """The largest of the sizes (given in descending order) that a probe finds room for, in two or three tries.

    From the guess downwards by halves; if that took less than was thought, once more at what would fill the room."""
    rows = next(size for size in sizes if size <= guess)
    while (took := probe(rows)) is None:
        if rows == 1:
            return 1  # the run will say it
        rows = next(size for size in sizes if size <= rows // 2)
    more = next(size for size in sizes if size <= max(rows, int(rows * room / took)))
    return more if more > rows and probe(more) is not None else rows


def tried(model: Any, rows: int, length: int, beside: float) -> float | None:
    """Bytes that one forward and backward pass takes beside so many; None if there is no room for it."""
    took = None
    with suppress(torch.OutOfMemoryError):
        took = _passed(model, rows, length, int(beside))
    model.zero_grad(set_to_none=True)
    give_back()
    return took


def _passed(model: Any, rows: int, length: int, beside: int) -> float:
    device = next(model.parameters()).device
    kept = torch.empty(beside, dtype=torch.uint8, device=device)
    torch.cuda.reset_peak_memory_stats(device)
    model(**same_batch(device, rows, length)).loss_sum.backward()
    return float(torch.cuda.max_memory_allocated(device) - kept.numel())


def _free(device: torch.device) -> float:
    """Bytes that this process could still get, with those that torch keeps of what it has freed."""
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return float(torch.cuda.mem_get_info(device)[0] + kept)
