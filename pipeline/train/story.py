"""A run's lines come in, one at a time; what its page shows is kept: no more for a million steps than for a thousand.

A curve holds neighbouring steps together once there are many: their mean, and the lowest and highest among them, so
that a spike of one step is still seen.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from utils.charts import Point
from utils.stage import Json

CURVES = ("loss", "lr", "grad_norm", "tokens_per_second", "mfu", "wait")
"""What is drawn of a step's line."""

ALWAYS = ("tokens", "seconds", "wait", "memory_gb")
"""What else is told of it, and is always a number."""

MOST_PIECES = 800
"""Of a curve: about as many as a page has pixels for it."""

MOST_SAMPLES = 12
"""Steps of which a prompt's samples are kept: the first, the newest, and some between them."""


@dataclass(slots=True)
class Piece:
    """Neighbouring points of a curve."""

    first: float
    last: float
    count: int
    total: float
    low: Point
    high: Point

    def add(self, x: float, y: float) -> None:
        """One more point behind the others; done for each step that a file holds, so nothing is made anew."""
        self.last, self.count, self.total = x, self.count + 1, self.total + y
        if y < self.low[1]:
            self.low = (x, y)
        if y > self.high[1]:
            self.high = (x, y)

    def joined(self, other: Piece) -> Piece:
        """Both as one."""
        return Piece(
            self.first,
            other.last,
            self.count + other.count,
            self.total + other.total,
            min(self.low, other.low, key=_height),
            max(self.high, other.high, key=_height),
        )


def _height(point: Point) -> float:
    return point[1]


class Curve:
    """Any number of points, in a number of pieces that has a limit."""

    def __init__(self) -> None:
        self._pieces: list[Piece] = []
        self._size = 1

    def add(self, x: float, y: float | None) -> None:
        """The next point; what is no number is left out."""
        if y is None or not math.isfinite(y):
            return
        if self._pieces and self._pieces[-1].count < self._size:
            self._pieces[-1].add(x, y)
            return
        if len(self._pieces) == MOST_PIECES:
            pairs = zip(self._pieces[::2], self._pieces[1::2], strict=True)
            self._pieces = [one.joined(other) for one, other in pairs]
            self._size *= 2
        self._pieces.append(Piece(x, x, 1, y, (x, y), (x, y)))

    def means(self) -> list[Point]:
        """The line."""
        return [((one.first + one.last) / 2, one.total / one.count) for one in self._pieces]

    def outline(self) -> list[Point]:
        """The lowest and the highest of each piece."""
        return [point for one in self._pieces for point in sorted({one.low, one.high})]


@dataclass
class Story:
    """What there is to show of a run."""

    curves: dict[str, Curve] = field(default_factory=lambda: {name: Curve() for name in CURVES})
    bpb: dict[str, Curve] = field(default_factory=dict)
    """Held-out bits per byte, by source."""
    events: list[Json] = field(default_factory=list)
    samples: dict[str, dict[int, str]] = field(default_factory=dict)
    """Prompt -> step -> how the model went on."""
    last: Json = field(default_factory=dict)
    """The newest step's line."""
    look: Json = field(default_factory=dict)
    """The newest look at held-out text."""
    seconds: float = 0.0
    waited: float = 0.0
    memory_gb: float = 0.0

    @classmethod
    def of(cls, metrics: Iterable[Json], samples: Iterable[Json]) -> Story:
        """As the files tell it."""
        story = cls()
        for line in filter(is_ours, metrics):
            story.add(line)
        for line in filter(is_sample, samples):
            story.add_sample(line)
        return story

    def add(self, line: Json) -> None:
        """A line of metrics.jsonl."""
        if "event" in line:
            self.events.append(line)
        elif "loss" in line:
            for name, curve in self.curves.items():
                curve.add(line["step"], line[name])
            self.last = line
            self.seconds += line["seconds"]
            self.waited += line["wait"] * line["seconds"]
            self.memory_gb = max(self.memory_gb, line["memory_gb"])
        elif "bpb" in line:
            for source, value in line["bpb"].items():
                self.bpb.setdefault(source, Curve()).add(line["step"], value)
            self.look = line

    def add_sample(self, line: Json) -> None:
        """A line of samples.jsonl."""
        said = self.samples.setdefault(line["prompt"], {})
        said[line["step"]] = line["text"]
        if len(said) > 2 * MOST_SAMPLES:
            for step in list(said)[1:-1:2]:
                del said[step]


def is_ours(line: Json) -> bool:
    """Has a line of metrics.jsonl what its kind has? Somebody may have edited it, or a bit flipped."""
    if "event" in line:
        rows = line.get("ids", [])
        return isinstance(rows, list) and all(isinstance(row, list) for row in rows)
    if "loss" in line:
        return all(isinstance(line.get(name), int | float) for name in ALWAYS) and all(
            isinstance(line.get(name, ""), int | float | None) for name in CURVES
        )
    figures = line.get("bpb", {})
    return isinstance(figures, dict) and all(isinstance(value, int | float) for value in figures.values())


def is_sample(line: Json) -> bool:
    """The same of samples.jsonl."""
    return isinstance(line.get("prompt"), str) and isinstance(line.get("text"), str)


def spread(said: dict[int, str]) -> list[tuple[int, str]]:
    """Of a prompt's samples those that are shown, the newest first."""
    pairs = sorted(said.items())
    if len(pairs) > MOST_SAMPLES:
        pairs = [pairs[round(i * (len(pairs) - 1) / (MOST_SAMPLES - 1))] for i in range(MOST_SAMPLES)]
    return pairs[::-1]
