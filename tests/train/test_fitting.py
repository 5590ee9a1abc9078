"""What happens when memory runs out in mid-run: real exceptions through the real engine, on one process and on two."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.train.config import PretrainConfig
from pipeline.train.fitting import MicroBatch, OutOfRoom, search, smaller
from pipeline.train.plan.footprint import even
from tests.commands import ROOT, TINY, launcher, losses, run
from utils.console import UserError

SHORT = "tests/train/short_of_memory.py"
Scenario = tuple[int, int, str, str]
"""The most rows that fit, from which call of the model on, the precision, and the recipe's micro_batch."""


def undisturbed(precision: str, micro_batch: str) -> Scenario:
    return 99, 0, precision, micro_batch


def short(engine: str, *words: str, code: int = 0) -> str:
    """Run it, found among the project's own modules."""
    return run([*launcher(engine), SHORT, *words], code, timeout=180, PYTHONPATH=str(ROOT))


@dataclass(frozen=True)
class Told:
    """What one launch of several scenarios has said."""

    said: str

    def losses(self, *scenario: object) -> list[float]:
        word = ",".join(map(str, scenario))
        return json.loads(next(line for line in self.said.splitlines() if line.startswith(f"{word} "))[len(word) :])


def launched(engine: str, *scenarios: Scenario, code: int = 0) -> Told:
    return Told(short(engine, *(",".join(map(str, scenario)) for scenario in scenarios), code=code))


LATER = [(4, 3, precision, "auto") for precision in ("fp32", "bf16")]
AT_ONCE: Scenario = (3, 2, "bf16", "auto8")


@pytest.fixture(scope="module")
def alone() -> Told:
    calm = [undisturbed("fp32", "auto"), undisturbed("bf16", "auto"), undisturbed("bf16", "2")]
    return launched("single", *LATER, AT_ONCE, *calm)


@pytest.mark.parametrize("scenario", LATER, ids=["fp32", "bf16"])
def test_one_process_takes_a_step_again_with_fewer_rows(alone: Told, scenario: Scenario) -> None:
    """Memory runs out at the third step; in bf16 micro-batches are rounded to 8 bits before they add up."""
    ours, calm = alone.losses(*scenario), alone.losses(*undisturbed(scenario[2], "auto"))
    assert "micro_batch=16; taking the step again with 8" in alone.said
    assert "micro_batch=8; taking the step again with 4" in alone.said
    assert ours[:2] == calm[:2]
    assert ours == pytest.approx(calm, rel=1e-6 if scenario[2] == "fp32" else 2e-3)


def test_what_the_first_micro_batches_added_up_is_gone(alone: Told) -> None:
    """Of the first step, 8 rows fit, and the next 8 do not, nor do 4; every step is taken with 2."""
    assert alone.losses(*AT_ONCE) == alone.losses(*undisturbed("bf16", "2"))


TWO = (2, 0, "bf16", "auto")


@pytest.fixture(scope="module")
def together() -> Told:
    """The last of these ends the launch."""
    return launched("ddp", TWO, undisturbed("bf16", "2"), (2, 3, "fp32", "auto"), code=1)


def test_two_processes_agree_when_one_runs_out(together: Told) -> None:
    assert "micro_batch=8; taking the step again with 4" in together.said
    assert together.losses(*TWO) == together.losses(*undisturbed("bf16", "2"))


def test_gradients_that_travel_with_the_backward_pass_end_the_run_in_one_line(together: Told) -> None:
    assert "rank 1: error: out of GPU memory with micro_batch=8; give micro_batch=4" in together.said


def test_a_whole_run_goes_on(runs: Callable[..., Path], workspace: Path) -> None:
    said = short("single", "2", "9", "train", TINY, f"workspace={workspace}", "pretrain.micro_batch=auto")
    assert "taking the step again with 1" in said
    assert losses(workspace) == pytest.approx(losses(runs("single")), rel=1e-5)


# ---------------------------------------------------------------- decisions


def test_fewer_rows_cut_the_share_evenly() -> None:
    assert [smaller(rows, 32) for rows in (32, 16, 3, 2)] == [16, 8, 1, 1]
    assert smaller(20, 20) == 10
    assert smaller(7, 20) == 3  # seven rounds of 3, the last of 2
    assert even(10) == [10, 5, 4, 3, 2, 1]


def test_one_row_that_does_not_fit_is_told() -> None:
    def never(size: int) -> None:
        raise OutOfRoom

    micro = MicroBatch(4, 4, PretrainConfig(max_steps=1))
    with pytest.raises(UserError, match="micro_batch=1; give gradient_checkpointing=full"):
        micro.take(never)


@pytest.mark.parametrize("guess", [1, 6, 16, 64])
@pytest.mark.parametrize("fits", [1, 3, 16, 40, 64])
def test_the_search_ends_at_what_fits(guess: int, fits: int) -> None:
    """A GPU whose memory holds so many rows, and a plan that guessed right, too low or too high."""
    tries: list[int] = []

    def probe(rows: int) -> float | None:
        tries.append(rows)
        return 10.0 + rows if rows <= fits else None

    found = search(even(64), guess, probe, room=10.0 + fits)
    assert found <= fits
    assert found >= min(fits, guess) / 2
    assert len(tries) <= 8
