"""numpy arrays as Arrow's."""

from __future__ import annotations

import numpy as np
import pytest

from utils.arrays import arrow


@pytest.mark.parametrize("kind", [bool, np.int8, np.int32, np.int64, np.uint64, np.float32])
@pytest.mark.parametrize("size", [0, 1, 9, 1000])
def test_values_stay(kind: type, size: int) -> None:
    values = (np.arange(size) * 7 % 5).astype(kind)
    assert arrow(values).to_pylist() == values.tolist()
    assert arrow(values[::2]).to_pylist() == values[::2].tolist()
