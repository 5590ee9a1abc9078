"""Packs of any size, made in seconds: one record batch of made-up documents, written over and over.

`text` fills `pretrain/train`, `dialogues` fills `finetune/train`; the batch goes through the pack stage's own writer
first, so that the files are what that stage leaves. Used by `bench/feed.py` and by the tests of memory, which ask

    python -m bench.feed_shards PACK VERB SEQ_LEN BATCHES

by how many bytes the anonymous memory of that process rises while it opens the pack and reads batches of 64 rows from
all over an epoch.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.train.config import Verb
from pipeline.train.feed import ShardFeed
from utils.chat import END_OF_TEXT, END_OF_TURN, MARK_IDS, TURN
from utils.memory import anonymous
from utils.shard_writer import shard_writer
from utils.shards import Spans
from utils.stage import write_manifest

VOCABULARY = 32_000
FIRST = 100
"""The lowest id that stands for text here."""

Documents = Iterator[tuple[np.ndarray, Spans | None]]


def text(count: int, seed: int = 0, mean: int = 400) -> Documents:
    """Documents of pretraining: an edge, then text; lengths as skewed as real ones."""
    dice = np.random.default_rng(seed)
    for length in _lengths(dice, count, mean, 1).tolist():
        said = dice.integers(FIRST, VOCABULARY, length)
        yield np.concatenate([[MARK_IDS[END_OF_TEXT]], said]).astype(np.uint16), None


def dialogues(count: int, seed: int = 0, mean: int = 36) -> Documents:
    """Dialogues of one to three questions with trained replies; 36 tokens make 14 of them fill a row of 512."""
    dice = np.random.default_rng(seed)
    for turns in dice.integers(1, 4, count).tolist():
        tokens: list[np.ndarray] = []
        spans, at = [], 0
        for number, length in enumerate(_lengths(dice, 2 * turns, mean // 4, 2).tolist()):
            said = dice.integers(FIRST, VOCABULARY, length)
            tokens += [np.array([MARK_IDS[TURN]]), said, np.array([MARK_IDS[END_OF_TURN]])]
            if number % 2:
                spans.append((at + 2, at + length + 2))
            at += length + 2
        yield np.concatenate(tokens).astype(np.uint16), spans


def _lengths(dice: np.random.Generator, count: int, mean: int, least: int) -> np.ndarray:
    return np.maximum(least, dice.lognormal(np.log(mean) - 0.32, 0.8, count)).astype(np.int64)


def make_pack(folder: Path, verb: str, documents: Documents, size: int, shards: int = 1, source: str = "made") -> Path:
    """A finished pack of `size` bytes or a little more in so many shards of one source."""
    seedling = folder.with_name(f"{folder.name}.seedling.arrow")
    with shard_writer(seedling, VOCABULARY, np.dtype(np.uint16)) as writer:
        for number, (tokens, spans) in enumerate(documents):
            writer.add(f"{source}/{number}", tokens, spans, 3 * len(tokens))
    file = pa.ipc.open_file(pa.memory_map(str(seedling)))
    batches = [file.get_batch(number) for number in range(file.num_record_batches)]
    times = -(-size // (seedling.stat().st_size * shards))
    counts = {}
    for number in range(shards):
        name = f"{verb}/train/{source}-{number:05d}.arrow"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_file(sink, file.schema) as copy:
            for batch in batches * times:
                copy.write_batch(batch)
        counts[name] = {"documents": writer.documents * times, "tokens": writer.tokens * times}
    seedling.unlink()
    return finish(folder, counts, VOCABULARY)


def finish(folder: Path, counts: Mapping[str, Mapping[str, int]], vocab_size: int) -> Path:
    """The manifest of a pack whose shards are written: documents and tokens by shard, and the marks of our own."""
    counters = {"vocab_size": vocab_size, "marks": MARK_IDS, "shards": counts}
    write_manifest(folder, "pack", {}, {}, counters, ("pyarrow",))
    return folder


@contextmanager
def watched_memory() -> Iterator[list[int]]:
    """Within: how far this process's anonymous memory rises above where it stands now, in bytes, looked at often."""
    before, rise, done = anonymous(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.003):
            rise[0] = max(rise[0], anonymous() - before)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield rise
        rise[0] = max(rise[0], anonymous() - before)
    finally:
        done.set()
        thread.join()


def memory(pack: Path, verb: Verb, seq_len: int, batches: int) -> int:
    """What opening a pack, planning, and reading so many batches and their ids costs this process at most."""
    with watched_memory() as rise:
        feed = ShardFeed(pack, verb, seq_len, 0, {}, pack / f"plan-{os.getpid()}")
        for number in range(batches):
            feed.rows(feed.sequences * number // batches, range(64))
            feed.ids(feed.sequences * number // batches, range(64))
    return rise[0]


if __name__ == "__main__":
    print(memory(Path(sys.argv[1]), "pretrain" if sys.argv[2] == "pretrain" else "finetune", *map(int, sys.argv[3:])))
