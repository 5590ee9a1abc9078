"""Finetune: answer. Only the assistant's words are trained; the shards' spans say which those are."""

from __future__ import annotations

from pathlib import Path

from pipeline.train.blur import Blur
from pipeline.train.config import FinetuneConfig, TrainConfig
from pipeline.train.feed import Feed, ShardFeed
from pipeline.train.objectives.base import Objective, next_token_loss, trained_tokens
from utils.codec import Codec


def open_feed(config: TrainConfig, pack: Path, codec: Codec, cache: Path) -> Feed:
    """Whole dialogues, binned; their questions blurred if the recipe says so."""
    assert isinstance(config, FinetuneConfig)
    blur = Blur(config.blur, config.seed, codec) if config.blur else None
    return ShardFeed(pack, "finetune", config.seq_len, config.seed, config.mix, cache, blur)


FINETUNE = Objective(open_feed, trained_tokens, next_token_loss)
