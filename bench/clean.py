"""How fast the clean stage is, beside the loop that everyone writes; how much memory it takes; what it finds.

    python -m bench.clean [--megabytes 400] [--big 1000 5000] [--folder DIR]

A corpus is made by seeded recombination of real text (`real_text.py`, `clean_corpus.py`), with planted copies, near
copies and exam questions. In one run: the loop (`clean_loop.py`, one process), the stage with one worker and with two,
its first step alone (read, mend, measure, write), and the stage once more with other rules. `--big` adds larger
corpora, by their megabytes, with one worker and two.
MB are bytes on disk of the raw files; memory is the proportional set (PSS) of the whole process tree, at its peak.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from bench import clean_corpus, clean_loop, clean_truth
from bench.real_text import DATA
from utils.records import SPLITS, read_records, record_shards

ROOT = Path(__file__).resolve().parent.parent
NEAR = 0.7


@dataclass(frozen=True)
class Ran:
    """What a command took."""

    seconds: float
    cpu: float
    memory: float
    """GB, PSS of the tree."""


def pss(pid: int) -> int:
    """Bytes of a process and all below it, shared pages counted in proportion."""
    total = 0
    for one in [pid, *_below(pid)]:
        try:
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
        except OSError:  # it has just ended
            continue
        total += next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
    return total


def _below(pid: int) -> Iterator[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    for child in map(int, children):
        yield child
        yield from _below(child)


@contextmanager
def watched(pid: int) -> Iterator[list[int]]:
    """The peak of a process tree's memory, looked at twice a second."""
    peak, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.5):
            peak[0] = max(peak[0], pss(pid))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def run(words: list[str]) -> Ran:
    """A command, watched."""
    before = os.times()
    began = time.perf_counter()
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(words, cwd=ROOT, env=env, stdout=subprocess.DEVNULL)
    with watched(process.pid) as peak:
        code = process.wait()
    seconds = time.perf_counter() - began
    assert code == 0, f"{' '.join(words)}: exit {code}"
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Ran(seconds, cpu, peak[0] / 1e9)


def recipe(folder: Path, corpus: Path, exams: Path) -> Path:
    """The stage's recipe for a corpus: each source's folder, exams, near copies."""
    sources = sorted(path for path in corpus.iterdir() if path.is_dir())
    clean = {"inputs": [str(path) for path in sources], "decontaminate": [str(exams)], "near": NEAR}
    path = folder / f"{corpus.name}.yaml"
    path.write_text(yaml.safe_dump({"clean": clean}, allow_unicode=True), encoding="utf-8")
    return path


def stage(path: Path, workspace: Path, *fields: str) -> Ran:
    """The stage, as a user runs it."""
    return run([sys.executable, "-m", "pipeline.clean", str(path), f"workspace={workspace}", *fields])


def first_step(path: Path, store: Path) -> float:
    """MB a second of one core for: parse, mend, simplify, measure, signatures, parquet."""
    words = [sys.executable, "-m", "bench.clean_first_step", str(path), str(store)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, env=env, cwd=ROOT, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def kept_places(clean: Path) -> set[clean_truth.Place]:
    """Where all kept records stood."""
    shards = [shard for split in SPLITS for of_source in record_shards(clean, split).values() for shard in of_source]
    ids = [record["id"].split("/") for shard in shards for record in read_records(shard, ["id"])]
    return {(name, int(number)) for _, name, number in ids}


def contents(clean: Path) -> dict[str, str]:
    """Hashes of all that was made."""
    files = json.loads((clean / "manifest.json").read_text(encoding="utf-8"))["files"]
    return {name: entry["hash"] for name, entry in files.items()}


def main() -> None:
    """Everything, printed as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--megabytes", type=int, default=400)
    parser.add_argument("--big", type=int, nargs="*", default=[])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None)
    given = parser.parse_args()
    if not given.data.is_dir():
        print(f"{given.data}: not there; bench.clean needs real text to recombine, named by --data")
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        compare(given, Path(name))
        for megabytes in given.big:
            large(given, Path(name), megabytes)


def made(given: argparse.Namespace, folder: Path, megabytes: int) -> tuple[Path, float]:
    """A corpus, and its MB."""
    corpus = folder / f"corpus-{megabytes}"
    corpus.mkdir()
    counts = clean_corpus.make(corpus, megabytes, 0, given.data)
    print(f"corpus: {counts['bytes'] / 1e6:.0f} MB, {counts['records']:,} records", flush=True)
    return corpus, counts["bytes"] / 1e6


def compare(given: argparse.Namespace, folder: Path) -> None:
    """The loop and the stage on one corpus."""
    corpus, size = made(given, folder, given.megabytes)
    path = recipe(folder, corpus, given.data / "cmmlu")
    files = clean_truth.corpus_files(corpus)
    tuned = clean_loop.run(files, given.data / "cmmlu", folder / "tuned", tuned=True)
    say("the tuned loop, one process", size, tuned["seconds"], None, None)
    loop = clean_loop.run(files, given.data / "cmmlu", folder / "loop")
    say("the loop, one process", size, loop["seconds"], None, None)
    rates = [first_step(path, folder / f"first-{i}") for i in range(given.repeats)]
    print(f"first step, one core: {statistics.median(rates):.1f} MB/s", flush=True)
    medians = {}
    for workers in (1, 2):
        runs = [stage(path, folder / f"w{workers}-{i}", f"clean.workers={workers}") for i in range(given.repeats)]
        middle = sorted(runs, key=lambda one: one.seconds)[len(runs) // 2]
        medians[workers] = middle.seconds
        say(f"the stage, {workers} worker(s)", size, middle.seconds, loop["seconds"], max(one.memory for one in runs))
    print(f"two workers: {medians[1] / medians[2]:.2f} times one", flush=True)
    assert contents(folder / "w1-0/clean") == contents(folder / "w2-0/clean"), "outputs differ"
    again = stage(path, folder / "w2-0", "clean.workers=2", "clean.max_digits=0.2", "clean.min_chars=20")
    print(f"other rules, cut anew: {again.seconds:.1f} s", flush=True)
    found = clean_truth.recall(corpus, kept_places(folder / "w1-0/clean"))
    print("planted and found: " + ", ".join(f"{name} {share:.4f}" for name, share in found.items()), flush=True)


def large(given: argparse.Namespace, folder: Path, megabytes: int) -> None:
    """The stage on a larger corpus, once with each number of workers."""
    corpus, size = made(given, folder, megabytes)
    path = recipe(folder, corpus, given.data / "cmmlu")
    for workers in (1, 2):
        ran = stage(path, folder / "large", f"clean.workers={workers}")
        say(f"the stage, {workers} worker(s)", size, ran.seconds, None, ran.memory)
        shutil.rmtree(folder / "large")


def say(what: str, size: float, seconds: float, loop: float | None, memory: float | None) -> None:
    """A line of the table."""
    ratio = f", {loop / seconds:.1f} times the loop" if loop else ""
    peak = f", peak {memory:.2f} GB" if memory else ""
    print(f"{what}: {seconds:.1f} s, {size / seconds:.1f} MB/s{ratio}{peak}", flush=True)


if __name__ == "__main__":
    main()
