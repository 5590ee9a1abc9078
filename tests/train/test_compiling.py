"""torch.compile: chosen where it pays, checked that it compiled, and no obstacle where it cannot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.train.compiling import choose
from pipeline.train.config import PretrainConfig
from tests.commands import losses, train

Runs = Callable[..., Path]


@pytest.mark.parametrize(
    ("wanted", "engine", "flops", "before", "chosen"),
    [
        ("auto", "single", 1e18, None, True),
        ("auto", "single", 1e16, None, False),
        ("auto", "ddp", 1e18, False, False),
        ("auto", "ddp", 1e16, True, True),
        ("always", "ddp", 1e12, False, True),
        ("never", "single", 1e18, True, False),
        ("always", "zero2", 1e18, None, False),
    ],
)
def test_it_is_chosen_where_it_pays(wanted: str, engine: str, flops: float, before: bool | None, chosen: bool) -> None:
    config = PretrainConfig(max_steps=1, compile=wanted)  # type: ignore[arg-type]
    choice = choose(config, engine, flops, 1e15, before)
    assert choice.wanted == chosen
    assert choice.why


@pytest.mark.parametrize("engine", ["single", pytest.param("ddp", marks=pytest.mark.slow)])
def test_a_compiled_run_learns_the_same(runs: Runs, workspace: Path, engine: str) -> None:
    said = train(engine, workspace, "pretrain.compile=always", "pretrain.eval_every=10")
    assert "compiled: " in said
    assert "compiled: 0" not in said
    assert losses(workspace) == pytest.approx(losses(runs("single")), rel=1e-4)


@pytest.mark.slow
def test_without_a_compiler_a_line_says_so_and_the_run_goes_on(runs: Runs, workspace: Path) -> None:
    cache = str(workspace / "cache")  # nothing that an earlier run has compiled
    said = train("single", workspace, "pretrain.compile=always", CXX="no-such-compiler", TORCHINDUCTOR_CACHE_DIR=cache)
    assert "torch.compile failed; going on without it" in said
    assert losses(workspace) == losses(runs("single"))
