"""Logs: wandb by choice alone, never asking, never waiting; metrics as promised."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands import metrics, train

PROMISED = {"step", "loss", "lr", "grad_norm", "tokens", "consumed", "tokens_per_second", "mfu", "wait", "memory_gb",
            "seconds"}  # fmt: skip


def test_every_step_has_its_line(runs: Callable[..., Path]) -> None:
    lines = metrics(runs("single"))
    assert all(set(line) == PROMISED for line in lines)
    assert [line["consumed"] for line in lines] == [6 * i for i in range(1, 31)]
    assert all(0 < line["mfu"] < 1 and 0 <= line["wait"] < 0.5 for line in lines[1:])
    assert (runs("single") / "pretrain" / "report.html").read_text(encoding="utf-8").count("<svg") >= 3


def test_wandb_stays_away_unless_asked(runs: Callable[..., Path]) -> None:
    assert not (runs("single") / "pretrain" / "wandb").exists()


def test_wandb_offline_records(workspace: Path) -> None:
    train("single", workspace, "pretrain.max_steps=3", WANDB_MODE="offline")
    assert list((workspace / "pretrain" / "wandb").glob("offline-run-*/*.wandb"))


@pytest.mark.slow  # it waits for the network that is not there
def test_a_key_without_a_network_delays_but_does_not_block(workspace: Path) -> None:
    began = time.monotonic()
    key, nowhere = "a" * 40, "http://127.0.0.1:9"
    said = train("single", workspace, "pretrain.max_steps=3", WANDB_API_KEY=key, WANDB_BASE_URL=nowhere)
    assert len(metrics(workspace)) == 3
    assert "recording offline" in said
    assert time.monotonic() - began < 90
