"""Held-out bits per byte of anything that can say how surprised it is.

A callable and windows of tokens come in; bits per byte by source come out: the nats of text tokens, over the UTF-8
bytes that these tokens stand for, over ln 2. Marks are no text: neither their nats nor any byte of theirs counts.
The sums come before the quotient, so that ranks add theirs up first.

Shapes: N rows, L tokens of a row, V ids, S sources.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np

UNTRAINED = -100
ALL = "all"


class Window(Protocol):
    """Rows as a model takes them: targets already shifted, UNTRAINED where nothing is asked; whole numbers, [N, L]."""

    @property
    def input_ids(self) -> np.ndarray: ...
    @property
    def targets(self) -> np.ndarray: ...
    @property
    def position_ids(self) -> np.ndarray: ...


Score = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""(input_ids, targets, position_ids) to the nats of each target, [N, L]; where none is asked, anything."""


class Tally:
    """Sums by source: nats, text tokens, bytes."""

    def __init__(self, sources: Sequence[str]):
        self.sources = list(sources)
        self.sums_S3 = np.zeros((len(self.sources), 3), np.float64)
        """Ranks add these up, element by element; nothing else differs between them."""

    def add(self, source: str, nats_NL: np.ndarray, targets_NL: np.ndarray, bytes_per_id_V: np.ndarray) -> None:
        """One window's nats."""
        asked_NL = targets_NL != UNTRAINED
        bytes_NL = np.where(asked_NL, bytes_per_id_V[np.where(asked_NL, targets_NL, 0)], 0)
        text_NL = bytes_NL > 0
        nats = np.asarray(nats_NL, np.float64)[text_NL].sum()
        self.sums_S3[self.sources.index(source)] += (nats, text_NL.sum(), bytes_NL.sum())

    def merge(self, other: Tally) -> None:
        """Take in what another rank counted over the same sources."""
        assert other.sources == self.sources
        self.sums_S3 += other.sums_S3

    def bits_per_byte(self) -> dict[str, float]:
        """By source, and over all bytes as `all`; a source without text has no figure."""
        rows = dict(zip(self.sources, self.sums_S3, strict=True))
        rows[ALL] = self.sums_S3.sum(axis=0)
        return {name: float(nats / n_bytes / math.log(2)) for name, (nats, _, n_bytes) in rows.items() if n_bytes}

    def counts(self) -> dict[str, dict[str, int]]:
        """What the figures rest on: text tokens and bytes by source."""
        pairs = zip(self.sources, self.sums_S3, strict=True)
        return {name: {"tokens": int(tokens), "bytes": int(n_bytes)} for name, (_, tokens, n_bytes) in pairs}


def tallied(score: Score, windows: Mapping[str, Iterable[Window]], bytes_per_id_V: np.ndarray) -> Tally:
    """Score every window once."""
    tally = Tally(list(windows))
    for source, some in windows.items():
        for window in some:
            nats_NL = score(window.input_ids, window.targets, window.position_ids)
            tally.add(source, nats_NL, window.targets, bytes_per_id_V)
    return tally


def bits_per_byte(
    score: Score, windows: Mapping[str, Iterable[Window]], bytes_per_id_V: np.ndarray
) -> dict[str, float]:
    """`tallied`, in one process, as figures."""
    return tallied(score, windows, bytes_per_id_V).bits_per_byte()
