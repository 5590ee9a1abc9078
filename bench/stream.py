"""How fast a stream becomes rows, and what it costs in memory: local files, the web on this machine, more lanes.

    python -m bench.stream [--megabytes 100] [--lanes 32] [--seq_len 512]

The text is the modern half of the classics, a document a chapter, as parquet in row groups of 1,000 and as JSON lines.
Tokens/s are of CPU time of this process (`time.process_time`), beside: reading alone, and tokenizing alone. The host
runs in a process of its own. Memory is the anonymous part of the resident set, above what it was at the first row.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bench.flaky_host import Host, serving
from bench.real_text import DATA, chapters
from pipeline.tokenizer.config import TokenizerConfig
from pipeline.tokenizer.publish import publish
from pipeline.tokenizer.sample import lines_of
from pipeline.tokenizer.vocabulary import learn
from pipeline.train.stream import StreamFeed
from pipeline.train.stream_source import Anchor, Stream
from utils.codec import Codec
from utils.memory import anonymous

PARTS = 4


def repeated(megabytes: float) -> list[str]:
    """Documents of real text, again from the beginning where there are too few."""
    texts: list[str] = []
    size = 0.0
    for text in cycle(chapters(DATA).values()):
        if size >= megabytes * 1e6:
            break
        texts.append(f"{len(texts)}\n{text}")
        size += len(texts[-1].encode())
    return texts


def codec(folder: Path, texts: list[str]) -> Codec:
    """A tokenizer as the stage makes it."""
    lines = [line for text in texts[:3000] for line in lines_of(text[:4000])]
    publish(learn(lines, TokenizerConfig()).model, folder)
    return Codec(folder)


def write(folder: Path, texts: list[str]) -> None:
    """The same documents, in both forms."""
    for number in range(PARTS):
        part = texts[number::PARTS]
        pq.write_table(pa.table({"text": part}), folder / f"part-{number}.parquet", row_group_size=1000)
        with (folder / f"part-{number}.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in part)


def host(folder: Path, port: multiprocessing.Queue[int]) -> None:
    """Serve the folder until ended."""
    with serving(Host({path.name: path.read_bytes() for path in folder.glob("part-*")})) as ours:
        port.put(ours.port)
        time.sleep(3600)


def timed(work: Callable[[], int]) -> tuple[float, float]:
    """Millions a CPU second, and a second."""
    began, wall = time.process_time(), time.perf_counter()
    done = work()
    return done / (time.process_time() - began) / 1e6, done / (time.perf_counter() - wall) / 1e6


def rows(feed: StreamFeed, batches: Iterator[int], lanes: range) -> int:
    """Read so many batches; how many tokens that was."""
    return sum(feed.rows(step * feed.batch_size, lanes).targets.size for step in batches)


def measure(name: str, source: str, ours: Codec, options: argparse.Namespace, documents: int, tokens: int) -> None:
    """A line of figures for one source."""
    read = Stream.open(source, "text").documents(Anchor())
    characters, _ = timed(lambda: sum(len(document.text) for document in islice(read, documents)))
    feed = StreamFeed.open(source, "text", ours, options.seq_len, options.lanes, 0)
    every = range(options.lanes)
    feed.rows(0, every)
    before = anonymous()
    steps = iter(range(1, tokens // (options.lanes * options.seq_len)))
    rate, wall = timed(lambda: rows(feed, steps, every))
    grown = (anonymous() - before) / 1e6
    print(f"{name:24} {rate:6.2f} M tokens/s of CPU, {wall:6.2f} of the clock; read alone "
          f"{characters:6.1f} M characters/s of CPU; memory {grown:+.0f} MB", flush=True)  # fmt: skip
    eighth = StreamFeed.open(source, "text", ours, options.seq_len, options.lanes, 0)
    share = range(max(1, options.lanes // 8))
    rate, _ = timed(lambda: rows(eighth, iter(range(tokens // (options.lanes * options.seq_len))), share))
    print(f"{'':24} {rate:6.2f} M tokens/s of CPU for a process that has one lane in eight", flush=True)
    began = time.perf_counter()
    for _ in range(100):
        feed.cursors()
    print(f"{'':24} {(time.perf_counter() - began) * 10:6.2f} ms for the cursors of {options.lanes} lanes", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument("--lanes", type=int, default=32)
    parser.add_argument("--seq_len", type=int, default=512)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = repeated(options.megabytes)
        ours = codec(folder, texts)
        write(folder, texts)
        documents = len(texts)
        tokens = sum(len(ours.encode(text)) + 1 for text in texts)
        rate, _ = timed(lambda texts=texts: sum(len(ours.encode(text)) for text in texts))  # type: ignore[misc]
        print(f"{documents:,} documents, {options.megabytes:g} MB; {rate:.2f} M tokens/s of CPU tokenizing alone")
        del texts
        port: multiprocessing.Queue[int] = multiprocessing.get_context("spawn").Queue()
        process = multiprocessing.get_context("spawn").Process(target=host, args=(folder, port), daemon=True)
        process.start()
        web = f"http://127.0.0.1:{port.get()}"
        counted = f"part-{{0..{PARTS - 1}}}"
        for place, where in (("local", str(folder)), ("web", web)):
            for kind in ("parquet", "jsonl"):
                measure(f"{place} {kind}", f"{where}/{counted}.{kind}", ours, options, documents, tokens)
        process.kill()


if __name__ == "__main__":
    main()
