"""Dialogues of any length: minimind's role/content, ShareGPT's from/value, with reasoning, tools and calls."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.clean.config import CleanConfig
from pipeline.clean.json_files import Damaged, objects
from pipeline.clean.protocol import Item, Sample, Unreadable
from pipeline.clean.turns import LISTS, conversation

ABOUT = "JSON lines or list of conversations (or messages): role/content or from/value"


def sniff(sample: Sample) -> bool:
    """By its keys; pairs of a chosen and a rejected reply are another matter."""
    keys = set(sample.keys)
    return not keys.isdisjoint(LISTS) and "chosen" not in keys


def read(sample: Sample, config: CleanConfig) -> Iterator[Item]:
    """A value a record."""
    for value in objects(sample.path, sample.encoding):
        if isinstance(value, Damaged):
            yield Unreadable(value.reason, value.excerpt)
        elif not isinstance(value, dict):
            yield Unreadable("not an object with a list of turns", str(value)[:200])
        else:
            yield conversation(value)
