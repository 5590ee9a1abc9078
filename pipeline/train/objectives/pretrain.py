"""Pretrain: continue text, every token of it."""

from __future__ import annotations

from pathlib import Path

from pipeline.train.config import PretrainConfig, TrainConfig
from pipeline.train.feed import Feed, ShardFeed
from pipeline.train.objectives.base import Objective, next_token_loss, trained_tokens
from utils.codec import Codec


def open_feed(config: TrainConfig, pack: Path, codec: Codec, cache: Path) -> Feed:
    """Packed shards, or a stream that is tokenized on the way."""
    assert isinstance(config, PretrainConfig)
    if config.stream:
        from pipeline.train.stream import StreamFeed  # `datasets` is imported only where a stream is read

        return StreamFeed.open(config.stream, config.stream_text, codec, config.seq_len, config.batch_size, config.seed)
    return ShardFeed(pack, "pretrain", config.seq_len, config.seed, config.mix, cache)


PRETRAIN = Objective(open_feed, trained_tokens, next_token_loss)
