"""parquet with columns that `columns.py` understands, as the hub keeps data sets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.clean.columns import find, understood
from pipeline.clean.config import CleanConfig
from pipeline.clean.protocol import Item, Sample, Unreadable
from pipeline.clean.turns import LISTS, conversation
from utils.console import UserError, well_formed

ABOUT = "parquet with columns question/answer, prompt/response, instruction/output, text, conversations …"


def sniff(sample: Sample) -> bool:
    """By its first bytes, or its name."""
    return sample.is_parquet


def read(sample: Sample, config: CleanConfig) -> Iterator[Item]:
    """A row a record. Behind damage in a row group each of its rows is an unreadable record; the next goes on."""
    file = _opened(sample.path)
    names = file.schema_arrow.names
    columns = find(names)
    dialogues = next((name for name in LISTS if name in names), None)
    if columns is None and dialogues is None:
        known = f"{understood()}, {', '.join(LISTS)}"
        raise UserError(f"{sample.path}: columns {', '.join(names)}; understood are {known}; rename them")
    for row in _rows(file, sample.path.name):
        if isinstance(row, Unreadable):
            yield row
        else:
            yield conversation(row) if dialogues else columns.item(row)  # type: ignore[union-attr]


def _opened(path: Path) -> pq.ParquetFile:
    """What a file holds stands at its end: without that nothing of it can be read, nor how much was lost."""
    try:
        return pq.ParquetFile(path)
    except (PermissionError, FileNotFoundError):
        raise
    except (pa.ArrowException, OSError):
        raise UserError(
            f"{well_formed(str(path))}: truncated or no parquet; copy it again, or take it out of clean.inputs"
        ) from None


def _rows(file: pq.ParquetFile, name: str) -> Iterator[dict[str, Any] | Unreadable]:
    for group in range(file.num_row_groups):
        left = file.metadata.row_group(group).num_rows
        try:
            for batch in file.iter_batches(batch_size=1024, row_groups=[group]):
                rows = batch.to_pylist()
                left -= len(rows)
                yield from rows
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            for _ in range(left):
                yield Unreadable(f"damaged parquet: {error}", name)
