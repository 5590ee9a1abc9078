"""What a user can get wrong, in the real commands: one line with the mend, exit code 2, nothing half-written."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.recipe import Recipe
from tests.commands import ROOT, TINY, environment, metrics, run, train

PIPELINE = [sys.executable, "-m", "pipeline"]


def one_line(said: str) -> str:
    """The error line; there must be exactly one, and no traceback."""
    assert "Traceback" not in said
    lines = [line for line in said.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, said
    return lines[0]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (["clean.inputs=nowhere.csv"], ["nowhere.csv"]),
        (["clean.inputs=[]"], ["clean.inputs"]),
        (["pretrain.lrr=3"], ["pretrain.lrr", "did you mean pretrain.lr"]),
        (["pretrain.lr=fast"], ["pretrain.lr", "expected a number"]),
        (["model.hidden_sizes=3"], ["hidden_sizes", "did you mean 'hidden_size'"]),
        (["model.family=rnn"], ["model.family", "gpt"]),
        (["model.hidden_size=wide"], ["model.hidden_size", "whole number"]),
        (["model.num_attention_heads=5"], ["num_attention_heads"]),
        (["--until=pcak"], ["--until=pcak", "did you mean pack"]),
        (["launch.engine=single", "launch.num_processes=2"], ["launch.engine=single"]),
        (["pretrain.mix={sotries: 1}"], ["pretrain.mix", "stories"]),
        (["pretrain.seq_len=5000", "model.max_position_embeddings=512"], ["seq_len", "max_position_embeddings"]),
    ],
)
def test_mistakes_of_a_recipe(tmp_path: Path, packed: Path, fields: list[str], words: list[str]) -> None:
    workspace = tmp_path / "w"
    if not fields[0].startswith(("clean", "model")):
        shutil.copytree(packed, workspace)
    line = one_line(run([*PIPELINE, TINY, f"workspace={workspace}", *fields], code=2))
    assert all(word in line for word in words), line


def test_an_empty_corpus(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("question,answer\n", encoding="utf-8")
    line = one_line(
        run([*PIPELINE, TINY, f"workspace={tmp_path / 'w'}", f"clean.inputs={tmp_path / 'empty.csv'}"], code=2)
    )
    assert "empty" in line
    assert not (tmp_path / "w" / "clean").exists()


@pytest.mark.parametrize(
    "field", ["tokenizer.path=nowhere", "tokenizer.compare=[nowhere]", "pretrain.stream=nowhere.jsonl"]
)
def test_what_a_later_stage_would_miss_is_told_before_the_first(field: str, tmp_path: Path) -> None:
    words = [f"workspace={tmp_path / 'w'}", field, "pretrain.max_steps=3"]
    assert field.partition("=")[0] in one_line(run([*PIPELINE, TINY, *words], code=2))
    assert "pretrain.stream" not in field or one_line(train("single", tmp_path / "w", *words[1:], code=2))
    assert not (tmp_path / "w" / "clean").exists()


def test_a_model_folder_without_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    line = one_line(run([sys.executable, "cli_demo.py", "--model", tmp_path, "--once", "你好"], code=2))
    assert str(tmp_path) in line


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes, if this machine lets us mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs root to mount a small file system")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def leave_room(disk: Path, checkpoint: Path, quarters: int) -> None:
    """Fill the disk up to so many quarters of a checkpoint."""
    size = sum(file.stat().st_size for file in checkpoint.iterdir())
    (disk / "fill").write_bytes(b"x" * (shutil.disk_usage(disk).free - size * quarters // 4))


def test_a_full_disk_stops_a_cheap_stage_in_one_line(small_disk: Path) -> None:
    (small_disk / "fill").write_bytes(b"x" * (shutil.disk_usage(small_disk).free - 100_000))
    line = one_line(run([*PIPELINE, TINY, f"workspace={small_disk / 'w'}", "--until=pack"], code=2))
    assert "disk full" in line
    assert not (small_disk / "w" / "clean" / "manifest.json").exists()
    (small_disk / "fill").unlink()
    run([*PIPELINE, TINY, f"workspace={small_disk / 'w'}", "--until=pack"])


def test_a_full_disk_does_not_stop_training(small_disk: Path, packed: Path) -> None:
    workspace = shutil.copytree(packed, small_disk / "w")
    words = [*PIPELINE, TINY, f"workspace={workspace}", "--until=pretrain", "pretrain.save_every=10", "pretrain.keep=1"]
    process = subprocess.Popen(
        words, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    room = shutil.disk_usage(small_disk).free
    (small_disk / "fill").write_bytes(b"x" * (room - 300_000))
    said, _ = process.communicate(timeout=120)
    assert "disk full: step 10 was not saved; training goes on" in said
    assert len(metrics(workspace)) == 30
    assert process.returncode == 2, said  # at the end there is no model, and that is said
    assert "could not be saved" in said
    (small_disk / "fill").unlink()
    run(words)
    assert (workspace / "pretrain" / "manifest.json").is_file()


@pytest.mark.slow
def test_a_disk_with_room_for_the_checkpoints_that_are_kept_is_enough(small_disk: Path, packed: Path) -> None:
    """Two are kept, and there is no room for a third beside them: the oldest makes it."""
    workspace = shutil.copytree(packed, small_disk / "w")
    fields = [f"workspace={workspace}", "--until=pretrain", "pretrain.save_every=10", "pretrain.keep=2"]
    run([*PIPELINE, TINY, *fields, "pretrain.max_steps=20", "pretrain.decay=0"])
    checkpoints = workspace / "pretrain" / "checkpoints"
    leave_room(small_disk, checkpoints / "step-20", quarters=3)
    said = run([*PIPELINE, TINY, *fields, "pretrain.max_steps=40", "pretrain.decay=0"])
    assert "was not saved" not in said
    assert {place.name for place in checkpoints.iterdir()} == {"step-30", "step-40"}


@pytest.mark.slow
def test_on_a_disk_that_is_too_small_for_all_fewer_are_kept_and_the_model_comes_last(
    small_disk: Path, packed: Path
) -> None:
    """Five are asked for, and there is room for two and the model: the run ends with its model all the same."""
    workspace = shutil.copytree(packed, small_disk / "w")
    fields = [f"workspace={workspace}", "--until=pretrain", "pretrain.save_every=5", "pretrain.keep=5"]
    run([*PIPELINE, TINY, *fields, "pretrain.max_steps=5", "pretrain.decay=0"])
    checkpoints = workspace / "pretrain" / "checkpoints"
    leave_room(small_disk, checkpoints / "step-5", quarters=6)
    run([*PIPELINE, TINY, *fields, "pretrain.max_steps=40", "pretrain.decay=0"])
    assert "step-40" in {place.name for place in checkpoints.iterdir()}
    assert json.loads((workspace / "pretrain" / "model" / "training.json").read_text())["step"] == 40


def test_ctrl_c_in_each_cheap_stage(tmp_path: Path) -> None:
    """The same command goes on each time, up to the stage in which it is stopped next."""
    source = tmp_path / "big.jsonl"
    with source.open("w", encoding="utf-8") as file:
        for i in range(30_000):
            file.write(
                json.dumps({"text": f"第{i}篇：" + "春眠不觉晓，处处闻啼鸟。" * 8 + str(i)}, ensure_ascii=False) + "\n"
            )
    workspace = tmp_path / "w"
    words = [*PIPELINE, TINY, f"workspace={workspace}", f"clean.inputs={source}", "--until=pack"]
    for stage in ("clean", "tokenizer", "pack"):
        process = subprocess.Popen(
            words, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip
        building = workspace / f"{stage}.building"
        while not building.exists():
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 130, said
        assert "Traceback" not in said
        assert not (workspace / stage).exists()
        assert not (workspace / "pretrain").exists()
    run(words)
    assert (workspace / "pack" / "manifest.json").is_file()


@pytest.mark.parametrize("flag", ["pretrain.lr=nan", "pretrain.lr=inf", "pretrain.clip=-1", "pretrain.batch_size=1e30",
                                  "model.vocab_size=10", "workspace=", "launch.num_processes=-1"])  # fmt: skip
def test_numbers_of_another_world(flag: str) -> None:
    line = one_line(run([*PIPELINE, TINY, flag], code=2))
    assert flag.partition("=")[0].rpartition(".")[2] in line


def test_a_workspace_that_cannot_be_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    assert "workspace=" in one_line(run([*PIPELINE, TINY, f"workspace={tmp_path / 'file'}"], code=2))


def test_a_workspace_at_home_is_found_there() -> None:
    assert Recipe(workspace="~/runs/x").folder("clean") == Path.home() / "runs" / "x" / "clean"


def test_a_terminal_that_is_not_utf8(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "pipeline.clean", TINY, f"workspace={tmp_path / 'w'}"]
    run(words, PYTHONIOENCODING="ascii", LC_ALL="zh_CN.UTF-8")
