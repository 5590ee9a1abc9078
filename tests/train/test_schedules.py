"""The learning rate: six curves, each a pure function of the step."""

from __future__ import annotations

import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.train.config import PretrainConfig, TrainConfig
from pipeline.train.schedules import decay_start, learning_rate, warm_up

SCHEDULES = typing.get_args(typing.get_type_hints(TrainConfig)["schedule"])


def config(warmup: float = 0.1, decay: float = 0.5, schedule: typing.Any = "wsd", min_lr: float = 0.1) -> TrainConfig:
    return PretrainConfig(max_steps=1, lr=2.0, warmup=warmup, decay=decay, min_lr=min_lr, schedule=schedule)


def test_the_three_parts() -> None:
    rates = [learning_rate(config(), step, 100, 10) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9:50] == [2.0] * 41
    assert rates[50] == 2.0
    assert rates[75] == pytest.approx(2.0 * (0.1 + 0.9 * 0.5))
    assert rates[99] == pytest.approx(2.0 * (0.1 + 0.9 * 0.02))
    assert decay_start(config(), 100) == 50


@given(st.sampled_from(SCHEDULES), st.integers(1, 3000), st.floats(0, 0.5), st.floats(0, 0.5), st.floats(0, 1))
def test_it_rises_then_falls_and_never_leaves_its_bounds(
    schedule: str, total: int, warmup: float, decay: float, min_lr: float
) -> None:
    made = config(warmup, decay, schedule, min_lr)
    warm = warm_up(made, total)
    rates = [learning_rate(made, step, total, warm) for step in range(total)]
    assert all(0 < rate <= made.lr * (1 + 1e-12) for rate in rates)
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[warm - 1] == pytest.approx(made.lr)  # warmed up, it stands at its peak
    assert min(rates[warm:], default=made.lr) >= made.lr * min_lr * (1 - 1e-12)


@pytest.mark.parametrize(
    ("schedule", "middle", "last"),
    [
        ("wsd", 1.0, 0.1 + 0.9 / 50),
        ("cosine", 0.1 + 0.9 * (1 + 0.17364818) / 2, 0.1 + 0.9 * 0.00030459),
        ("linear", 0.1 + 0.9 * 50 / 90, 0.1 + 0.9 / 90),
        ("noam", (10 / 51) ** 0.5, (10 / 100) ** 0.5),
        ("onecycle", 0.1 + 0.9 * (1 + 0.17364818) / 2, 0.1 + 0.9 * 0.00030459),
        ("constant", 1.0, 1.0),
    ],
)
def test_each_curve_as_its_formula_says(schedule: str, middle: float, last: float) -> None:
    rates = [learning_rate(config(schedule=schedule), step, 100, 10) for step in (50, 99)]
    assert rates == pytest.approx([2.0 * middle, 2.0 * last])


def test_onecycle_begins_low_and_ends_lower() -> None:
    made = config(schedule="onecycle", min_lr=0.0)
    rates = [learning_rate(made, step, 1000, 300) for step in range(1000)]
    assert rates[0] < 2.0 / 24
    assert rates[299] == pytest.approx(2.0)
    assert rates[-1] < rates[0] / 100


@given(st.sampled_from(SCHEDULES), st.integers(2, 500), st.integers(1, 500))
def test_up_to_its_decay_a_run_is_the_beginning_of_any_longer_one(schedule: str, total: int, more: int) -> None:
    made = config(schedule=schedule)
    warm = warm_up(made, total)
    until = decay_start(made, total)
    assert [learning_rate(made, step, total, warm) for step in range(until)] == [
        learning_rate(made, step, total + more, warm) for step in range(until)
    ]


def test_a_longer_run_is_the_same_until_the_shorter_one_decays() -> None:
    """What makes it possible to extend a finished run from the checkpoint before its decay."""
    made = config(warmup=0.1)
    warm = warm_up(made, 100)  # kept by the run, whatever its horizon becomes
    shorter = [learning_rate(made, s, 100, warm) for s in range(50)]
    assert shorter == [learning_rate(made, s, 6000, warm) for s in range(50)]
