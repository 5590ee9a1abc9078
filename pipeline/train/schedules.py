"""The learning rate as a pure function of the step, so that no engine can step it twice."""

from __future__ import annotations

from pipeline.train.config import TrainConfig


def decay_start(config: TrainConfig, total: int) -> int:
    """The step at which a run of `total` steps begins to decay; a longer run goes on from here."""
    return total - round(config.decay * total)


def warm_up(config: TrainConfig, total: int) -> int:
    """Steps of warm-up. A run keeps those it began with, whatever its horizon becomes."""
    return max(1, round(config.warmup * total))


def learning_rate(config: TrainConfig, step: int, total: int, warm: int) -> float:
    """Warm up, stay, decay: the rate of the step that follows `step` finished ones."""
    if step < warm:
        return config.lr * (step + 1) / warm
    start = decay_start(config, total)
    if step < start:
        return config.lr
    left = (total - step) / max(1, total - start)
    return config.lr * (config.min_lr + (1 - config.min_lr) * left)
