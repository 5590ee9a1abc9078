"""How fast rows are fed, beside the loop that everyone writes; how full they are; what planning takes; what memory.

    python -m bench.feed [--megabytes 512] [--folder DIR]

Shards as the pack stage leaves them are made first (`feed_shards.py`, 16 MB each), of texts and of short dialogues, and
read from the page cache by one thread. The loop reads the same dialogues from the same map, in stored order and without
a plan, one by one into padded rows of int64; its tokens are those of dialogues, without the padding. Fill is that of
real dialogues (`real_text.py`), cleaned, tokenized and packed by the stages, at two sizes of vocabulary; without that
folder it is left out. Times are CPU seconds, the median of five; memory is what is not mapped from files, at its peak.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import yaml

from bench.feed_shards import dialogues, make_pack, text
from bench.real_text import DATA
from pipeline.train.announce import told_fill
from pipeline.train.config import Verb
from pipeline.train.feed import ShardFeed
from pipeline.train.order import assigned, permuted
from utils.scoring import UNTRAINED
from utils.shards import Source, sources

ROOT = Path(__file__).resolve().parent.parent
SHARD = 16
"""MB: what a shard of cleaned text, 32 MB, becomes."""

LENGTHS = (512, 1024)
BATCHES = (64, 256)
AT_ONCE = 4_000_000
"""Tokens a measurement reads, or more."""

DIALOGUES = (
    "chatlm_qa_3k.parquet",
    "chatlm_qa_valid_1k.parquet",
    "medical_neike_sample_gb18030.csv",
    "alpaca_zh_demo.json",
    "alpaca_en_demo.json",
    "glaive_toolcall_zh_demo.json",
    "xiehouyu.json",
)
VOCABULARIES = (6_400, 16_000)


def median_rate(work: Callable[[int], int]) -> float:
    """Millions a CPU second of what `work(repeat)` says it did."""
    work(0)
    rates = []
    for repeat in range(1, 6):
        began = time.process_time()
        done = work(repeat)
        rates.append(done / (time.process_time() - began) / 1e6)
    return statistics.median(rates)


def read(feed: ShardFeed, rows: int, repeat: int) -> int:
    """Batches of so many rows, on from where the last repeat ended; how many tokens they hold."""
    batches = -(-AT_ONCE // (rows * feed.seq_len))
    for number in range(repeat * batches, (repeat + 1) * batches):
        feed.rows(number * rows, range(rows))
    return batches * rows * feed.seq_len


def loop(source: Source, seq_len: int, repeat: int) -> int:
    """The loop: each document's ids into a padded row, its trained ones into another; how many tokens it laid down."""
    laid = 0
    batch = next(source.batches())
    for first in range(repeat * 640, (repeat + 1) * 640, 64):
        inputs_NL = np.zeros((64, seq_len), np.int64)
        targets_NL = np.full((64, seq_len), UNTRAINED, np.int64)
        for row in range(64):
            tokens, spans = batch.document((first + row) % len(batch.all_trained_N))
            tokens = tokens[: seq_len + 1]
            inputs_NL[row, : len(tokens) - 1] = tokens[:-1]
            for start, end in [(0, len(tokens))] if spans is None else spans:
                targets_NL[row, max(start - 1, 0) : end - 1] = tokens[max(start, 1) : end]
            laid += len(tokens) - 1
    return laid


def speed(pack: Path, verb: Verb) -> None:
    """Tokens a second of one verb, at every length and batch; what opening it took, and what memory."""
    for seq_len in LENGTHS:
        began = time.process_time()
        feed = ShardFeed(pack, verb, seq_len, 0, {}, pack / "plan")
        opened = time.process_time() - began
        print(f"{verb}, rows of {seq_len}, M tokens/s: {told_rates(feed)}", flush=True)
        if held := feed.a_row_holds:
            source = sources(pack, verb, "train")["made"]
            plain = median_rate(partial(loop, source, seq_len))
            print(f"  the loop: {plain:.1f} M tokens/s")
            print(f"  planned {source.documents:,} dialogues: {source.documents / opened / 1e6:.1f} M a second")
            print(f"  {told_fill(*held, seq_len)}")
        words = [sys.executable, "-m", "bench.feed_shards", str(pack), verb, str(seq_len), "200"]
        rise = int(subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
        print(f"  memory, plan and all: {rise / 1e6:.0f} MB", flush=True)


def told_rates(feed: ShardFeed) -> str:
    """Millions of tokens a second, by the rows of a batch."""
    return ", ".join(f"{median_rate(partial(read, feed, rows)):.0f} in {rows} rows" for rows in BATCHES)


def order() -> None:
    """A batch's places among a billion sequences."""

    def place(repeat: int) -> int:
        for step in range(200):
            source_N, ordinal_N = assigned(np.arange(64) + (repeat * 200 + step) * 64, [10**9])
            permuted(ordinal_N[source_N == 0], 10**9, "0/made/0")
        return 200 * 64

    print(f"order of a billion sequences: {1 / median_rate(place):.1f} µs a sequence, no memory", flush=True)


def fill(folder: Path, data: Path) -> None:
    """Real dialogues through the stages, and how full their rows are."""
    missing = [name for name in DIALOGUES if not (data / name).is_file()]
    if missing:
        print(f"fill of real dialogues: left out, {data} lacks {', '.join(missing)}", flush=True)
        return
    recipe = folder / "fill.yaml"
    recipe.write_text(yaml.safe_dump({"clean": {"inputs": [str(data / name) for name in DIALOGUES]}}), encoding="utf-8")
    for vocabulary in VOCABULARIES:
        words = [sys.executable, "-m", "pipeline", str(recipe), f"workspace={folder / 'fill'}", "--until=pack"]
        env = os.environ | {"OMP_NUM_THREADS": "1"}
        more = f"tokenizer.vocab_size={vocabulary}"
        subprocess.run([*words, more], cwd=ROOT, env=env, check=True, stdout=subprocess.DEVNULL)
        for seq_len in LENGTHS:
            feed = ShardFeed(folder / "fill/pack", "finetune", seq_len, 0, {}, folder / "fill/plan")
            assert feed.a_row_holds
            told = told_fill(*feed.a_row_holds, seq_len)
            print(f"real dialogues, {vocabulary:,} pieces, rows of {seq_len}: {told}", flush=True)
            print(f"  M tokens/s, all sources: {told_rates(feed)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast rows are fed, and how full they are.")
    parser.add_argument("--megabytes", type=int, default=512, help="of shards for each verb")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder if not given")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        size, shards = given.megabytes << 20, -(-given.megabytes // SHARD)
        print(f"{given.megabytes} MB for each verb in {shards} shards", flush=True)
        speed(make_pack(folder / "text", "pretrain", text(4_000), size, shards), "pretrain")
        speed(make_pack(folder / "chat", "finetune", dialogues(60_000), size, shards), "finetune")
        order()
        fill(folder, DATA)


if __name__ == "__main__":
    main()
