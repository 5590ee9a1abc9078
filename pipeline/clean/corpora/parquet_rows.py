"""parquet with columns that `columns.py` understands, as the hub keeps data sets."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.clean.columns import find, understood
from pipeline.clean.config import CleanConfig
from pipeline.clean.protocol import Item, Sample, Unreadable
from pipeline.clean.turns import LISTS, conversation
from utils.console import UserError

ABOUT = "parquet with columns question/answer, prompt/response, instruction/output, text, conversations …"


def sniff(sample: Sample) -> bool:
    """By its first bytes, or its name."""
    return sample.is_parquet


def read(sample: Sample, config: CleanConfig) -> Iterator[Item]:
    """A row a record. A damaged file is one unreadable record, for what is behind the damage is unknown."""
    try:
        file = pq.ParquetFile(sample.path)
        names = file.schema_arrow.names
        columns = find(names)
        dialogues = next((name for name in LISTS if name in names), None)
        if columns is None and dialogues is None:
            known = f"{understood()}, {', '.join(LISTS)}"
            raise UserError(f"{sample.path}: columns {', '.join(names)}; understood are {known}; rename them")
        for batch in file.iter_batches(batch_size=1024):
            for row in batch.to_pylist():
                yield conversation(row) if dialogues else columns.item(row)  # type: ignore[union-attr]
    except (pa.ArrowException, OSError) as error:
        yield Unreadable(f"damaged parquet: {error}", sample.path.name)
