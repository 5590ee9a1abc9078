"""A run that is killed, stopped, extended or changed: it goes on exactly, or says why it cannot."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.commands import ROOT, TINY, environment, launcher, losses, metrics, run, train
from utils.stage import lock

Runs = Callable[..., Path]
KILLS = ROOT / "bench" / "kills.py"


def start(words: list[str]) -> subprocess.Popen[str]:
    """A real command in a session of its own, as a terminal would give it."""
    return subprocess.Popen(
        words, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip


def stepped(workspace: Path) -> int:
    path = workspace / "pretrain" / "metrics.jsonl"
    return path.read_text(encoding="utf-8").count('"loss"') if path.is_file() else 0


def wait_for_step(workspace: Path, step: int, process: subprocess.Popen[Any]) -> None:
    for _ in range(12000):
        if stepped(workspace) >= step:
            return
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    raise AssertionError("no step within two minutes")


def test_kill_9_and_the_same_command_give_the_same_bits() -> None:
    said = run([sys.executable, KILLS, "--kills", "3", "--seed", "1"], timeout=600)
    assert said.count("exit -9 at step") >= 3
    assert "60 losses and the records of every step equal bit for bit" in said


def test_a_finetune_goes_on_with_the_same_bits(runs: Runs, tmp_path: Path) -> None:
    """Blurred questions among them: what a row becomes depends on its number, not on when it is read."""
    whole = shutil.copytree(runs("single"), tmp_path / "whole")
    train("single", whole, verb="finetune")
    stopped = shutil.copytree(whole, tmp_path / "stopped")
    for name in ("checkpoints/step-12", "model"):
        shutil.rmtree(stopped / "finetune" / name)
    (stopped / "finetune" / "manifest.json").unlink()
    assert "going on from step 6" in train("single", stopped, verb="finetune")
    assert losses(stopped, "finetune") == losses(whole, "finetune")
    weights = Path("finetune/model/model.safetensors")
    assert (stopped / weights).read_bytes() == (whole / weights).read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(5400)
@pytest.mark.parametrize(("engine", "kills"), [("single", "200"), ("zero2", "20")])
def test_soak(engine: str, kills: str) -> None:
    """Runs of one process, killed 200 times, and of two under ZeRO-2 (now the launcher, now a rank), 20 times: as if
    nothing had been."""
    said = run([sys.executable, KILLS, "--kills", kills, "--engine", engine], timeout=5400)
    assert f"{kills} kills of" in said
    assert "60 losses and the records of every step equal bit for bit" in said


@pytest.mark.parametrize(
    ("number", "code"), [pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow), (signal.SIGTERM, 143)]
)
def test_a_signal_saves_and_the_run_goes_on(runs: Runs, workspace: Path, number: int, code: int) -> None:
    fields = ["pretrain.max_steps=90", "pretrain.save_every=1000"]
    words = [*launcher("single"), "train.py", "train", TINY, f"workspace={workspace}", *fields]
    process = start(words)
    wait_for_step(workspace, 3, process)
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert "the same command goes on" in said
    assert "Traceback" not in said
    run(words)
    assert losses(workspace) == losses(runs("single", steps=90))


def test_a_signal_to_the_pipeline_reaches_the_training(workspace: Path) -> None:
    fields = [f"workspace={workspace}", "pretrain.max_steps=100000", "pretrain.save_every=100000"]
    process = start([sys.executable, "-m", "pipeline", TINY, *fields, "--until=pretrain"])
    wait_for_step(workspace, 3, process)
    os.killpg(process.pid, signal.SIGINT)  # what a terminal does on Ctrl-C
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "saved step" in said
    assert list((workspace / "pretrain" / "checkpoints").glob("step-*"))


@contextmanager
def hung_up(workspace: Path, before: Callable[[], object]) -> Iterator[subprocess.Popen[bytes]]:
    """A pipeline that trains on a terminal of its own, which goes away after three steps, as when ssh breaks off."""
    fields = [f"workspace={workspace}", "pretrain.max_steps=100000", "pretrain.save_every=100000"]
    ours, theirs = pty.openpty()

    def begin() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        before()

    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", TINY, *fields, "pretrain.eval_every=20", "--until=pretrain"], cwd=ROOT,
        env=environment(), stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, preexec_fn=begin,
    )  # fmt: skip
    os.close(theirs)
    os.set_blocking(ours, False)
    try:
        while stepped(workspace) < 3:
            assert process.poll() is None
            with suppress(BlockingIOError):
                os.read(ours, 65536)
            time.sleep(0.05)
        os.close(ours)
        yield process
    finally:
        process.kill()


def test_a_terminal_that_goes_away_costs_no_step(workspace: Path) -> None:
    with hung_up(workspace, lambda: None) as process:
        assert process.wait(timeout=60) == 128 + signal.SIGHUP
    assert list((workspace / "pretrain" / "checkpoints").glob("step-*"))


@pytest.mark.slow
def test_under_nohup_it_trains_on_without_a_terminal(workspace: Path) -> None:
    with hung_up(workspace, lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)) as process:
        wait_for_step(workspace, stepped(workspace) + 60, process)  # past looks, which would be told
        process.terminate()
        assert process.wait(timeout=60) == 128 + signal.SIGTERM
    assert list((workspace / "pretrain" / "checkpoints").glob("step-*"))


@pytest.mark.slow
def test_a_pipe_that_nobody_reads_costs_no_step(workspace: Path) -> None:
    """`… | head`: the run ends as others do, but saves first."""
    fields = [f"workspace={workspace}", "pretrain.max_steps=100000", "pretrain.save_every=100000"]
    process = start([*launcher("single"), "train.py", "train", TINY, *fields, "pretrain.eval_every=40"])
    wait_for_step(workspace, 3, process)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=60) == 128 + signal.SIGPIPE
    assert list((workspace / "pretrain" / "checkpoints").glob("step-*"))


def test_the_training_dies_with_a_killed_pipeline(workspace: Path) -> None:
    fields = [f"workspace={workspace}", "pretrain.max_steps=100000", "pretrain.save_every=100000"]
    process = start([sys.executable, "-m", "pipeline", TINY, *fields, "--until=pretrain"])
    wait_for_step(workspace, 2, process)
    process.kill()
    process.communicate()
    time.sleep(2)
    before = len(metrics(workspace))
    time.sleep(1)
    assert len(metrics(workspace)) == before


def test_workers_die_with_a_killed_launcher(workspace: Path) -> None:
    words = [*launcher("ddp"), "train.py", "train", TINY, f"workspace={workspace}"]
    process = start([*words, "pretrain.max_steps=100000", "pretrain.save_every=100000"])
    wait_for_step(workspace, 2, process)
    process.kill()
    time.sleep(5)
    before = len(metrics(workspace))
    time.sleep(2)
    assert len(metrics(workspace)) == before
    process.communicate()


def test_two_runs_in_one_workspace_are_refused(workspace: Path) -> None:
    fields = [f"workspace={workspace}", "pretrain.max_steps=100000", "pretrain.save_every=100000"]
    process = start([sys.executable, "train.py", "train", TINY, *fields])
    wait_for_step(workspace, 1, process)
    said = run([sys.executable, "train.py", "train", TINY, *fields], code=2)
    assert f"process {process.pid} is writing here" in said
    process.kill()
    process.communicate()


def test_a_finished_run_has_nothing_to_do(runs: Runs) -> None:
    before = losses(runs("single"))
    assert "finished already" in train("single", runs("single"))
    assert losses(runs("single")) == before


def test_a_longer_horizon_goes_on_from_before_the_decay(runs: Runs, tmp_path: Path) -> None:
    workspace = shutil.copytree(runs("single"), tmp_path / "longer")
    said = train("single", workspace, "pretrain.max_steps=40", "pretrain.keep=2")
    assert "going on from step 15" in said  # 30 steps, of which half decay
    assert losses(workspace)[:15] == losses(runs("single"))[:15]
    assert len(losses(workspace)) == 40
    kept = {p.name for p in (workspace / "pretrain" / "checkpoints").iterdir()}
    assert kept == {"step-20", "step-36", "step-40"}  # the last two, and the one before the decay


def test_an_extended_run_that_is_stopped_early_goes_on(runs: Runs, tmp_path: Path) -> None:
    """Its new checkpoints are older in steps than those of the finished run that it left behind."""
    workspace = shutil.copytree(runs("single"), tmp_path / "stopped")
    model = (workspace / "pretrain" / "model" / "model.safetensors").read_bytes()
    longer = [f"workspace={workspace}", "pretrain.max_steps=100000", "pretrain.save_every=100000", "pretrain.keep=2"]
    process = start([*launcher("single"), "train.py", "train", TINY, *longer])
    wait_for_step(workspace, 30, process)  # the finished run's lines, until they are cut back
    while len(losses(workspace)) > 29:
        time.sleep(0.01)
    wait_for_step(workspace, 20, process)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    step = int(said.split("saved step ")[1].split()[0])
    if step < 30:  # the model of the finished run stays until there is a better one
        assert (workspace / "pretrain" / "model" / "model.safetensors").read_bytes() == model
    assert f"going on from step {step}" in train("single", workspace, f"pretrain.max_steps={step + 3}")


def test_a_shorter_horizon_is_refused_and_changes_nothing(runs: Runs, tmp_path: Path) -> None:
    workspace = shutil.copytree(runs("single"), tmp_path / "shorter")
    before = {p: p.read_bytes() for p in (workspace / "pretrain").rglob("*") if p.is_file()}
    for horizon in (10, 16):
        said = train("single", workspace, f"pretrain.max_steps={horizon}", code=2)
        assert f"beyond the {horizon} asked for" in said
    assert {p: p.read_bytes() for p in before} == before


def test_a_kill_before_the_model_was_written_is_made_up_for(runs: Runs, tmp_path: Path) -> None:
    workspace = shutil.copytree(runs("single"), tmp_path / "unpublished")
    model = workspace / "pretrain" / "model"
    weights = (model / "model.safetensors").read_bytes()
    shutil.rmtree(model)
    (workspace / "pretrain" / "manifest.json").unlink()
    train("single", workspace)
    assert (model / "model.safetensors").read_bytes() == weights
    shutil.rmtree(model)  # finished, by its manifest, but somebody deleted the model
    train("single", workspace)
    assert (model / "model.safetensors").read_bytes() == weights


def test_another_recipe_is_refused_and_overwrite_keeps_the_old_run(runs: Runs, tmp_path: Path) -> None:
    workspace = shutil.copytree(runs("single"), tmp_path / "changed")
    said = train("single", workspace, "pretrain.lr=1e-4", code=2)
    assert "pretrain.lr: 0.003 -> 0.0001" in said
    assert "overwrite=True" in said
    said = run([sys.executable, "-m", "pipeline", TINY, f"workspace={workspace}", "model.hidden_size=32"], code=2)
    assert "model.hidden_size: 64 -> 32" in said
    said = run([sys.executable, "-m", "pipeline", TINY, f"workspace={workspace}", "clean.min_chars=7"], code=2)
    assert "min_chars: null -> 7" in said
    assert json.loads((workspace / "clean" / "manifest.json").read_text())["config"]["min_chars"] is None
    train("single", workspace, "pretrain.lr=1e-4", "pretrain.max_steps=3", "overwrite=True")
    assert len(losses(workspace)) == 3
    assert (workspace / "pretrain.old1" / "model" / "model.safetensors").is_file()


def test_a_damaged_checkpoint_is_skipped(runs: Runs, tmp_path: Path) -> None:
    workspace = shutil.copytree(runs("single"), tmp_path / "damaged")
    (workspace / "pretrain" / "manifest.json").unlink()
    for name in ("step-30", "step-24"):
        weights = workspace / "pretrain" / "checkpoints" / name / "masters.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
    said = train("single", workspace)
    assert "step-30: masters.safetensors is damaged" in said
    assert "going on from step 18" in said
    assert losses(workspace) == losses(runs("single"))


def test_a_model_without_its_checkpoints_is_not_trained_over(runs: Runs, tmp_path: Path) -> None:
    workspace = shutil.copytree(runs("single"), tmp_path / "bare")
    shutil.rmtree(workspace / "pretrain" / "checkpoints")
    weights = (workspace / "pretrain" / "model" / "model.safetensors").read_bytes()
    assert "model.hidden_size: 64 -> 32" in train("single", workspace, "model.hidden_size=32", code=2)
    said = train("single", workspace, "pretrain.max_steps=3", code=2)
    assert "its model is there, its checkpoints are not" in said
    assert "overwrite=True pretrain.resume=False" in said
    assert (workspace / "pretrain" / "model" / "model.safetensors").read_bytes() == weights
    train("single", workspace, "pretrain.max_steps=3", "overwrite=True", "pretrain.resume=False")
    assert (workspace / "pretrain.old1" / "model" / "model.safetensors").read_bytes() == weights


def test_nothing_is_made_again_under_a_training(workspace: Path) -> None:
    words = [sys.executable, "-m", "pipeline", TINY, f"workspace={workspace}", "--until=pretrain", "overwrite=True"]
    before = (workspace / "tokenizer" / "spm.model").read_bytes()
    alone = [sys.executable, "-m", "pipeline.tokenizer", TINY, f"workspace={workspace}"]
    with lock(workspace / "pretrain"):
        for command in (words, alone):
            said = run([*command, "tokenizer.vocab_size=1900"], code=2)
            assert f"pretrain: process {os.getpid()} is writing here" in said
    assert (workspace / "tokenizer" / "spm.model").read_bytes() == before


@pytest.mark.slow
def test_a_lost_shard_is_no_other_recipe(runs: Runs, tmp_path: Path) -> None:
    workspace = shutil.copytree(runs("single"), tmp_path / "shard")
    (workspace / "pretrain" / "manifest.json").unlink()
    next((workspace / "pack" / "pretrain" / "train").glob("*.arrow")).unlink()
    assert f"or move {workspace / 'pack'} away: the same command" in train("single", workspace, code=2)
    shutil.rmtree(workspace / "pack")
    assert "going on from step 30" in train("single", workspace)


def test_shards_of_another_tokenizer_are_refused(runs: Runs, tmp_path: Path) -> None:
    workspace = shutil.copytree(runs("single"), tmp_path / "mixed")
    shutil.rmtree(workspace / "pretrain")
    path = workspace / "pack" / "manifest.json"
    known = json.loads(path.read_text())
    known["inputs"]["tokenizer"]["identity"] = "0" * 32
    path.write_text(json.dumps(known))
    assert "--until=pack` makes it again" in train("single", workspace, code=2)


def test_the_golden_curve(runs: Runs) -> None:
    """Twenty losses of a tiny run. They move with the maths, which must be meant, and with the bundled corpus."""
    golden = json.loads((Path(__file__).parent / "golden.json").read_text())
    assert losses(runs("single"))[:20] == pytest.approx(golden, rel=1e-4)


def test_a_damaged_model_is_written_again_from_its_checkpoint(runs: Runs, tmp_path: Path) -> None:
    workspace = shutil.copytree(runs("single"), tmp_path / "model")
    model = workspace / "pretrain" / "model"
    weights = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(weights[:-100])
    train("single", workspace)
    assert (model / "model.safetensors").read_bytes() == weights
    (model / "spm.model").unlink()
    train("single", workspace)
    assert (model / "spm.model").is_file()
    (model / "model.safetensors").write_bytes(weights[:20000] + b"\xff" * 4 + weights[20004:])
    said = train("single", workspace, verb="finetune", code=2)
    assert "model.safetensors: damaged" in said


def test_a_lost_manifest_of_an_earlier_stage_is_made_again(runs: Runs, tmp_path: Path) -> None:
    workspace = shutil.copytree(runs("single"), tmp_path / "lost")
    (workspace / "clean" / "manifest.json").unlink()
    run([sys.executable, "-m", "pipeline", TINY, f"workspace={workspace}", "--until=pretrain"])
    assert (workspace / "clean" / "manifest.json").is_file()
    assert losses(workspace) == losses(runs("single"))


@pytest.mark.parametrize(
    "name", ["clean/manifest.json", "pack/manifest.json", "pretrain/run.json", "pretrain/manifest.json"]
)
def test_records_of_the_wrong_shape_are_named(runs: Runs, tmp_path: Path, name: str) -> None:
    workspace = shutil.copytree(runs("single"), tmp_path / "shape")
    (workspace / name).write_text("{}", encoding="utf-8")
    said = run([sys.executable, "-m", "pipeline", TINY, f"workspace={workspace}", "--until=pretrain"], code=2)
    assert "Traceback" not in said
    assert f"{name}: damaged" in said
