"""The plan's memory beside the memory used: real steps of a recipe's model, one process a verb, tokens of no meaning.

`python -m pipeline.train.plan RECIPE --check [pretrain.micro_batch=8 …]` builds the model, takes a few steps through
the engine, and prints what was predicted, what was used, and how far apart they are: of CUDA's allocated peak, or on a
CPU of the process's resident memory beyond what it had before the model. What one verb frees stays with a process for
a while, and would hide what the next one takes, so each verb has a process of its own.
"""

from __future__ import annotations

import dataclasses
import functools
import gc
from collections.abc import Iterator
from pathlib import Path

import torch

import model as architectures
from pipeline.train.config import TrainConfig, Verb
from pipeline.train.engine import Engine, start
from pipeline.train.objectives import OBJECTIVES
from pipeline.train.objectives.base import Batch
from pipeline.train.plan.footprint import Footprint, Memory, Setting, Sizes
from pipeline.train.plan.prospect import Asked, shape_of, vocabulary
from pipeline.train.plan.rehearsal import same_batch
from utils.console import UserError, tell
from utils.workers import run_apart

STEPS = 3


def checked(asked: Asked) -> Iterator[str]:
    """A line for each verb."""
    pieces, _ = vocabulary(asked)
    for verb, config in asked.configs.items():
        rows = 1 if config.micro_batch == "auto" else min(config.micro_batch, config.batch_size)
        steps = functools.partial(compared, asked, verb, pieces)
        memory, used, state = run_apart(steps, rows, f"try {verb}.micro_batch=1")
        error = memory.peak / used - 1
        yield tell(
            f"{verb}: micro_batch {rows} x {config.seq_len}, {state}: predicted {memory.peak / 1e9:.3f} GB, "
            f"used {used / 1e9:.3f} GB, error {error:+.1%}",
            f"{verb}：micro_batch {rows} x {config.seq_len}，{state}：预测 {memory.peak / 1e9:.3f} GB，"
            f"实测 {used / 1e9:.3f} GB，误差 {error:+.1%}",
        )


def compared(asked: Asked, verb: Verb, pieces: int, rows: int) -> tuple[Memory, float, str]:
    """What is predicted for steps of at most two micro-batches, what they used, and how they were taken."""
    config = dataclasses.replace(asked.configs[verb], batch_size=min(asked.configs[verb].batch_size, 2 * rows))
    shape = shape_of(asked.model, config, pieces)
    precision = asked.place.precision(config.precision)
    warm_up(config, precision)
    engine = start(config, precision)
    if engine.name != "single" or (engine.device.type == "cuda") != (asked.place.device == "cuda"):
        raise UserError("--check runs in one process on this machine's own device; leave the launcher, and --gpu, out")
    setting = Setting("single", 1, engine.precision, config.optimizer, device=engine.device.type)
    memory = Footprint(config, shape, Sizes.of(shape, config.seq_len), asked.document).at(setting, rows)
    before = used_so_far(engine.device)
    torch.manual_seed(config.seed)
    model = architectures.build(shape)
    architectures.checkpoint_activations(model, config.gradient_checkpointing)
    take_steps(engine, model, verb, config, rows, asked.document)
    return memory, peak(engine.device) - before, f"{engine.device.type}, {engine.precision}, {config.optimizer}"


def warm_up(config: TrainConfig, precision: str) -> None:
    """Libraries take their own memory at their first call: a tiny model makes it."""
    tiny = architectures.build(architectures.family_config("gpt", {"hidden_size": 64, "num_hidden_layers": 1}))
    engine = start(config, precision)
    take_steps(engine, tiny, "pretrain", dataclasses.replace(config, batch_size=2, seq_len=64), 1, 32)


def take_steps(
    engine: Engine, model: torch.nn.Module, verb: Verb, config: TrainConfig, rows: int, document: int
) -> None:
    """A few steps, as the loop takes them."""
    engine.prepare(model, None)
    batches = [same_batch(engine.device, rows, config.seq_len, document) for _ in range(-(-config.batch_size // rows))]

    def loss(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        return OBJECTIVES[verb].loss(model, batch, config.label_smoothing)

    for _ in range(STEPS):
        engine.step(loss, batches, config.batch_size * config.seq_len, 1e-4)


def used_so_far(device: torch.device) -> float:
    """Bytes in use; the peak is counted from here on."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return 0.0  # cuBLAS's workspace is there already, and part of what is predicted
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        raise UserError("--check without a GPU needs Linux's /proc/self/clear_refs") from None
    return _resident("VmRSS:")


def peak(device: torch.device) -> float:
    """The most bytes in use since."""
    return float(torch.cuda.max_memory_allocated(device)) if device.type == "cuda" else _resident("VmHWM:")


def _resident(name: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(float(line.split()[1]) * 1024 for line in lines if line.startswith(name))
