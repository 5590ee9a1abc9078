"""Memory stays what it is, however long the stream, however long a document, however far the lanes are apart."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import pytest

from tests.commands import ROOT, environment

READ = """
import json, os, sys
from pathlib import Path
from pipeline.train import stream_source
from pipeline.train.stream import SOURCE, StreamFeed
from utils.codec import Codec
from utils.memory import anonymous

def is_temporary(name):
    try:
        return os.readlink(f"/proc/self/fd/{name}").endswith("(deleted)")
    except FileNotFoundError:  # the folder itself, which was listed
        return False

source, tokenizer, batch, steps, stream_source.BLOCK = sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:])
feed = StreamFeed.open(source, "text", Codec(tokenizer), 1024, batch, 0)
feed.rows(0, range(batch))
before, most = anonymous(), 0.0
for step in range(1, steps):
    feed.rows(step * batch, range(batch))
    most = max(most, (anonymous() - before) / 1e6)
links = [os.stat(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if is_temporary(name)]
lanes = [cursor["document"] for name, cursor in feed.cursors().items() if name != SOURCE]
print(json.dumps({"grown": most, "files": sum(link.st_size for link in links) / 1e6, "read": max(lanes)}))
"""
SENTENCE = "今天天气很好，我们去公园散步。The quick brown fox jumps over the lazy dog. "


def grown(source: Path, tokenizer: Path, batch: int, steps: int, block: int = 256) -> dict[str, float]:
    """Megabytes of memory, at the most, beyond those of the first row; and of the temporary files at the end."""
    words = [sys.executable, "-c", READ, str(source), str(tokenizer), str(batch), str(steps), str(block)]
    done = subprocess.run(words, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(told)
    return told


def write(folder: Path, lengths: Iterable[int]) -> Path:
    """JSON lines of documents of so many sentences."""
    for part, some in enumerate(batched(lengths, 5000)):
        with (folder / f"part-{part:04}.jsonl").open("w", encoding="utf-8") as file:
            for number, length in enumerate(some):
                file.write(json.dumps({"text": f"{part}.{number} " + SENTENCE * length}, ensure_ascii=False) + "\n")
    return folder / "part-*.jsonl"


def batched(lengths: Iterable[int], size: int) -> Iterator[list[int]]:
    every = iter(lengths)
    return iter(lambda: list(islice(every, size)), [])


@pytest.mark.slow
def test_a_long_stream(tmp_path: Path, tiny_tokenizer: Path) -> None:
    """300 MB of documents as skewed as real ones, in 64 lanes."""
    draw = random.Random(0)
    lengths = (max(1, int(draw.lognormvariate(3, 1.2))) for _ in range(100_000))
    told = grown(write(tmp_path, lengths), tiny_tokenizer, 64, 1800)
    assert told["read"] > 70_000
    assert told["grown"] < 200


@pytest.mark.slow
def test_lanes_that_drift_apart(tmp_path: Path, tiny_tokenizer: Path) -> None:
    """One lane gets short documents only, and is always ahead: 100 MB and more wait for the others, in files."""
    lengths = (60 if number % 32 else 1 for number in range(60_000))
    told = grown(write(tmp_path, lengths), tiny_tokenizer, 32, 70, block=1)
    assert told["files"] > 100
    assert told["grown"] < 200
