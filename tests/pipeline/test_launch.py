"""`python -m pipeline` launching several processes, and `train.py` on what earlier stages left: the real commands."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands import TINY, losses, run, train
from tests.train.test_resume import start, wait_for_step

Runs = Callable[..., Path]
PIPELINE = [sys.executable, "-m", "pipeline", TINY]


def two(engine: str, workspace: Path, *fields: str) -> list[str]:
    """Pretraining with two processes, as a person asks for it."""
    launch = ["launch.num_processes=2", f"launch.engine={engine}"]
    return [*PIPELINE, f"workspace={workspace}", *launch, *fields, "--until=pretrain"]


@pytest.mark.parametrize("engine", [pytest.param(engine, marks=pytest.mark.slow) for engine in ("ddp", "zero2")])
def test_two_processes_learn_as_one_does(runs: Runs, workspace: Path, engine: str) -> None:
    said = run(two(engine, workspace))
    assert f"{engine} x 2" in said
    assert losses(workspace) == pytest.approx(losses(runs("single")), rel=1e-4)


def test_a_mistake_inside_a_launch_ends_with_2(workspace: Path) -> None:
    with socket.socket() as other:  # another run on this machine holds the launcher's usual port
        with contextlib.suppress(OSError):
            other.bind(("127.0.0.1", 29500))
            other.listen()
        said = run(two("zero2", workspace, "pretrain.precision=fp16"), code=2)
    assert said.count("fp16 is not offered under DeepSpeed") == 1  # of two ranks, one speaks


def test_ctrl_c_reaches_two_processes(workspace: Path) -> None:
    process = start(two("ddp", workspace, "pretrain.max_steps=100000", "pretrain.save_every=100000"))
    wait_for_step(workspace, 3, process)
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "saved step" in said
    assert list((workspace / "pretrain" / "checkpoints").glob("step-*"))


def vocabulary(workspace: Path) -> int:
    """What the tokenizer there was asked for."""
    text = (workspace / "tokenizer" / "manifest.json").read_text(encoding="utf-8")
    return int(json.loads(text)["config"]["vocab_size"])


def test_overwrite_makes_stale_stages_again_before_training(runs: Runs, tmp_path: Path) -> None:
    workspace = shutil.copytree(runs("single"), tmp_path / "w")
    fields = ["tokenizer.vocab_size=1900", "pretrain.max_steps=2"]
    said = train("ddp", workspace, *fields, code=1)  # a launcher's own code; the pipeline passes on a 2
    assert said.count("vocab_size: 2000 -> 1900") == 1
    assert vocabulary(workspace) == 2000
    train("ddp", workspace, *fields, "overwrite=True")
    assert vocabulary(workspace) == 1900
    assert len(losses(workspace)) == 2
    assert (workspace / "pretrain.old1" / "model").is_dir()


def test_a_stale_stage_is_told_with_the_whole_command(workspace: Path) -> None:
    said = train("single", workspace, "tokenizer.vocab_size=1900", code=2)
    mend = f"`python -m pipeline {TINY} workspace={workspace} tokenizer.vocab_size=1900 --until=pack`"
    assert mend in said
    run([sys.executable, *mend.strip("`").split()[1:]])
    assert vocabulary(workspace) == 1900


def test_finetune_refuses_a_change_of_the_pretrain_below_it(runs: Runs, tmp_path: Path) -> None:
    workspace = shutil.copytree(runs("single"), tmp_path / "w")
    said = train("single", workspace, "pretrain.lr=1", verb="finetune", code=2)
    assert "pretrain.lr: 0.003 -> 1.0" in said
    assert not (workspace / "finetune").exists()
    train("single", workspace, "pretrain.lr=1e-3", "pretrain.max_steps=2", "finetune.max_steps=1", "overwrite=True",
          verb="finetune")  # fmt: skip
    assert len(losses(workspace)) == 2
    assert len(losses(workspace, "finetune")) == 1
