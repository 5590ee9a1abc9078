"""Memory by part: a model, an optimizer and an engine come in; bytes on each GPU (and beside it, on the CPU) go out.

What lasts follows from the sizes of the parameters; what a micro-batch takes is rehearsed (`rehearsal.py`). The peak is
that of the worse of two moments: the backward pass, and the update, when activations are gone and messages travel.

P parameters over N processes. Of the engines we know what their code allocates (torch 2.13's DDP, DeepSpeed 0.19's
`stage_1_and_2.py`, `bf16_optimizer.py`, `stage3.py`); DeepSpeed's buckets have a fixed size, whatever the model's is.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from transformers import PreTrainedConfig

import model as architectures
from pipeline.train.config import TrainConfig
from pipeline.train.dealing import even_share, rounds
from pipeline.train.hardware import DTYPES
from pipeline.train.plan.rehearsal import Rehearsed, rehearse

EngineName = Literal["single", "ddp", "zero1", "zero2", "zero3"]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)
Offload = Literal["none", "optimizer", "all"]

WORKSPACE = 64 << 20
"""Of cuBLAS: 32 MiB for each thread that multiplies (forward and backward), taken from torch's own memory."""

ROOM = 0.92
"""Share of a GPU's memory that a plan fills: the rest is the driver's, NCCL's, and lost between blocks."""

BUCKET = 500_000_000
"""Numbers in DeepSpeed's reduce_bucket_size, unless ds_config.json gives another."""

LIVE = 1_000_000_000
"""Parameters that ZeRO-3 keeps gathered (stage3_max_live_parameters)."""


@dataclass(frozen=True)
class Sizes:
    """Numbers in a model's parameters."""

    parameters: int
    multiplied: int
    """In matrices that every token passes: what FLOPs are counted of."""
    embedding: int
    """In the table that tokens are looked up in, which may be the head's too."""
    stepped_by_muon: int
    largest_stack: int
    """In all matrices of the layers that have one shape, which Muon orthogonalises together."""
    rows_and_columns: int
    """What Adafactor remembers."""
    flops_per_token: int

    @classmethod
    def of(cls, shape: PreTrainedConfig, length: int) -> Sizes:
        """Counted on the meta device."""
        with torch.device("meta"):
            model = architectures.build(shape)
        table: Any = model.get_input_embeddings()
        head: Any = model.get_output_embeddings()
        outside = {id(table.weight), id(head.weight)}
        weights = list(model.parameters())
        matrices = [p for p in weights if p.ndim >= 2 and id(p) not in outside]
        stacks: dict[torch.Size, int] = {}
        for matrix in matrices:
            stacks[matrix.shape] = stacks.get(matrix.shape, 0) + matrix.numel()
        return cls(
            parameters=sum(p.numel() for p in weights),
            multiplied=architectures.matrix_parameters(model),
            embedding=table.weight.numel(),
            stepped_by_muon=sum(p.numel() for p in matrices),
            largest_stack=max(stacks.values(), default=0),
            rows_and_columns=sum(sum(p.shape) if p.ndim >= 2 else p.numel() for p in weights),
            flops_per_token=architectures.flops_per_token(model, length),
        )


@dataclass(frozen=True)
class Setting:
    """How the steps are taken."""

    engine: EngineName
    world: int
    precision: str
    optimizer: str
    offload: Offload = "none"
    bucket: int = BUCKET
    device: str = "cuda"

    @property
    def stage(self) -> int:
        """ZeRO's; 0 elsewhere."""
        return int(self.engine[4:]) if self.engine.startswith("zero") else 0

    @property
    def width(self) -> int:
        """Bytes of a number in products."""
        return 4 if self.precision == "fp32" else 2

    @property
    def refused(self) -> bool:
        """Nothing takes steps so."""
        zero_cannot = self.stage > 0 and (self.optimizer == "muon" or self.precision == "fp16")
        return zero_cannot or (self.engine == "single" and self.world > 1)


@dataclass(frozen=True)
class Lasting:
    """Bytes that stay from step to step on one GPU, and what the update takes beside them."""

    weights: float
    masters: float
    moments: float
    gradients: float
    """Sums over micro-batches."""
    buffers: float
    update: float
    """Only while the optimizer steps."""
    host: float = 0.0
    """In the CPU's memory, for each GPU."""

    @property
    def state(self) -> float:
        """All that is there in every moment."""
        return self.weights + self.masters + self.moments + self.buffers


def lasting(sizes: Sizes, setting: Setting) -> Lasting:
    """What an engine keeps. fp32 has no copy of its masters, except under ZeRO."""
    p, n, width = sizes.parameters, setting.world, setting.width
    workspace = WORKSPACE if setting.device == "cuda" else 0
    if not setting.stage:
        copied = width < 4
        moments = remembered(sizes, setting.optimizer, n if setting.optimizer == "muon" else 1)
        flat = 4 * p if n > 1 and copied else 0  # one message for all gradients
        update = max(flat, muon_takes(sizes, n) if setting.optimizer == "muon" else 0)
        bucket = width * p if n > 1 else 0  # DDP's own, of the working precision
        return Lasting(width * p, 4 * p if copied else 0, moments, 4 * p, bucket + workspace, update)
    return _zero(sizes, setting, workspace)


def _zero(sizes: Sizes, setting: Setting, workspace: int) -> Lasting:
    """DeepSpeed's three stages. Moments and masters go to the CPU with `offload`, weights too with `all`."""
    p, n, width, stage = sizes.parameters, setting.world, setting.width, setting.stage
    weights = width * p / (n if stage == 3 else 1)
    masters, moments = 4 * p / n, remembered(sizes, setting.optimizer, n)
    gradients = 4 * p / (1 if stage == 1 else n)
    if stage == 1 and width == 2 and setting.offload == "none":
        buffers, update = 0.0, 4.0 * min(p, setting.bucket)  # gradients are sent from a copy, bucket by bucket
    else:
        bucket = setting.bucket if setting.device == "cuda" else min(p, setting.bucket)  # untouched pages cost nothing
        buffers, update = float(bucket * width), 4.0 * p / n  # a bucket of fixed size; the partition's gradient
    if stage == 3:
        buffers += width * min(p, LIVE) * (n > 1)  # weights gathered for the layers at work
    host = 0.0
    if setting.offload != "none":
        host, masters, moments, update = masters + moments + 4 * p / n, 0.0, 0.0, 0.0
        gradients = gradients if stage == 1 else 0.0
    if setting.offload == "all":
        host, weights = host + weights, 0.0
    return Lasting(weights, masters, moments, gradients, buffers + workspace, update, host)


def remembered(sizes: Sizes, optimizer: str, world: int) -> float:
    """Bytes of an optimizer's moments on each process: two numbers a parameter, one, or a row and a column."""
    if optimizer == "adafactor":
        return 4 * sizes.rows_and_columns / world
    if optimizer == "muon":
        return 4 * (2 * sizes.parameters - sizes.stepped_by_muon) / world
    return 8 * sizes.parameters / world


def muon_takes(sizes: Sizes, world: int) -> float:
    """While a stack of matrices is orthogonalised: its directions twice in fp32, four products in bf16."""
    message = 4 * sizes.parameters / world if world > 1 else 0
    return max(16 * sizes.largest_stack / world, message)


# ---------------------------------------------------------------- with a micro-batch


@dataclass(frozen=True)
class Memory:
    """One engine at one micro-batch."""

    rows: int
    lasting: Lasting
    activations: float
    """Kept by the forward pass for the backward one."""
    head: float
    """The head's chunk of logits, and its gradient."""
    passing: float
    """What else the backward pass takes at its worst moment, gradients in the working precision among it."""
    gradients: float
    """Sums that are there during the backward pass, or at the update."""
    peak: float


@dataclass
class Footprint:
    """A verb's memory, at any micro-batch; rehearsals are kept."""

    config: TrainConfig
    shape: PreTrainedConfig
    sizes: Sizes
    document: int = 256
    tried: Callable[[], None] = lambda: None
    """Called for every rehearsal: a large micro-batch takes seconds."""
    rehearsals: dict[Any, Rehearsed] = field(default_factory=dict)

    def at(self, setting: Setting, rows: int) -> Memory:
        """Bytes at this micro-batch."""
        keeps = lasting(self.sizes, setting)
        several = rounds(self.config.batch_size, setting.world, rows) > 1
        copied = setting.width < 4 or setting.stage > 0
        # Gradients of the working precision stand beside the sums, or are the sums, or go to a bucket at once.
        first_sums = not copied and not several
        sums = keeps.gradients if several or setting.stage else 0.0
        micro = self.rehearsed(setting, rows, keep=setting.stage < 2 and (copied or first_sums))
        backward = keeps.state + sums + micro.peak
        update = keeps.state + keeps.gradients + keeps.update
        if copied and setting.stage < 2:
            update = max(update, keeps.state + keeps.gradients + self.sizes.embedding * 4)
        passing = micro.peak - micro.saved
        head = min(micro.head, passing)
        return Memory(rows, keeps, micro.saved, head, passing - head, sums or keeps.gradients, max(backward, update))

    def rehearsed(self, setting: Setting, rows: int, keep: bool) -> Rehearsed:
        """A micro-batch's own bytes."""
        key = (setting.device, setting.precision, rows, keep)
        if key not in self.rehearsals:
            self.rehearsals[key] = rehearse(
                self.shape, rows, self.config.seq_len, DTYPES[setting.precision], setting.device,
                self.config.gradient_checkpointing, self.document, keep,
            )  # fmt: skip
            self.tried()
        return self.rehearsals[key]

    def largest(self, setting: Setting, room: float) -> int:
        """The largest even micro-batch whose peak fits into so many bytes; 0 if not even one row does."""
        sizes = even(even_share(self.config.batch_size, setting.world))[::-1]
        if self.at(setting, sizes[-1]).peak <= room:  # often so, and then the others need not be rehearsed
            return sizes[-1]
        fitting = bisect_right(sizes, room, key=lambda rows: self.at(setting, rows).peak)
        return sizes[fitting - 1] if fitting else 0


def even(share: int) -> list[int]:
    """Micro-batches that cut a rank's rows into rounds as even as they can be, the largest first."""
    return sorted({math.ceil(share / number) for number in range(1, share + 1)}, reverse=True)
