"""What is odd about a run: losses come in, step by step; spikes, and streaks of steps without a gradient, go out.

A spike is told, with the records that the batch held, and changes nothing. A step whose gradient is not finite changes
no weight; after several in a row the run goes back to its last checkpoint, and if they come again there it ends.
"""

from __future__ import annotations

import math
from collections import deque
from itertools import pairwise
from statistics import median

WINDOW, NEAR, ENOUGH = 64, 8, 16
"""Losses that tell how much a step changes, how many tell what is usual now, and the least that tell anything."""

SPREADS, SHARE, LEAST = 6.0, 0.1, 0.1
"""A spike is so many robust standard deviations of a step's change above the usual loss, that share of it, and so many
nats: what is known by heart is at nearly 0, and every unusual row of it would be a spike."""


class Spikes:
    """Losses far above those of the steps before. What they vary by is told by their changes, which know no trend."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=WINDOW)

    def usual(self, loss: float) -> float | None:
        """The usual loss, if this one is a spike; a run that stays up there finds its new level usual after a while."""
        recent = list(self._recent)
        if math.isfinite(loss):
            self._recent.append(loss)
        if len(recent) < ENOUGH or not math.isfinite(loss):
            return None
        level = median(recent[-NEAR:])
        spread = 1.4826 * median(abs(after - before) for before, after in pairwise(recent))
        return level if loss - level > max(SPREADS * spread, SHARE * level, LEAST) else None


class GoBack(Exception):
    """The weights are not worth going on from: back to the last checkpoint."""

    def __init__(self, step: int):
        super().__init__(f"at step {step}")
        self.step = step


class Streak:
    """Counts steps in a row without a finite gradient."""

    def __init__(self, most: int):
        self.most, self.length, self.went_back = most, 0, False

    def skipped(self, step: int) -> None:
        """One more; raises `GoBack` when there are too many."""
        self.length += 1
        if self.length >= self.most:
            self.length = 0
            raise GoBack(step)

    def broken(self) -> None:
        """A step with a gradient."""
        self.length = 0
