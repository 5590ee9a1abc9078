"""What `bench/clean_corpus.py` planted, as its truth.json says it, and how much of that a cleaner found."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

from bench.clean_texts import EXACT, NEAR, Block


@dataclass
class Planted:
    """What truth.json says of a source. Positions count the source's records through its files in order."""

    files: list[tuple[str, int]] = field(default_factory=list)
    """Path in the corpus's folder, and records."""
    bytes: int = 0
    exact: list[tuple[int, int]] = field(default_factory=list)
    """Position of a copy, and of its original."""
    near: list[tuple[int, int]] = field(default_factory=list)
    exam: list[tuple[int, int]] = field(default_factory=list)
    """Position, and number of the question in `Shelf.exam`."""

    def note(self, block: Block) -> None:
        """Remember what a block planted."""
        for kind, pairs in ((EXACT, self.exact), (NEAR, self.near)):
            there = block.kinds_B == kind
            pairs += zip(block.positions_B[there].tolist(), block.origins_B[there].tolist(), strict=True)
        self.exam += block.exams.items()


Place = tuple[str, int]
"""A file's name and a record's number in it, from 0."""


def corpus_files(folder: Path) -> list[Path]:
    """The corpus's files in order."""
    return [folder / name for one in _truth(folder).values() for name, _ in one["files"]]


def places(folder: Path, kind: str) -> Iterator[tuple[Place, Place | int]]:
    """What was planted: copy and original (`exact`, `near`), or a record and the number of its question (`exam`)."""
    for one in _truth(folder).values():
        names = [Path(name).name for name, _ in one["files"]]
        starts = [0, *accumulate(records for _, records in one["files"])]

        def place(position: int, names: list[str] = names, starts: list[int] = starts) -> Place:
            number = bisect_right(starts, position) - 1
            return names[number], position - starts[number]

        for position, other in one[kind]:
            yield place(position), other if kind == "exam" else place(other)


def recall(folder: Path, kept: set[Place]) -> dict[str, float]:
    """Of what was planted, the share that was found: not both of a pair kept, and no record with a question."""
    found = {}
    for kind in ("exact", "near", "exam"):
        planted = list(places(folder, kind))
        missed = sum(copy in kept and (kind == "exam" or other in kept) for copy, other in planted)
        found[kind] = 1 - missed / max(len(planted), 1)
    return found


def _truth(folder: Path) -> dict[str, Any]:
    with (folder / "truth.json").open(encoding="utf-8") as file:
        return dict(json.load(file)["sources"])
