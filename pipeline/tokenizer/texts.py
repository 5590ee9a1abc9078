"""Which text the report measures on: the beginning of each source's held-out records, cut into passages.

Records are shuffled within a source, so a beginning is a fair sample, and the same one every time. A source that
holds nothing out is measured on the beginning of its train records, and the page says so; figures of languages
and of all sources together leave it out, unless there is nothing better. P passages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.tokenizer.sample import texts_of
from utils.language import Language, language
from utils.records import Record, read_records, record_shards

PER_SOURCE, IN_ALL = 1_000_000, 8_000_000
"""Bytes of text: more would not change the third digit. GPT-2's encoder takes half a second a million."""

PASSAGE = 600
"""Characters a passage has at most: long enough that where it is cut does not count, short enough to be compared."""

COLUMNS = ("kind", "text", "messages", "tools")


@dataclass
class Texts:
    """Passages, where each is from and what it is written in, side by side."""

    texts: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    languages: list[Language] = field(default_factory=list)
    held_out: dict[str, bool] = field(default_factory=dict)
    """Source → was it measured on held-out text?"""

    @property
    def held_out_P(self) -> np.ndarray:
        """Which passages are held out."""
        return np.array([self.held_out[source] for source in self.sources], bool)

    def of_language(self, name: str) -> np.ndarray:
        """Which passages tell of a language: of those held out if there are any, else of all."""
        return preferred(np.array(self.languages) == name, self.held_out_P)

    def add(self, source: str, text: str) -> None:
        """One more passage."""
        self.texts.append(text)
        self.sources.append(source)
        self.languages.append(language(text))


def preferred(chosen_P: np.ndarray, better_P: np.ndarray) -> np.ndarray:
    """What is chosen and better, if there is such a thing; else what is chosen."""
    both_P: np.ndarray = chosen_P & better_P
    return both_P if both_P.any() else chosen_P


def held_out(clean: Path) -> Texts:
    """Of each source what is held out, or the beginning of what is trained on."""
    found = Texts()
    train, valid = record_shards(clean, "train"), record_shards(clean, "valid")
    sources = sorted(train.keys() | valid.keys())
    for source in sources:
        for shards, is_held_out in ((valid, True), (train, False)):
            passages = list(_beginning(shards.get(source, []), _bound(len(sources)), written))
            if passages:
                found.held_out[source] = is_held_out
                for passage in passages:
                    found.add(source, passage)
                break
    return found


def trained_on(clean: Path) -> list[str]:
    """The beginning of each source's train records, as a model sees them: names of roles and calls of tools as well."""
    shards = record_shards(clean, "train")
    bound = _bound(len(shards))
    return [passage for source in sorted(shards) for passage in _beginning(shards[source], bound, texts_of)]


def _bound(sources: int) -> int:
    return min(PER_SOURCE, IN_ALL // max(sources, 1))


def _beginning(shards: list[Path], bound: int, texts: Callable[[Record], Iterator[str]]) -> Iterator[str]:
    """Passages of the first records, until they have so many bytes."""
    for shard in shards:
        for record in read_records(shard, COLUMNS):
            for text in texts(record):
                for passage in passages(text):
                    bound -= len(passage.encode())
                    yield passage
                    if bound <= 0:
                        return


def written(record: Record) -> Iterator[str]:
    """What people wrote in a record: no names of roles, no calls of tools."""
    if record["kind"] == "text":
        yield record["text"] or ""
        return
    for message in record["messages"]:
        yield from (text for text in (message["reasoning"], message["content"]) if text)


def passages(text: str) -> Iterator[str]:
    """A text cut behind a line, else before a space, else behind a full stop, else anywhere."""
    start = 0
    while len(text) - start > PASSAGE:
        middle, end = start + PASSAGE // 2, start + PASSAGE
        ends = (text.rfind("\n", middle, end) + 1, text.rfind(" ", middle, end), text.rfind("。", middle, end) + 1)
        cut = next((place for place in ends if place > middle), end)
        yield text[start:cut]
        start = cut
    if text[start:].strip():
        yield text[start:]
