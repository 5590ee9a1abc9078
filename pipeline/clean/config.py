"""What can be chosen about cleaning."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal


@dataclass(frozen=True)
class Input:
    """One corpus: where it lies, and, if the guess would be wrong, how to read it and what to call it."""

    SHORT: ClassVar[str] = "path"

    path: str
    """A file, a folder or a glob."""

    reader: str = "auto"
    """Which reader understands it; `auto` looks into the file."""

    source: str = ""
    """The name of the corpus in shards, mixtures and reports; the folder's or the file's name if empty."""


@dataclass(frozen=True)
class CleanConfig:
    """Raw corpora in, clean records out."""

    FREE: ClassVar[frozenset[str]] = frozenset({"workers", "engine"})

    inputs: list[Input] = field(default_factory=list)
    """Corpora: paths, globs, or {path, reader, source}."""

    workers: int = 0
    """Processes; 0 takes one a core. The output does not depend on it."""

    engine: Literal["local"] = "local"
    """Where the tasks run."""

    seed: int = 0
    """Orders the records within a source, and picks those that are held out."""

    valid: float = 0.02
    """Share of the records held out for evaluation while training, by group."""

    test: float = 0.0
    """Share of the records held out from everything, by group."""

    min_chars: int = 1
    """Shorter texts and replies are dropped."""

    max_chars: int = 100_000
    """Longer texts are dropped; a text file is cut at its blank lines, not here."""

    max_bad_ratio: float = 0.1
    """Stop when more than this share of the records cannot be read."""

    def __post_init__(self) -> None:
        if min(self.valid, self.test) < 0 or self.valid + self.test >= 1:
            raise ValueError(f"valid = {self.valid}, test = {self.test}; they are shares, together below 1")
        if self.workers < 0:
            raise ValueError(f"workers = {self.workers}; give a number of processes, or 0 for one a core")
        if not 0 <= self.min_chars <= self.max_chars or self.max_chars == 0:
            raise ValueError(
                f"min_chars = {self.min_chars}, max_chars = {self.max_chars}; the first must not exceed the second"
            )
        if not 0 <= self.max_bad_ratio <= 1:
            raise ValueError(f"max_bad_ratio = {self.max_bad_ratio}; it is a share, between 0 and 1")
