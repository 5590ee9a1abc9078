"""Muon for the matrices of the layers, AdamW for the rest; each tensor is stepped, and its memory kept, by one rank.

Gradients that all ranks share come in; every rank updates the masters it owns and hands them to the others, one flat
message an owner. So the memory of an optimizer is spread as under ZeRO-1, and no rank computes what another does.

A matrix moves along its orthogonalised momentum: the nearest matrix whose singular values are all one, by five steps
of Newton and Schulz (Jordan and others, 2024, https://kellerjordan.github.io/posts/muon/).

Shapes: M rows, N columns of a matrix.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.distributed as dist

from pipeline.train.config import TrainConfig
from pipeline.train.optimizers import MOMENTS, Moments, Share, Tensors, TorchOptimizer, adamw

MOMENTUM = "momentum"

QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients that drive singular values towards one fastest, at the price of leaving them between 0.7 and 1.2."""

STEPS = 5


def orthogonalised(matrix_MN: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The nearest matrix with all singular values near one, products in `dtype`; a stack of them, each by itself."""
    tall = matrix_MN.shape[-2] > matrix_MN.shape[-1]
    x_MN = matrix_MN.mT if tall else matrix_MN
    x_MN = (x_MN / (x_MN.norm(dim=(-2, -1), keepdim=True) + 1e-7)).to(dtype)
    a, b, c = QUINTIC
    for _ in range(STEPS):
        square_MM = x_MN @ x_MN.mT
        x_MN = a * x_MN + (b * square_MM + c * square_MM @ square_MM) @ x_MN
    return (x_MN.mT if tall else x_MN).to(matrix_MN.dtype)


def growth(rows: int, columns: int) -> float:
    """What makes an orthogonal update of a tall matrix as large, for what it reads, as that of a square one."""
    return math.sqrt(max(1.0, rows / columns))


def owners(masters: Mapping[str, torch.Tensor], matrices: Sequence[str], world: int) -> dict[str, int]:
    """Who steps what: matrices so that all ranks compute as much, then the rest so that all remember as much."""
    work, memory, owner = [0] * world, [0] * world, {}
    for name in sorted(matrices, key=lambda n: (-_products(masters[n]), n)):
        owner[name] = rank = work.index(min(work))
        work[rank] += _products(masters[name])
        memory[rank] += masters[name].numel()
    for name in sorted(masters.keys() - owner.keys(), key=lambda n: (-masters[n].numel(), n)):
        owner[name] = rank = memory.index(min(memory))
        memory[rank] += len(MOMENTS) * masters[name].numel()
    return owner


def _products(matrix: torch.Tensor) -> int:
    """What orthogonalising costs, up to a factor."""
    short, long = sorted(matrix.shape)
    return short * short * (2 * long + short)


class Muon:
    """See the module's first paragraph; weight decay pulls as AdamW's does, by lr x weight_decay."""

    def __init__(
        self, config: TrainConfig, masters: Mapping[str, torch.Tensor], matrices: Sequence[str],
        precision: torch.dtype, rank: int, world: int,
    ):  # fmt: skip
        self.config, self.masters, self.rank, self.world = config, masters, rank, world
        self.products = torch.bfloat16 if precision == torch.bfloat16 else torch.float32
        self.matrices = frozenset(matrices)
        self.owner = owners(masters, matrices, world)
        mine = [name for name in masters if self.owner[name] == rank]
        self.momentum: Tensors = {name: torch.zeros_like(masters[name]) for name in mine if name in self.matrices}
        rest = {name: masters[name] for name in mine if name not in self.momentum}
        self.rest = TorchOptimizer(adamw(config, rest), rest, world) if rest else None

    # ------------------------------------------------------------ a step

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Update what this rank owns, then take the others' from them."""
        if self.rest:
            self.rest.step(lr)
        decay = lr * self.config.weight_decay
        for names in self._stacks():
            directions = [self._direction(name) for name in names]
            together = torch.stack(directions) if len(names) > 1 else directions[0]
            updates = orthogonalised(together, self.products)
            rate = lr / self.config.lr * self.config.muon_lr * growth(*updates.shape[-2:])
            for name, update in zip(names, updates if len(names) > 1 else [updates], strict=True):
                self.masters[name].mul_(1 - decay).add_(update, alpha=-rate)
        if self.world > 1:
            self._exchange()

    def _stacks(self) -> list[list[str]]:
        """Matrices that are orthogonalised together: on a GPU those of one shape, which a CPU does faster singly."""
        if all(momentum.device.type == "cpu" for momentum in self.momentum.values()):
            return [[name] for name in self.momentum]
        by_shape: dict[torch.Size, list[str]] = {}
        for name, momentum in self.momentum.items():
            by_shape.setdefault(momentum.shape, []).append(name)
        return list(by_shape.values())

    def _direction(self, name: str) -> torch.Tensor:
        """Nesterov's look ahead: the gradient beside the momentum that already holds it."""
        gradient, momentum = self.masters[name].grad, self.momentum[name]
        assert gradient is not None
        momentum.lerp_(gradient, 1 - self.config.muon_momentum)
        return gradient.lerp(momentum, self.config.muon_momentum)

    def _exchange(self) -> None:
        for rank in range(self.world):
            theirs = [self.masters[name] for name in self.masters if self.owner[name] == rank]
            if not theirs:
                continue
            flat = torch.cat([master.detach().flatten() for master in theirs])
            dist.broadcast(flat, src=rank)
            if rank != self.rank:
                for master, part in zip(theirs, flat.split([m.numel() for m in theirs]), strict=True):
                    master.copy_(part.view_as(master))

    # ------------------------------------------------------------ what is remembered

    def moments(self) -> Moments:
        """Each owner hands its tensors to rank 0, one after another."""
        held = self.rest.moments() if self.rest else {}
        held[MOMENTUM] = {name: momentum.to("cpu", copy=True) for name, momentum in self.momentum.items()}
        if self.world == 1:
            return held
        found: Moments = {}
        for name in self.masters:
            for key in [MOMENTUM] if name in self.matrices else MOMENTS:
                value = self._at_rank_0(name, held.get(key, {}).get(name))
                if value is not None:
                    found.setdefault(key, {})[name] = value
        return found

    def _at_rank_0(self, name: str, held: torch.Tensor | None) -> torch.Tensor | None:
        owner, master = self.owner[name], self.masters[name]
        if owner == 0 or self.rank not in (0, owner):
            return held
        travelling = held.to(master.device) if held is not None else torch.empty_like(master)
        if self.rank == 0:
            dist.recv(travelling, src=owner)
            return travelling.cpu()
        dist.send(travelling, dst=0)
        return None

    def restore(self, moments: Moments, updates: int) -> None:
        """Each rank takes what is its own."""
        for name, momentum in self.momentum.items():
            momentum.copy_(moments[MOMENTUM][name])
        if self.rest:
            self.rest.restore(moments, updates)

    # ------------------------------------------------------------ what is told of it

    def census(self) -> list[Share]:
        """What Muon steps, and what AdamW does."""
        matrices = [self.masters[name].numel() for name in self.matrices]
        others = [master.numel() for name, master in self.masters.items() if name not in self.matrices]
        return [Share("muon", len(matrices), sum(matrices)), Share("adamw", len(others), sum(others))]

    def bytes_by_rank(self) -> list[int]:
        """One number for each of a matrix, two for each of the rest."""
        found = [0] * self.world
        for name, master in self.masters.items():
            found[self.owner[name]] += 4 * master.numel() * (1 if name in self.matrices else len(MOMENTS))
        return found
