"""What goes wrong in the middle of a run: steps without a gradient, batches of noise, and saving by the clock."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.train.oddities import ENOUGH, GoBack, Spikes, Streak
from tests.commands import LAUNCH, PLAIN_FLAGS, TINY, lines, losses, run, train

Runs = Callable[..., Path]


def faulty(workspace: Path, faults: list[str], *fields: str, code: int = 0, launcher: tuple[str, ...] = ()) -> str:
    """The tiny run, with faults."""
    words = [*(launcher or [sys.executable]), "-m", "tests.train.faulty", *faults, "train", TINY]
    return run([*words, f"workspace={workspace}", *fields], code, PYTHONPATH=".")


def events(workspace: Path) -> list[dict[str, Any]]:
    return [line for line in lines(workspace, "metrics.jsonl") if "event" in line]


def test_a_step_without_a_gradient_is_skipped_and_its_batch_kept(runs: Runs, workspace: Path) -> None:
    said = faulty(workspace, ["nan=9"])
    assert "step 9: loss nan" in said
    assert losses(workspace)[:8] == losses(runs("single"))[:8]
    assert losses(workspace)[8] is None
    assert all(loss is not None for loss in losses(workspace)[9:])
    (event,) = events(workspace)
    assert (event["step"], event["event"]) == (9, "skipped")
    kept = json.loads((workspace / "pretrain" / "odd-batches" / "step-9-rank-0.json").read_text(encoding="utf-8"))
    assert len(kept["ids"]) == len(kept["texts"]) == 6
    assert all(kept["ids"])
    state = json.loads((workspace / "pretrain" / "checkpoints" / "step-30" / "state.json").read_text())
    assert (state["skipped"], state["updates"]) == (1, 29)


def test_several_in_a_row_lead_back_to_the_checkpoint(runs: Runs, workspace: Path) -> None:
    """The fault passes, and the run ends with the bits of one that never had it."""
    said = faulty(workspace, ["nan=20,21,22"], "pretrain.skips=3")
    assert "3 steps in a row without a finite gradient: back to step 18" in said
    assert losses(workspace) == losses(runs("single"))
    weights = Path("pretrain/model/model.safetensors")
    assert (workspace / weights).read_bytes() == (runs("single") / weights).read_bytes()


def test_a_longer_run_that_goes_back_keeps_its_horizon(runs: Runs, tmp_path: Path) -> None:
    """The checkpoint that it goes back to is the shorter run's, and knows another end."""
    workspace = shutil.copytree(runs("single"), tmp_path / "run")
    longer = ["pretrain.max_steps=36", "pretrain.keep=1", "pretrain.skips=2"]
    said = faulty(workspace, ["nan=1,2"], *longer)
    assert "back to step 15" in said
    kept = workspace / "pretrain" / "checkpoints"
    assert sorted(p.name for p in kept.iterdir()) == ["step-18", "step-36"]  # before the decay, and the newest
    state = json.loads((kept / "step-36" / "state.json").read_text(encoding="utf-8"))
    assert (state["total"], state["decay_start"]) == (36, 18)


def test_a_fault_that_stays_ends_the_run_in_words(workspace: Path) -> None:
    said = faulty(workspace, ["nan=14+"], "pretrain.skips=2", code=2)
    assert "2 steps in a row without a finite gradient, again after going back" in said
    assert "lower lr" in said
    kept = sorted(p.name for p in (workspace / "pretrain" / "checkpoints").iterdir())
    assert kept == ["step-12", "step-6"]  # what is good stays
    said = faulty(shutil.copytree(workspace, workspace.with_name("early")), ["nan=1+"], "overwrite=True",
                  "pretrain.lr=1e-4", code=2)  # fmt: skip
    assert "no checkpoint to go back to" in said


@pytest.mark.slow
def test_one_rank_without_a_gradient_makes_all_skip(workspace: Path) -> None:
    launcher = (*LAUNCH, "--multi_gpu", "--num_processes", "2", *PLAIN_FLAGS)
    said = faulty(workspace, ["nan=14,15", "rank=1"], "pretrain.skips=2", launcher=launcher)
    assert "back to step 12" in said
    assert len(losses(workspace)) == 30


def test_a_batch_of_noise_is_told_with_its_records(workspace: Path) -> None:
    said = faulty(workspace, ["noise=25"], "pretrain.record_ids=True")
    assert "step 25: loss" in said
    (event,) = events(workspace)
    assert (event["step"], event["event"]) == (25, "spike")
    read = [json.loads(t) for t in (workspace / "pretrain" / "ids-0.jsonl").read_text(encoding="utf-8").splitlines()]
    assert event["ids"] == next(line["ids"] for line in read if line["step"] == 25)


def test_a_clean_run_has_no_events(runs: Runs) -> None:
    for precision in ("fp32", "bf16"):
        assert not events(runs("single", precision))


def test_a_spike_is_one_step_and_a_new_level_becomes_usual() -> None:
    spikes = Spikes()
    quiet = [3.0 + 0.05 * (i % 5) for i in range(60)]
    assert not any(spikes.usual(loss) for loss in quiet)
    assert spikes.usual(9.0) == pytest.approx(3.1, abs=0.05)
    assert not any(spikes.usual(loss) for loss in quiet)
    told = [spikes.usual(5.0) is not None for _ in range(60)]
    assert told[0]
    assert not told[-1]
    by_heart = Spikes()
    assert not any(by_heart.usual(loss) for loss in [0.0002, 0.0003] * 40 + [0.04, 0.0002])
    assert by_heart.usual(0.4) is not None
    fresh = Spikes()
    assert not any(fresh.usual(loss) for loss in [1.0] * (ENOUGH - 1) + [50.0])


def test_a_streak_is_counted_in_a_row() -> None:
    streak = Streak(2)
    for _ in range(3):
        streak.skipped(1)
        streak.broken()
    streak.skipped(1)
    with pytest.raises(GoBack):
        streak.skipped(2)


def test_saved_by_the_clock_too(runs: Runs, workspace: Path) -> None:
    fields = ["pretrain.save_every=1000", "pretrain.save_minutes=1e-9", "pretrain.keep=99"]
    train("single", workspace, *fields)
    assert len(list((workspace / "pretrain" / "checkpoints").glob("step-*"))) == 30
    stalls = [line for line in lines(workspace, "metrics.jsonl") if "stall" in line]
    assert [line["step"] for line in stalls] == list(range(1, 31))
    assert [line["step"] for line in stalls if "writing" in line] == [30]  # only the last is waited for
    assert losses(workspace) == losses(runs("single"))


def test_the_best_and_every_tenth_checkpoint_stay(workspace: Path) -> None:
    fields = ["pretrain.eval_every=4", "pretrain.keep=1", "pretrain.keep_every=10", "pretrain.save_every=5",
              "pretrain.lr=0.05", "pretrain.schedule=constant", "pretrain.clip=0"]  # fmt: skip
    train("single", workspace, *fields)
    looks = {line["step"]: line["bpb"]["all"] for line in lines(workspace, "metrics.jsonl") if "bpb" in line}
    assert set(looks) == {4, 8, 12, 16, 20, 24, 28, 30}
    best = min(looks, key=lambda step: looks[step])
    kept = {int(p.name[5:]) for p in (workspace / "pretrain" / "checkpoints").glob("step-*")}
    assert kept == {best, 10, 20, 30}


def test_adafactor_learns_and_goes_on_with_the_same_bits(workspace: Path, tmp_path: Path) -> None:
    fields = ["pretrain.optimizer=adafactor", "pretrain.lr=0.3", "pretrain.max_steps=12"]
    whole = shutil.copytree(workspace, tmp_path / "whole")
    said = train("single", whole, *fields)
    assert "adafactor" in said
    assert losses(whole)[-1] < 0.97 * losses(whole)[0]
    stopped = shutil.copytree(whole, tmp_path / "stopped")
    shutil.rmtree(stopped / "pretrain" / "checkpoints" / "step-12")
    (stopped / "pretrain" / "manifest.json").unlink()
    assert "going on from step 6" in train("single", stopped, *fields)
    assert losses(stopped) == losses(whole)
    names = {p.stem for p in (whole / "pretrain" / "checkpoints" / "step-12").glob("*.safetensors")}
    assert names == {"masters", "row_var", "col_var", "variance"}
