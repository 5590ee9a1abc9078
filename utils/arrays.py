"""numpy arrays as Arrow's, without a copy and without pandas, whose import costs every process a third of a second."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa


def arrow(values: np.ndarray) -> pa.Array:
    """A numeric or boolean array as Arrow's array of the same type."""
    if values.dtype == bool:
        bits = np.packbits(values, bitorder="little")
        return pa.Array.from_buffers(pa.bool_(), len(values), [None, pa.py_buffer(bits)])
    kind = pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])


def strings(values: Sequence[str | None]) -> pa.Array:
    """Texts, or nothing in the place of None, as Arrow's array of strings."""
    builder = pa.lib.StringBuilder()
    builder.append_values(values)
    return builder.finish()


def numpy_of(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Numbers or booleans without gaps as numpy's."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    parts = [_numpy_of(chunk) for chunk in chunks]
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else _numpy_of(pa.array([], column.type))


def _numpy_of(chunk: pa.Array) -> np.ndarray:
    assert chunk.null_count == 0
    data = chunk.buffers()[1]
    if pa.types.is_boolean(chunk.type):
        bits = np.unpackbits(np.frombuffer(data or b"", np.uint8), bitorder="little")
        return bits[chunk.offset : chunk.offset + len(chunk)].astype(bool)
    kind = np.dtype(str(chunk.type).replace("float", "float32").replace("double", "float64"))
    return np.frombuffer(data or b"", kind)[chunk.offset : chunk.offset + len(chunk)]
