"""How long a run is: what the recipe says, and how many steps that makes."""

from __future__ import annotations

import math

from pipeline.train.config import TrainConfig
from pipeline.train.feed import Feed
from utils.stage import Json


def horizon(config: TrainConfig) -> Json:
    """How long, as the recipe says it."""
    given = {name: getattr(config, name) for name in config.ONE_OF[0] if getattr(config, name) is not None}
    return given | ({"min_steps": config.min_steps} if config.epochs and config.min_steps else {})


def steps(config: TrainConfig, feed: Feed) -> int:
    """How long, in steps."""
    if config.max_steps is not None:
        return config.max_steps
    if config.max_tokens is not None:
        return math.ceil(config.max_tokens / (config.batch_size * config.seq_len))
    return max(config.min_steps, steps_of_epochs(config, feed))


def steps_of_epochs(config: TrainConfig, feed: Feed) -> int:
    """So often through the data, in steps."""
    assert config.epochs is not None
    return math.ceil(config.epochs * feed.sequences / config.batch_size)
