"""What an objective is: where its rows come from, what it counts in them, and the summed loss of a micro-batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pipeline.train.config import TrainConfig
from pipeline.train.feed import Feed
from pipeline.train.rows import Rows
from utils.codec import Codec
from utils.scoring import UNTRAINED

Batch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Objective:
    """One way to learn, for the one loop."""

    open_feed: Callable[[TrainConfig, Path, Codec, Path], Feed]
    """(config, pack, codec, cache) → where the rows come from."""

    count: Callable[[Rows], int]
    """What the loss is divided by, summed over the global batch: known before the model runs."""

    loss: Callable[[torch.nn.Module, Batch, float], torch.Tensor]
    """(model, micro-batch, label smoothing) → the sum of the losses of its trained tokens."""


def trained_tokens(rows: Rows) -> int:
    """How many targets of these rows are trained."""
    return int(np.count_nonzero(rows.targets != UNTRAINED))


def next_token_loss(model: torch.nn.Module, batch: Batch, label_smoothing: float = 0.0) -> torch.Tensor:
    """Cross-entropy of every target that is trained, summed in fp32; through the model's one door."""
    return model(**batch, label_smoothing=label_smoothing).loss_sum  # type: ignore[no-any-return]
