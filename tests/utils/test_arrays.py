"""numpy arrays as Arrow's."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from utils.arrays import arrow, numpy_of, strings


@pytest.mark.parametrize("kind", [bool, np.int8, np.int32, np.int64, np.uint64, np.float32])
@pytest.mark.parametrize("size", [0, 1, 9, 1000])
def test_values_stay(kind: type, size: int) -> None:
    values = (np.arange(size) * 7 % 5).astype(kind)
    assert arrow(values).to_pylist() == values.tolist()
    assert arrow(values[::2]).to_pylist() == values[::2].tolist()
    for column in (arrow(values), arrow(values).slice(size // 3), pa.chunked_array([arrow(values), arrow(values)])):
        assert numpy_of(column).tolist() == column.to_pylist()
        assert numpy_of(column).dtype == values.dtype


@pytest.mark.parametrize("values", [[], [""], ["a", "中文", ""], [None], ["a", None, "😀", None, *"bcdefgh", None]])
def test_texts_stay(values: list[str | None]) -> None:
    made = strings(values)
    made.validate(full=True)
    assert made.to_pylist() == values


def test_pandas_is_not_imported() -> None:
    code = (
        "import sys, numpy; from utils.arrays import arrow, numpy_of, strings; "
        "numpy_of(arrow(numpy.arange(3))); strings(['a', None]); assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
