"""Lengths into bins: nothing too much in one, nothing left over, and no more bins than they need."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.train.fit import best_fit, completed, fitted

CAPACITY = 40
some_lengths = st.lists(st.integers(1, CAPACITY), min_size=1, max_size=120)


def plain_best_fit(lengths: list[int], capacity: int) -> list[int]:
    """Longest first, each into the fullest bin with room; of equally full ones into the one that became so last."""
    found = [0] * len(lengths)
    with_room: dict[int, list[int]] = {}
    bins = 0
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        room = min((room for room, held in with_room.items() if held and room >= lengths[index]), default=None)
        if room is None:
            room, found[index], bins = capacity, bins, bins + 1
        else:
            found[index] = with_room[room].pop()
        with_room.setdefault(room - lengths[index], []).append(found[index])
    return found


@given(st.lists(st.integers(1, CAPACITY), min_size=1, max_size=200), st.integers(CAPACITY, 60))
@settings(max_examples=100, deadline=None)
def test_best_fit_by_lengths_is_best_fit_one_by_one(lengths: list[int], capacity: int) -> None:
    assert best_fit(np.array(lengths), capacity).tolist() == plain_best_fit(lengths, capacity)


@pytest.mark.parametrize("rule", [best_fit, completed, fitted])
@given(lengths=some_lengths)
@settings(max_examples=60, deadline=None)
def test_no_bin_is_overfull_or_empty_and_no_two_could_be_one(
    rule: Callable[[np.ndarray, int], np.ndarray], lengths: list[int]
) -> None:
    bins = rule(np.array(lengths), CAPACITY)
    held = sorted(np.bincount(bins, weights=lengths).tolist())
    assert 0 < held[0] <= held[-1] <= CAPACITY
    assert len(held) == 1 or held[0] + held[1] > CAPACITY


@given(some_lengths)
@settings(max_examples=60, deadline=None)
def test_the_better_rule_is_taken(lengths: list[int]) -> None:
    bins = fitted(np.array(lengths), CAPACITY)
    ways = [rule(np.array(lengths), CAPACITY) for rule in (best_fit, completed)]
    assert bins.max() == min(way.max() for way in ways)
    if ways[0].max() <= ways[1].max():
        assert bins.tolist() == ways[0].tolist()


def test_lengths_that_are_alike_are_completed_exactly() -> None:
    """Answers of one form: 120 tokens or so, four to a row of 512, and a rest that nothing fits."""
    lengths = np.random.default_rng(0).lognormal(np.log(120), 0.3, 100_000).clip(1, 512).astype(np.int64)
    fill = {rule: lengths.sum() / 512 / (rule(lengths, 512).max() + 1) for rule in (best_fit, fitted)}
    assert fill[best_fit] < 0.982
    assert fill[fitted] > 0.99
