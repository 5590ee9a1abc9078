"""alpaca: instruction, input, output, as a JSON list or JSON lines; output may be a list of answers."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.clean.columns import Columns
from pipeline.clean.config import CleanConfig
from pipeline.clean.json_files import Damaged, objects
from pipeline.clean.protocol import Item, Sample, Unreadable

ABOUT = "JSON list or lines of instruction, input, output"
COLUMNS = Columns(question="instruction", more="input", answer="output")


def sniff(sample: Sample) -> bool:
    """By its keys."""
    return {"instruction", "output"} <= set(sample.keys)


def read(sample: Sample, config: CleanConfig) -> Iterator[Item]:
    """A value a record."""
    for value in objects(sample.path, sample.encoding):
        if isinstance(value, Damaged):
            yield Unreadable(value.reason, value.excerpt)
        elif not isinstance(value, dict) or not {"instruction", "output"} <= value.keys():
            yield Unreadable("no instruction and output", str(value)[:200])
        else:
            yield COLUMNS.item(value)
