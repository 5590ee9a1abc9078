"""In which order sequences are read: properties that hold for any sizes and shares."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.train.order import assigned, permuted, weights
from utils.console import UserError


@given(st.integers(1, 3000), st.text(max_size=5))
@settings(max_examples=60, deadline=None)
def test_permutation_is_a_bijection(size: int, key: str):
    assert sorted(permuted(np.arange(size), size, key).tolist()) == list(range(size))


def test_permutation_is_seekable_and_depends_on_its_key():
    size = 10**12 + 7
    some = np.array([0, 1, 5, size - 1])
    whole = permuted(some, size, "a")
    assert [int(permuted(some[i : i + 1], size, "a")[0]) for i in range(4)] == whole.tolist()
    assert whole.max() < size
    assert (whole != permuted(some, size, "b")).all()


def test_the_order_of_a_billion_sequences_costs_nothing():
    """Two sources of 600 and 400 million, anywhere in their epochs: no list of them, no time that grows with them."""
    sizes, times = [600_000_000, 400_000_000], []
    for start in (0, 123_456_789, 10**9 - 32, 7 * 10**9 + 5):
        tracemalloc.start()
        began = time.process_time()
        source, ordinal = assigned(np.arange(start, start + 64), sizes)
        for number, size in enumerate(sizes):
            mine = ordinal[source == number]
            places = permuted(mine % size, size, f"0/{number}/{int(mine[0]) // size}")
            assert len(set(places.tolist())) == len(mine)
            assert places.max() < size
            assert places.max() - places.min() > size // 2, "they come from all over it"
        times.append(time.process_time() - began)
        assert tracemalloc.get_traced_memory()[1] < 100_000
        tracemalloc.stop()
    assert min(times) < 0.01


def test_permutation_mixes_like_a_shuffle():
    """Neighbours land far from each other: mean distance of two uniform draws is a third of the size."""
    places = permuted(np.arange(10_000), 10_000, "0/wiki/0")
    assert abs(np.abs(np.diff(places)).mean() / 10_000 - 1 / 3) < 0.02
    assert abs(np.corrcoef(np.arange(10_000), places)[0, 1]) < 0.05


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8), st.integers(0, 10**12))
@settings(max_examples=80, deadline=None)
def test_every_period_gives_each_source_its_share(shares: list[int], start: int):
    total = sum(shares)
    start -= start % total
    source, ordinal = assigned(np.arange(start, start + total), shares)
    for number, share in enumerate(shares):
        mine = ordinal[source == number]
        assert mine.tolist() == list(range(start // total * share, (start // total + 1) * share))


@given(st.lists(st.integers(1, 1000), min_size=2, max_size=6))
@settings(max_examples=40, deadline=None)
def test_shares_hold_at_every_moment(shares: list[int]):
    source, _ = assigned(np.arange(500), shares)
    for number, share in enumerate(shares):
        had = np.cumsum(source == number)
        due = np.arange(1, 501) * share / sum(shares)
        assert np.abs(had - due).max() <= len(shares)


def test_a_mix_is_checked():
    sizes = {"wiki": 10, "web": 30, "empty": 0}
    assert weights(sizes, {}, "pretrain.mix") == {"wiki": 10, "web": 30}
    with pytest.raises(UserError, match=r"pretrain\.mix: no source 'wikki'; did you mean wiki\?"):
        weights(sizes, {"wikki": 1}, "pretrain.mix")
    with pytest.raises(UserError, match="-1"):
        weights(sizes, {"wiki": -1}, "pretrain.mix")
    with pytest.raises(UserError, match="share above 0"):
        weights(sizes, {"wiki": 0, "empty": 1}, "pretrain.mix")
    given = weights(sizes, {"wiki": 3, "web": 1}, "pretrain.mix")
    assert given["wiki"] == 3 * given["web"]
