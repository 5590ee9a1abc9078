"""Finetune: answer. Only the assistant's words are trained; the shards' spans say which those are."""

from __future__ import annotations

from pathlib import Path

from pipeline.train.config import TrainConfig
from pipeline.train.feed import Feed, ShardFeed
from pipeline.train.objectives.base import Objective, next_token_loss, trained_tokens
from utils.codec import Codec


def open_feed(config: TrainConfig, pack: Path, codec: Codec, cache: Path) -> Feed:
    """Whole dialogues, binned."""
    return ShardFeed(pack, "finetune", config.seq_len, config.seed, config.mix, cache)


FINETUNE = Objective(open_feed, trained_tokens, next_token_loss)
