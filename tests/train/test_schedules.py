"""The learning rate: warm up, stay, decay."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.train.config import PretrainConfig
from pipeline.train.schedules import decay_start, learning_rate, warm_up


def config(warmup: float = 0.1, decay: float = 0.5) -> PretrainConfig:
    return PretrainConfig(max_steps=1, lr=2.0, warmup=warmup, decay=decay, min_lr=0.1)


def test_the_three_parts() -> None:
    rates = [learning_rate(config(), step, 100, 10) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9:50] == [2.0] * 41
    assert rates[50] == 2.0
    assert rates[75] == pytest.approx(2.0 * (0.1 + 0.9 * 0.5))
    assert rates[99] == pytest.approx(2.0 * (0.1 + 0.9 * 0.02))
    assert decay_start(config(), 100) == 50


@given(st.integers(1, 3000), st.floats(0, 0.5), st.floats(0, 0.5))
def test_it_rises_then_falls_and_never_leaves_its_bounds(total: int, warmup: float, decay: float) -> None:
    made = config(warmup, decay)
    rates = [learning_rate(made, step, total, warm_up(made, total)) for step in range(total)]
    assert all(0 < rate <= made.lr for rate in rates)
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_a_longer_run_is_the_same_until_the_shorter_one_decays() -> None:
    """What makes it possible to extend a finished run from the checkpoint before its decay."""
    made = config(warmup=0.1)
    warm = warm_up(made, 100)  # kept by the run, whatever its horizon becomes
    shorter = [learning_rate(made, s, 100, warm) for s in range(50)]
    assert shorter == [learning_rate(made, s, 6000, warm) for s in range(50)]
