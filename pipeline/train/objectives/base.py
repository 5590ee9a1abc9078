"""What an objective is: where its rows come from, and the loss of a micro-batch as (sum, count)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.train.config import TrainConfig
from pipeline.train.feed import Feed
from utils.codec import Codec

Batch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Objective:
    """One way to learn, for the one loop."""

    open_feed: Callable[[TrainConfig, Path, Codec, Path], Feed]
    """(config, pack, codec, cache) → where the rows come from."""

    loss: Callable[[torch.nn.Module, Batch], torch.Tensor]
    """(model, micro-batch) → the sum of the losses of its trained tokens."""


def next_token_loss(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """Cross-entropy of every target that is trained, summed in fp32; through the model's one door."""
    return model(**batch).loss_sum  # type: ignore[no-any-return]
