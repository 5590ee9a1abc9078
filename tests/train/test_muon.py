"""Muon: orthogonal updates, equal to a float64 reference however many processes share the work."""

from __future__ import annotations

import math
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import model as architectures
from pipeline.train.muon import QUINTIC, STEPS, orthogonalised, owners
from tests.commands import LAUNCH, PLAIN_FLAGS, losses, run, train
from tests.train import muon_steps

Tensors = dict[str, torch.Tensor]


def launched(world: int, out: Path, precision: str = "fp32") -> str:
    """`muon_steps` in so many processes."""
    words = ["-m", "tests.train.muon_steps", out, precision]
    if world == 1:
        return run([sys.executable, *words])
    return run([*LAUNCH, "--multi_gpu", "--num_processes", str(world), *PLAIN_FLAGS, *words], PYTHONPATH=".")


def in_float64(matrix: torch.Tensor) -> torch.Tensor:
    """The same five steps, spelled out."""
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (torch.linalg.matrix_norm(x) + 1e-7)
    a, b, c = QUINTIC
    for _ in range(STEPS):
        gram = x @ x.T
        x = a * x + b * (gram @ x) + c * (gram @ (gram @ x))
    return x.T if matrix.shape[0] > matrix.shape[1] else x


def reference() -> tuple[Tensors, Tensors]:
    """Weights and momenta after the same steps: gradients of the whole batch at once, everything else in float64."""
    config, net = muon_steps.CONFIG, muon_steps.model()
    matrices = set(architectures.layer_matrices(net))
    weights = {name: w.detach().double().clone() for name, w in net.named_parameters()}
    momenta = {name: torch.zeros_like(w) for name, w in weights.items()}
    squares = {name: torch.zeros_like(w) for name, w in weights.items()}
    for step, rate in enumerate(muon_steps.RATES, start=1):
        with torch.no_grad():
            for name, w in net.named_parameters():
                w.copy_(weights[name])
                w.grad = None
        output = net(**muon_steps.batch(step - 1))
        (output.loss_sum / output.count).backward()
        gradients = {name: w.grad.double() for name, w in net.named_parameters()}
        norm = math.sqrt(sum(float((g * g).sum()) for g in gradients.values()))
        for name, w in weights.items():
            g = gradients[name] * min(1.0, config.clip / (norm + 1e-6))
            w.mul_(1 - rate * config.weight_decay if w.dim() > 1 else 1.0)
            if name in matrices:
                momenta[name].mul_(0.95).add_(g, alpha=0.05)
                ahead = 0.05 * g + 0.95 * momenta[name]
                tall = math.sqrt(max(1.0, w.shape[0] / w.shape[1]))
                w.sub_(in_float64(ahead), alpha=rate / config.lr * config.muon_lr * tall)
            else:
                momenta[name].mul_(config.beta1).add_(g, alpha=1 - config.beta1)
                squares[name].mul_(config.beta2).add_(g * g, alpha=1 - config.beta2)
                mean, square = momenta[name] / (1 - config.beta1**step), squares[name] / (1 - config.beta2**step)
                w.sub_(mean / (square.sqrt() + 1e-8), alpha=rate)
    return weights, momenta


@pytest.mark.parametrize("world", [1, 2, pytest.param(4, marks=pytest.mark.slow)])
def test_updates_equal_a_float64_reference(world: int, tmp_path: Path) -> None:
    """Clipping active; the largest difference of a weight, as a share of how far the weights of its tensor moved."""
    said = launched(world, tmp_path / "out.safetensors")
    begun, (weights, momenta) = dict(muon_steps.model().named_parameters()), reference()
    ours = load_file(tmp_path / "out.safetensors")
    for name, weight in weights.items():
        moved = (weight - begun[name]).abs().max()
        assert (ours[name] - weight).abs().max() < 3e-4 * moved, name
    matrices = set(architectures.layer_matrices(muon_steps.model()))
    checkpoint = tmp_path / "checkpoints" / f"step-{muon_steps.STEPS}"
    kept = load_file(checkpoint / "momentum.safetensors")  # contract 6: by name, whoever owned it
    assert kept.keys() == matrices
    for name in matrices:
        assert (kept[name] - momenta[name]).abs().max() < 1e-4 * momenta[name].abs().max(), name
    assert load_file(checkpoint / "exp_avg.safetensors").keys() == weights.keys() - matrices
    told = next(line for line in said.splitlines() if line.startswith("bytes of state:"))
    sizes = [int(word) for word in told.split()[3:]]
    assert len(sizes) == world
    whole = sum(4 * w.numel() * (1 if name in matrices else 2) for name, w in weights.items())
    assert sum(sizes) == whole
    largest = max(4 * w.numel() * 2 for w in weights.values())
    assert max(sizes) <= whole / world + largest  # as even as whole tensors can be


def test_every_singular_value_comes_near_one() -> None:
    for rows, columns in [(40, 40), (96, 32), (32, 96)]:
        matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows))
        for dtype, most in [(torch.float32, 1e-4), (torch.bfloat16, 0.1)]:
            update = orthogonalised(matrix, dtype)
            values = torch.linalg.svdvals(update)
            assert float(values.min()) > 0.5
            assert float(values.max()) < 1.25
            assert (update - in_float64(matrix.double())).abs().max() < most
    stack = torch.randn(3, 20, 30)
    assert torch.allclose(orthogonalised(stack, torch.float32)[1], orthogonalised(stack[1], torch.float32), atol=1e-5)


def test_nothing_comes_of_no_gradient() -> None:
    assert not orthogonalised(torch.zeros(8, 8), torch.float32).any()


def test_each_tensor_has_one_owner_and_work_is_even() -> None:
    shapes = {"q": (512, 512), "up": (1408, 512), "k": (256, 512)}
    matrices = {f"{n}{i}": torch.empty(shape, device="meta") for i in range(8) for n, shape in shapes.items()}
    masters = {"table": torch.empty(6400, 512, device="meta")} | matrices
    for world in (1, 2, 4, 8):
        owner = owners(masters, list(matrices), world)
        assert owner.keys() == masters.keys()
        assert set(owner.values()) == set(range(world))


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.slow)])
def test_a_muon_run_moves_between_one_process_and_two(workspace: Path, tmp_path: Path, precision: str) -> None:
    """Tolerance 1e-4 in fp32 over 12 steps. In bf16 5e-3: the five steps that orthogonalise amplify its rounding."""
    fields = ["pretrain.optimizer=muon", "pretrain.max_steps=12", f"pretrain.precision={precision}"]
    two, most = tmp_path / "two", {"fp32": 1e-4, "bf16": 5e-3}[precision]
    shutil.copytree(workspace, two)
    said = train("single", workspace, *fields)
    assert "muon 14 tensors" in said
    assert "of optimizer state" in said
    one = losses(workspace)
    train("ddp", two, *fields)
    assert losses(two) == pytest.approx(one, rel=most)
    (two / "pretrain" / "manifest.json").unlink()
    shutil.rmtree(two / "pretrain" / "checkpoints" / "step-12")
    assert "going on from step 6" in train("single", two, *fields)
    assert losses(two) == pytest.approx(one, rel=most)
