"""Pretraining from a stream, with the real command: lanes resume exactly, and two processes see what one sees."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.flaky_host import DROPS, Host, serving
from pipeline.train.stream import StreamFeed
from tests.commands import TINY, launcher, losses, train
from tests.train.test_resume import start, wait_for_step
from utils.codec import Codec

STEPS = "pretrain.max_steps=12"


@pytest.fixture
def fields(tmp_path: Path) -> list[str]:
    path = tmp_path / "texts.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for i in range(400):
            text = f"第{i}篇：" + "春眠不觉晓，处处闻啼鸟。" * (1 + i % 7)
            file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
    return [f"pretrain.stream={path}", STEPS, "pretrain.keep=9"]


def test_a_streamed_run_resumes_exactly(workspace: Path, fields: list[str], tmp_path: Path) -> None:
    train("single", workspace, *fields)
    whole = losses(workspace)
    assert len(whole) == 12
    assert whole[-1] < whole[0]
    killed = shutil.copytree(workspace, tmp_path / "killed")
    shutil.rmtree(killed / "pretrain" / "checkpoints" / "step-12")
    (killed / "pretrain" / "manifest.json").unlink()
    assert "going on from step 6" in train("single", killed, *fields)
    assert losses(killed) == whole
    two = shutil.copytree(killed, tmp_path / "two")
    shutil.rmtree(two / "pretrain" / "checkpoints" / "step-12")
    (two / "pretrain" / "manifest.json").unlink()
    train("ddp", two, *fields)
    assert losses(two) == pytest.approx(whole, rel=1e-4)


@pytest.mark.parametrize("engine", ["single", pytest.param("ddp", marks=pytest.mark.slow)])
def test_a_signal_ends_the_wait_for_a_silent_host(engine: str, workspace: Path) -> None:
    """Of two processes one waits for its batch, the other has its own: nobody takes the step, and nothing is lost."""
    lines = [json.dumps({"text": f"{i}春眠不觉晓"}).encode() + b"\n" for i in range(4000)]
    silent = threading.Event()
    with serving(Host({f"part-{n:02}.jsonl": b"".join(lines[n::40]) for n in range(40)})) as host:
        host.faults = until(silent)
        source = host.url("part-{00..39}.jsonl")
        fields = [f"workspace={workspace}", f"pretrain.stream={source}", "pretrain.max_steps=100000"]
        process = start([*launcher(engine), "train.py", "train", TINY, *fields, "pretrain.save_every=100000"])
        wait_for_step(workspace, 3, process)
        silent.set()
        while "stall" not in {fault for _, fault in host.asked}:
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.01)
        time.sleep(1)
        began = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)  # what a terminal does on Ctrl-C
        said, _ = process.communicate(timeout=50)
        assert time.monotonic() - began < 30, "the host would have been silent for a minute"
        step = int(said.split("saved step ")[1].split()[0])
        assert process.returncode == 130 or engine == "ddp", said  # that launcher has a code of its own
        assert step == len(losses(workspace)) >= 3
        saved = workspace / "pretrain" / "checkpoints" / f"step-{step}" / "state.json"
        feed = StreamFeed.open(source, "text", Codec(workspace / "tokenizer"), 64, 6, 0)
        for taken in range(step):
            feed.rows(taken * 6, range(6))
        assert json.loads(saved.read_text())["cursors"] == feed.cursors()


def until(event: threading.Event) -> Iterator[str]:
    """Faults for a host: none, and from then on one silence."""
    while not event.is_set():
        yield ""
    yield "stall"


@pytest.mark.slow
def test_kill_9_while_a_host_drops_connections(workspace: Path, tmp_path: Path) -> None:
    """Killed twice, in the middle of reading; the losses are those of a run that nothing disturbed."""
    texts = [f"第{i}篇：" + "春眠不觉晓，处处闻啼鸟。" * (1 + i % 7) for i in range(800)]
    files = {
        f"part-{n:02}.jsonl": b"".join(
            json.dumps({"text": text}).encode() + b"\n" for text in texts[n * 10 : n * 10 + 10]
        )
        for n in range(80)
    }
    whole = shutil.copytree(workspace, tmp_path / "whole")
    with serving(Host(files)) as host:
        fields = [f"pretrain.stream={host.url('part-{00..79}.jsonl')}", "pretrain.max_steps=24"]
        train("single", whole, *fields)
        host.misbehave(*DROPS, share=0.05)
        for step in (8, 15):
            words = [*launcher("single"), "train.py", "train", TINY, f"workspace={workspace}", *fields]
            process = start(words)
            wait_for_step(workspace, step, process)
            process.kill()
            process.communicate()
        said = train("single", workspace, *fields)
    assert "going on from step" in said
    assert "broke off" in said
    assert losses(workspace) == losses(whole)


@pytest.mark.slow
def test_a_run_is_not_set_aside_for_a_stream_that_cannot_be_read(
    workspace: Path, fields: list[str], tmp_path: Path
) -> None:
    train("single", workspace, *fields, "pretrain.max_steps=1")
    model = (workspace / "pretrain" / "model" / "model.safetensors").read_bytes()
    (tmp_path / "empty.jsonl").write_text("")
    words = [f"pretrain.stream={tmp_path / 'empty.jsonl'}", "pretrain.max_steps=1", "overwrite=True"]
    assert "holds no row" in train("single", workspace, *words, code=2)
    assert (workspace / "pretrain" / "model" / "model.safetensors").read_bytes() == model
    (tmp_path / "texts.jsonl").unlink()
    assert "finished already" in train("single", workspace, *fields, "pretrain.max_steps=1")


def test_a_stream_needs_a_horizon_in_steps(workspace: Path, fields: list[str]) -> None:
    said = train("single", workspace, fields[0], "pretrain.epochs=2", code=2)
    assert "max_steps" in said
