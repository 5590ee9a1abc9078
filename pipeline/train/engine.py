"""How a step is taken, on one process or several: only this file and `zero.py` know how.

A model and the moments of an earlier run come in; losses and gradient norms go out, and on request everything
a later run needs, by parameter name (contract 6). One rule for the loss holds everywhere: the sum over trained
tokens of the global batch divided by their count, whatever the world size and the micro-batch.

Products run in the precision that the recipe resolves to; masters, moments and gradient sums are fp32. Below
fp32 the model is a working copy of the masters, and gradients are added up outside DDP, which would round them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from transformers import PreTrainedModel

import model as architectures
from pipeline.train import optimizers, restarts
from pipeline.train.compiling import compile_layers, uncompiled
from pipeline.train.config import TrainConfig
from pipeline.train.fitting import attempted
from pipeline.train.hardware import DTYPES, take_cores
from pipeline.train.objectives.base import Batch
from pipeline.train.optimizers import Moments, Share, Tensors
from utils.console import UserError
from utils.memory import ALL, keep_freed
from utils.stage import Json

Loss = Callable[[torch.nn.Module, Batch], torch.Tensor]


@dataclass
class Weights:
    """Everything a run needs of its model and optimizer, by parameter name; engine-free."""

    masters: Tensors
    moments: Moments
    updates: int
    """Optimizer steps that the moments have seen."""
    loss_scale: float = 1.0
    """fp16's; 1 elsewhere."""
    since_overflow: int = 0
    """Steps since fp16's last overflow, after which its scale grows."""


@dataclass(frozen=True)
class StepResult:
    """What a step did, the same on every rank."""

    loss: float
    grad_norm: float


def resolve_precision(wanted: str) -> str:
    """`auto` as what this hardware does well; anything else as it stands."""
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.get_device_capability()[0] >= 8 else "fp16"
    try:
        said = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return "fp32"
    return "bf16" if multiplies_bf16(said) else "fp32"


def multiplies_bf16(cpuinfo: str) -> bool:
    """Are products in bf16 faster than in fp32? By rule, not by measure, so that all ranks of a launch say the same.

    AMX is made for them. Of AVX512-BF16 alone, Zen 5 was measured at four times the rate of fp32, and a Sapphire Rapids
    that hides its AMX at half of it."""
    return "amx_bf16" in cpuinfo or ("avx512_bf16" in cpuinfo and "AuthenticAMD" in cpuinfo)


def check_launcher(config: TrainConfig, precision: str) -> None:
    """The recipe sets precision, clipping and accumulation; a launcher that says otherwise is refused."""
    theirs = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if theirs not in ("no", precision):
        raise UserError(
            f"--mixed_precision {theirs} contradicts precision={precision} of the recipe; "
            f"drop the launcher's flag, or set pretrain.precision / finetune.precision"
        )
    steps = os.environ.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1")
    if steps not in ("1", "auto"):
        raise UserError(
            f"--gradient_accumulation_steps {steps}: accumulation follows from batch_size and micro_batch; drop it"
        )
    clip = os.environ.get("ACCELERATE_GRADIENT_CLIPPING", "none").lower()
    if clip not in ("none", "auto") and float(clip) != config.clip:
        raise UserError(f"--gradient_clipping {clip} contradicts clip={config.clip:g} of the recipe; drop the flag")


_JOINED: list[Engine] = []
"""Held to the end of the process: a gloo group that is let go in the middle of an error waits for ever."""


def start(config: TrainConfig, precision: str) -> Engine:
    """Join the launch this process belongs to, and say how its steps are taken."""
    check_launcher(config, precision)
    take_cores()
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true":
        from pipeline.train.zero import ZeroEngine  # deepspeed is imported only where it is used

        engine: Engine = ZeroEngine(config, precision)
    else:
        engine = Engine(config, precision)
    if engine.world > 1:
        _JOINED.append(engine)
        _refuse_two_precisions(engine)
    return engine


def _refuse_two_precisions(engine: Engine) -> None:
    """On unlike hosts `auto` may become unlike precisions."""
    found = [rank["precision"] for rank in engine.gather({"precision": engine.precision})]
    odd = next((rank for rank, precision in enumerate(found) if precision != found[0]), None)
    if odd is not None:
        raise UserError(
            f"precision: auto is {found[0]} on rank 0 and {found[odd]} on rank {odd}, whose hardware differs; "
            "set pretrain.precision / finetune.precision to fp32, or to another that all can do"
        )


def accelerator(cpu: bool, plugin: Any = None) -> Any:
    """Accelerate's view of this launch. Two CPU processes talk over gloo, and must be told to."""
    from accelerate import Accelerator
    from accelerate.utils import InitProcessGroupKwargs

    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    handlers = [InitProcessGroupKwargs(backend="gloo")] if several and not torch.cuda.is_available() else []
    restarts.meet_anew("nccl" if torch.cuda.is_available() else "gloo")
    os.environ["ACCELERATE_MIXED_PRECISION"] = "no"  # precision is the engine's own business
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # or DeepSpeed warns wherever it is imported
    return Accelerator(cpu=cpu, deepspeed_plugin=plugin, kwargs_handlers=handlers)


class Engine:
    """One process, or DDP."""

    name = "single"

    def __init__(self, config: TrainConfig, precision: str):
        self.config, self.precision = config, precision
        self.accelerator = self._join()
        self.rank: int = self.accelerator.process_index
        self.world: int = self.accelerator.num_processes
        self.device: torch.device = self.accelerator.device
        if type(self) is Engine and self.world > 1:
            self.name = "ddp"
        self.updates, self._compiled = 0, False
        self.loss_scale, self.since_overflow = (2.0**14 if precision == "fp16" else 1.0), 0

    def _join(self) -> Any:
        return accelerator(cpu=not torch.cuda.is_available())  # never mps by surprise

    # ------------------------------------------------------------ the model comes in

    def prepare(self, model: torch.nn.Module, weights: Weights | None, example: Batch | None = None) -> None:
        """Take the model over; `weights` are those of a checkpoint, or None for the model's own. With an `example` of
        its batches it is compiled for them."""
        if self.device.type == "cpu":
            keep_freed(ALL)  # a step's activations are made anew in the next: clearing their pages takes a tenth of it
        model.to(self.device)
        if weights:
            load_masters(model, weights.masters)
        self._copies: Tensors = {}
        if self.precision != "fp32":
            masters = {n: p.detach().clone().float().requires_grad_() for n, p in model.named_parameters()}
            model.to(DTYPES[self.precision])
            self._copies = dict(model.named_parameters())
        else:
            masters = dict(model.named_parameters())
        self.masters: Mapping[str, torch.Tensor] = masters
        matrices = architectures.layer_matrices(cast(PreTrainedModel, model))
        products = DTYPES[self.precision]
        self.optimizer = optimizers.build(self.config, masters, matrices, products, self.rank, self.world)
        if weights:
            self._restore_optimizer(weights)
        self._compiled = example is not None and compile_layers(cast(PreTrainedModel, model), example)
        self.model: torch.nn.Module = self.accelerator.prepare_model(model) if self.world > 1 else model

    def restore(self, weights: Weights) -> None:
        """Go back to the weights of a checkpoint, in the middle of a run."""
        with torch.no_grad():
            for name, master in self.masters.items():
                master.copy_(weights.masters[name])
        self.forget_gradients()
        self._refresh_copies()
        self._restore_optimizer(weights)

    def _restore_optimizer(self, weights: Weights) -> None:
        self.updates = weights.updates
        self.loss_scale, self.since_overflow = weights.loss_scale, weights.since_overflow
        self.optimizer.restore(weights.moments, weights.updates)

    # ------------------------------------------------------------ a step

    def step(self, loss_of: Loss, batches: Sequence[Batch], count: float, lr: float) -> StepResult:
        """One optimizer step over this rank's micro-batches; `count` is the trained tokens of all ranks."""
        self.model.train()
        scale = self.world / count * self.loss_scale
        total = attempted(self, lambda: self._accumulate(loss_of, batches, scale))
        norm = self._update(lr)
        return StepResult(self.sum([float(total)])[0] / count, norm)

    def _accumulate(self, loss_of: Loss, batches: Sequence[Batch], scale: float) -> torch.Tensor:
        """The summed loss of the micro-batches; their gradients add up in the masters'."""
        total = torch.zeros((), device=self.device, dtype=torch.float32)
        for number, batch in enumerate(batches, start=1):
            with self._synchronises(last=number == len(batches)):
                loss_sum = loss_of(self.model, batch)
                (loss_sum * scale).backward()
            total += loss_sum.detach()
            self._collect()
        return total

    @property
    def may_repeat(self) -> bool:
        """Could a step whose micro-batches ran out of memory be taken again? Not once gradients were sent."""
        sends_later = self.world == 1 or bool(self._copies)
        return self.config.micro_batch == "auto" and sends_later

    def forget_gradients(self) -> None:
        """As if no micro-batch had run."""
        for tensor in (*self.masters.values(), *self._copies.values()):
            tensor.grad = None

    def _synchronises(self, last: bool) -> Any:
        """DDP averages gradients in the backward pass that stands outside `no_sync`."""
        if self.world > 1 and (self._copies or not last):
            return self.model.no_sync()  # type: ignore[operator]
        return nullcontext()

    def _collect(self) -> None:
        """Move a working copy's gradients into the masters', where they add up in fp32."""
        for name, copy in self._copies.items():
            if copy.grad is not None:
                master = self.masters[name]
                master.grad = copy.grad.float() if master.grad is None else master.grad.add_(copy.grad)
                copy.grad = None

    def _update(self, lr: float) -> float:
        if self._copies and self.world > 1:
            self._average_gradients()
        masters = list(self.masters.values())
        if self.loss_scale != 1.0:
            for master in masters:
                assert master.grad is not None
                master.grad /= self.loss_scale
        norm = torch.nn.utils.clip_grad_norm_(masters, self.config.clip or float("inf"), foreach=True)
        finite = bool(torch.isfinite(norm))
        if self.precision == "fp16":
            self._adjust_scale(finite)
        if finite:  # or else the masters stay as they are
            self.optimizer.step(lr)
            self.updates += 1
            self._refresh_copies()
        self.forget_gradients()
        return float(norm)

    @torch.no_grad()
    def _refresh_copies(self) -> None:
        for name, copy in self._copies.items():
            copy.copy_(self.masters[name])

    def _average_gradients(self) -> None:
        """One fp32 all-reduce for all gradients together, where DDP would have sent them in bf16."""
        gradients = [master.grad for master in self.masters.values() if master.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.world
        at = 0
        for gradient in gradients:
            gradient.copy_(flat[at : at + gradient.numel()].view_as(gradient))
            at += gradient.numel()

    def _adjust_scale(self, finite: bool) -> None:
        """fp16's loss scale: halved when a gradient overflows (that step is skipped), doubled after a good while."""
        self.since_overflow = self.since_overflow + 1 if finite else 0
        if not finite:
            self.loss_scale = max(1.0, self.loss_scale / 2)
        elif self.since_overflow % 2000 == 0:
            self.loss_scale *= 2

    # ------------------------------------------------------------ what goes out

    def as_written(self) -> AbstractContextManager[Any]:
        """Within, nothing runs compiled: for rows whose shapes come once."""
        return uncompiled() if self._compiled else nullcontext()

    def score(self, batch: Batch) -> torch.Tensor:
        """Nats of each target of a held-out batch."""
        self.model.eval()
        with torch.no_grad():
            return self.model(**batch, per_token=True).nats  # type: ignore[no-any-return]

    def weights(self) -> Weights | None:
        """Everything a later run needs, copied to the CPU; every rank calls, rank 0 gets it."""
        moments = self.optimizer.moments()
        if self.rank:
            return None
        masters = {name: master.detach().to("cpu", copy=True) for name, master in self.masters.items()}
        return Weights(masters, moments, self.updates, self.loss_scale, self.since_overflow)

    def census(self) -> list[Share]:
        """Who steps how much."""
        return self.optimizer.census()

    def optimizer_bytes(self) -> list[int]:
        """What the optimizer remembers on each rank."""
        return self.optimizer.bytes_by_rank()

    # ------------------------------------------------------------ all ranks together

    def sum(self, values: Sequence[float]) -> list[float]:
        """The sums over all ranks."""
        if self.world == 1:
            return [float(v) for v in values]
        together = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(together)
        return together.tolist()  # type: ignore[no-any-return]

    def gather(self, value: Json) -> list[Json]:
        """Every rank's value, by rank."""
        if self.world == 1:
            return [value]
        together: list[Any] = [None] * self.world
        dist.all_gather_object(together, value)
        return together

    def wait(self) -> None:
        """Until every rank is here."""
        self.sum([0.0])

    def close(self) -> None:
        """Leave the launch in good order."""
        if self.world > 1 and dist.is_initialized():
            dist.barrier()
            dist.destroy_process_group()


def load_masters(model: torch.nn.Module, masters: Tensors) -> None:
    """Put a checkpoint's weights into a model, naming what does not fit."""
    own = dict(model.named_parameters())
    odd = sorted(own.keys() ^ masters.keys())
    odd += [n for n in own.keys() & masters.keys() if own[n].shape != masters[n].shape]
    if odd:
        raise UserError(f"checkpoint of another model: {', '.join(odd[:3])} differ; choose another workspace=")
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(masters[name])
