"""What reading shards costs in memory: a window and a batch, whatever the size of the corpus; page cache apart."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.feed_shards import dialogues, make_pack, text
from tests.commands import run

MB = 1 << 20


def rise(pack: Path, verb: str, batches: int, length: int = 512) -> int:
    """By how many bytes the anonymous memory of a process rises that opens a feed and reads all over an epoch."""
    return int(run([sys.executable, "-m", "bench.feed_shards", pack, verb, str(length), str(batches)]))


def packed(folder: Path, verb: str, size: int, shards: int) -> Path:
    return make_pack(folder / verb, verb, text(1_000) if verb == "pretrain" else dialogues(5_000), size, shards)


@pytest.mark.parametrize("verb", ["pretrain", "finetune"])
def test_no_shard_is_read_into_memory(tmp_path: Path, verb: str) -> None:
    """One shard, larger than what is allowed; a window of 100,000 dialogues takes most of that."""
    assert rise(packed(tmp_path, verb, 144 * MB, 1), verb, 40) < 96 * MB


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["pretrain", "finetune"])
def test_two_gigabytes_of_shards_cost_no_more(tmp_path: Path, verb: str) -> None:
    assert rise(packed(tmp_path, verb, 2048 * MB, 128), verb, 2_000) < 200 * MB
