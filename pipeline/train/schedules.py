"""The learning rate as a pure function of the step, so that no engine can step it twice.

A schedule is a curve: (share of the run gone, share of it that warms up, config) to a share of the peak. All warm up
in a straight line first; what follows is the schedule's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from pipeline.train.config import TrainConfig

ONECYCLE_START = 1 / 25
"""Where onecycle begins, as a share of its peak; it ends at min_lr, or at a thousandth of where it began."""


def decay_start(config: TrainConfig, total: int) -> int:
    """The last step at which a run of `total` steps is the beginning of any longer one; that goes on from here.

    Some curves know no horizon; others span the whole of it, from the first step on.
    """
    if config.schedule in ("constant", "noam"):
        return total
    return total - round(config.decay * total) if config.schedule == "wsd" else 0


def warm_up(config: TrainConfig, total: int) -> int:
    """Steps of warm-up. A run keeps those it began with, whatever its horizon becomes."""
    return max(1, round(config.warmup * total))


def learning_rate(config: TrainConfig, step: int, total: int, warm: int) -> float:
    """The rate of the step that follows `step` finished ones."""
    return config.lr * share_of_peak(config, step, total, warm)


def share_of_peak(config: TrainConfig, step: int, total: int, warm: int) -> float:
    """The same, for a peak of 1: each kind of parameter has a peak of its own."""
    if step < warm:
        gone = (step + 1) / warm
        return _onecycle_rise(gone) if config.schedule == "onecycle" else gone
    return _AFTER[config.schedule](config, step, total, warm)


def _onecycle_rise(gone: float) -> float:
    """Half a wave from a small rate up to the peak, which the last step of warm-up reaches."""
    return ONECYCLE_START + (1 - ONECYCLE_START) * _wave(gone)


def _wave(left: float) -> float:
    """Half a cosine: 1 where all is left, 0 where nothing is."""
    return (1 - math.cos(math.pi * left)) / 2


def _left(step: int, total: int, since: int) -> float:
    """Share of the steps from `since` to the end that are still to come."""
    return (total - step) / max(1, total - since)


def _wsd(config: TrainConfig, step: int, total: int, warm: int) -> float:
    start = decay_start(config, total)
    return 1.0 if step < start else _down(config, _left(step, total, start))


def _cosine(config: TrainConfig, step: int, total: int, warm: int) -> float:
    return _down(config, _wave(_left(step, total, warm)))


def _linear(config: TrainConfig, step: int, total: int, warm: int) -> float:
    return _down(config, _left(step, total, warm))


def _noam(config: TrainConfig, step: int, total: int, warm: int) -> float:
    """Down with the root of the step, as the first transformers learned; the horizon has no say, `min_lr` has."""
    return max(config.min_lr, math.sqrt(warm / (step + 1)))


def _onecycle(config: TrainConfig, step: int, total: int, warm: int) -> float:
    end = config.min_lr or ONECYCLE_START / 1000
    return end + (1 - end) * _wave(_left(step, total, warm))


def _constant(config: TrainConfig, step: int, total: int, warm: int) -> float:
    return 1.0


def _down(config: TrainConfig, height: float) -> float:
    """From the peak (1) to min_lr (0)."""
    return config.min_lr + (1 - config.min_lr) * height


_AFTER: dict[str, Callable[[TrainConfig, int, int, int], float]] = {
    "wsd": _wsd,
    "cosine": _cosine,
    "linear": _linear,
    "noam": _noam,
    "onecycle": _onecycle,
    "constant": _constant,
}
"""What comes after the warm-up."""
