"""Bits per byte: text tokens over bytes, the same however the windows are shared out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest

from utils.scoring import Tally, bits_per_byte, tallied

BYTES = np.array([0, 0, 3, 1, 2])  # ids 0 and 1 are marks


@dataclass(frozen=True)
class Rows:
    input_ids: np.ndarray
    targets: np.ndarray
    position_ids: np.ndarray


def window(targets: list[list[int]]) -> Rows:
    array = np.array(targets)
    return Rows(np.zeros_like(array), array, np.zeros_like(array))


def surprise(input_ids: np.ndarray, targets: np.ndarray, position_ids: np.ndarray) -> np.ndarray:
    """A nat for id 2, two for 3, three for 4; a wild figure wherever it should not matter."""
    return np.select([targets == 2, targets == 3, targets == 4], [1.0, 2.0, 3.0], np.nan).astype(np.float32)


WINDOWS = {"wiki": [window([[2, 3, 1], [4, -100, 0]]), window([[3, 3, 3]])], "web": [window([[-100, 2, 2]])]}


def test_figures():
    scores = bits_per_byte(surprise, WINDOWS, BYTES)
    assert scores["wiki"] == pytest.approx((1 + 2 + 3 + 6) / (3 + 1 + 2 + 3) / math.log(2))
    assert scores["web"] == pytest.approx(2 / 6 / math.log(2))
    assert scores["all"] == pytest.approx(14 / 15 / math.log(2))
    assert tallied(surprise, WINDOWS, BYTES).counts()["wiki"] == {"tokens": 6, "bytes": 9}


def test_uniform_over_bytes_is_eight_bits():
    def uniform(input_ids: np.ndarray, targets: np.ndarray, position_ids: np.ndarray) -> np.ndarray:
        return BYTES[np.maximum(targets, 0)] * math.log(256)

    assert bits_per_byte(uniform, WINDOWS, BYTES) == pytest.approx({"wiki": 8, "web": 8, "all": 8})


def test_ranks_add_up():
    whole = Tally(["wiki", "web"])
    for rank in range(2):
        part = tallied(surprise, {name: some[rank::2] for name, some in WINDOWS.items()}, BYTES)
        whole.merge(part)
    assert whole.bits_per_byte() == pytest.approx(bits_per_byte(surprise, WINDOWS, BYTES))
    assert np.array_equal(whole.sums_S3, tallied(surprise, WINDOWS, BYTES).sums_S3)


def test_nothing_to_score_is_no_figure():
    assert bits_per_byte(surprise, {"wiki": [window([[1, -100]])], "web": []}, BYTES) == {}
    assert bits_per_byte(surprise, {}, BYTES) == {}
