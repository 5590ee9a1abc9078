"""Held-out sequences and an engine come in, bits per byte by source go out; all ranks score their share."""

from __future__ import annotations

import math

import numpy as np

from pipeline.train.dealing import idle, on
from pipeline.train.engine import Engine
from pipeline.train.feed import Sequences, batches
from utils.codec import Codec
from utils.scoring import Tally


def look(windows: dict[str, Sequences], engine: Engine, codec: Codec, rows: int) -> dict[str, float]:
    """Every rank calls its model equally often, as ZeRO-3 needs; who has no window left scores an idle row."""
    lengths = codec.text_bytes(np.arange(codec.vocab_size))
    tally = Tally(list(windows))
    for source, sequences in windows.items():
        calls = math.ceil(math.ceil(len(sequences) / rows) / engine.world)
        mine = iter(batches(sequences, rows, engine.rank, engine.world))
        for _ in range(calls):
            window = next(mine, None)
            nats_NL = engine.score(on(engine.device, window or idle(engine.config.seq_len))).float().cpu().numpy()
            if window is not None:
                tally.add(source, nats_NL, window.targets, lengths)
    tally.sums_S3[:] = np.reshape(engine.sum(tally.sums_S3.ravel().tolist()), tally.sums_S3.shape)
    return tally.bits_per_byte()
