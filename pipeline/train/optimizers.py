"""Who takes the step: masters by name come in, an `Optimizer` that updates them in place goes out.

What an optimizer remembers goes in and out by key and by parameter name (contract 6), wherever it is kept. AdamW and
Adafactor are torch's; Muon is in `muon.py`. Under DeepSpeed a plain torch AdamW is spread by ZeRO itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from pipeline.train.config import TrainConfig

MOMENTS = ("exp_avg", "exp_avg_sq")
"""What AdamW remembers for each parameter, beside the number of steps."""

Tensors = dict[str, torch.Tensor]
Moments = dict[str, Tensors]
"""What an optimizer remembers: its name for it, then the parameter's name."""


@dataclass(frozen=True)
class Share:
    """How many tensors and numbers one kind of optimizer steps, for the line at the start of a run."""

    kind: str
    tensors: int
    parameters: int


class Optimizer(Protocol):
    """What an engine asks of whoever takes its steps."""

    def step(self, lr: float) -> None:
        """Update the masters from their gradients; a rate with a peak of its own moves as this one does."""

    def moments(self) -> Moments:
        """What it remembers, copied to the CPU; every rank calls, rank 0 gets all of it."""

    def restore(self, moments: Moments, updates: int) -> None:
        """Remember this, as after so many updates."""

    def census(self) -> list[Share]:
        """Who steps how much."""

    def bytes_by_rank(self) -> list[int]:
        """What is remembered on each rank, once all tensors have been stepped."""


def groups(parameters: Mapping[str, torch.Tensor], weight_decay: float) -> list[dict[str, object]]:
    """Weight decay pulls on matrices only, never on the gains of norms."""
    matrices = [p for p in parameters.values() if p.dim() >= 2]
    others = [p for p in parameters.values() if p.dim() < 2]
    found: list[dict[str, object]] = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return [group for group in found if group["params"]]


def adamw(config: TrainConfig, parameters: Mapping[str, torch.Tensor]) -> torch.optim.AdamW:
    """AdamW."""
    decayed = groups(parameters, config.weight_decay)
    return torch.optim.AdamW(decayed, lr=config.lr, betas=(config.beta1, config.beta2), eps=1e-8, fused=True)


def adafactor(config: TrainConfig, parameters: Mapping[str, torch.Tensor]) -> torch.optim.Adafactor:
    """Adafactor: a row and a column where AdamW remembers two matrices."""
    return torch.optim.Adafactor(groups(parameters, config.weight_decay), lr=config.lr)


class TorchOptimizer:
    """A torch optimizer whose memory every rank holds alike."""

    def __init__(self, inner: torch.optim.Optimizer, masters: Mapping[str, torch.Tensor], world: int):
        self.inner, self.masters, self.world = inner, masters, world
        self.kind = type(inner).__name__.lower()

    def step(self, lr: float) -> None:
        for group in self.inner.param_groups:
            group["lr"] = lr
        self.inner.step()

    def moments(self) -> Moments:
        found: Moments = {}
        for name, master in self.masters.items():
            for key in self._keys(master):
                value = self.inner.state[master].get(key)
                kept = torch.zeros(_shape(key, master)) if value is None else value.to("cpu", copy=True)
                found.setdefault(key, {})[name] = kept
        return found

    def restore(self, moments: Moments, updates: int) -> None:
        for name, master in self.masters.items():
            step = torch.tensor(float(updates), device=master.device if self.kind == "adamw" else "cpu")
            own = {key: moments[key][name].to(master.device, copy=True) for key in self._keys(master)}
            self.inner.state[master] = {"step": step, **own}

    def census(self) -> list[Share]:
        return [Share(self.kind, len(self.masters), sum(m.numel() for m in self.masters.values()))]

    def bytes_by_rank(self) -> list[int]:
        sizes = (_shape(key, master).numel() for master in self.masters.values() for key in self._keys(master))
        return [4 * sum(sizes)] * self.world

    def _keys(self, master: torch.Tensor) -> Sequence[str]:
        if self.kind == "adamw":
            return MOMENTS
        return ("row_var", "col_var") if master.dim() > 1 else ("variance",)


def _shape(key: str, master: torch.Tensor) -> torch.Size:
    """Of what is remembered under this key."""
    shape = list(master.shape)
    if key == "row_var":
        shape[-1] = 1
    if key == "col_var":
        shape[-2] = 1
    return torch.Size(shape)


def build(
    config: TrainConfig, masters: Mapping[str, torch.Tensor], matrices: Sequence[str], precision: torch.dtype,
    rank: int, world: int,
) -> Optimizer:  # fmt: skip
    """The recipe's optimizer over these masters; `matrices` are those of the layers, which Muon steps."""
    if config.optimizer == "muon":
        from pipeline.train.muon import Muon

        return Muon(config, masters, matrices, precision, rank, world)
    make = adamw if config.optimizer == "adamw" else adafactor
    return TorchOptimizer(make(config, masters), masters, world)
