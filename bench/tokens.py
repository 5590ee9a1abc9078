"""How fast text becomes tokens: SentencePiece alone, `tokenizers`, tiktoken, and the whole pack stage, in one run.

    python -m bench.tokens [--megabytes 800] [--repeats 3] [--folder DIR] [--memory]

Three corpora, each repeated up to its size: the modern text of the classics, a document a chapter; English pages; and
dialogues as the clean stage makes them of the demo files. "raw" is SentencePiece with numpy output, a document (of
dialogues: a segment) a call, over texts that lie in memory, with nothing kept. "pack" is `python -m pipeline.pack` from
clean parquet to finished shards: start of its processes, parquet, hashes and fsync included. Repeats alternate and
medians are told; the ratio of CPU seconds stands beside that of seconds, for a machine that others use as well.
MB are of UTF-8 text. tiktoken has no vocabulary of ours: it gets a byte-level BPE of as many tokens, learned here.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from bench import clean
from bench.real_text import DATA, chapters
from pipeline.tokenizer.sample import texts_of
from utils.encoders import SPM, byte_level_letters
from utils.records import SCHEMA, read_records, record_shards, write_table
from utils.stage import read_json, write_manifest

ROOT = Path(__file__).resolve().parent.parent
SHARD = 32e6
"""About as many bytes of text as a shard of the clean stage holds."""
SAMPLE = 20e6
"""Bytes of text for those that are slow."""
TALK = ("glaive_toolcall_zh_demo.json", "alpaca_*_demo.json", "chatlm_qa_3k.parquet", "medical_*.csv", "xiehouyu.json")


@dataclass(frozen=True)
class Took:
    """A run: seconds, CPU seconds, bytes of text, tokens."""

    seconds: float
    cpu: float
    bytes: int
    tokens: int


# ---------------------------------------------------------------- corpora


def pages(data: Path) -> list[str]:
    """English web pages and articles."""
    web = [json.loads(line)["text"] for line in (data / "c4_demo.jsonl").read_text("utf-8").splitlines()]
    return web + [part for part in (data / "wiki_demo.txt").read_text("utf-8").split("\n\n") if part.strip()]


def text_table(texts: Sequence[str], source: str) -> pa.Table:
    """Texts as clean records."""
    rows = [{"id": f"{source}/a/{i}", "source": source, "kind": "text", "text": text} for i, text in enumerate(texts)]
    return pa.Table.from_pylist(rows, SCHEMA)


def talk(data: Path, folder: Path) -> pa.Table:
    """Dialogues, as the clean stage leaves them."""
    recipe = folder / "talk.yaml"
    recipe.write_text(yaml.safe_dump({"clean": {"inputs": [str(data / name) for name in TALK], "valid": 0}}))
    words = [sys.executable, "-m", "pipeline.clean", str(recipe), f"workspace={folder / 'talk'}"]
    subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    shards = [path for paths in record_shards(folder / "talk/clean", "train").values() for path in paths]
    return pa.concat_tables([pq.read_table(path, schema=SCHEMA) for path in shards])


def write_clean(folder: Path, table: pa.Table, source: str, size: float) -> Path:
    """The table again and again, up to `size` bytes of text, in shards as the clean stage makes them."""
    bytes_a_row = (table.column("text").nbytes + table.column("messages").nbytes) / len(table)
    rows, wanted = int(SHARD / bytes_a_row) + 1, int(size / bytes_a_row)
    endless = pa.concat_tables([table] * (wanted // len(table) + 1))
    for number, start in enumerate(range(0, wanted, rows)):
        part = endless.slice(start, min(rows, wanted - start)).combine_chunks()
        write_table(folder / f"train/{source}-{number:05d}.parquet", part)
    write_manifest(folder, "clean", {}, {}, {}, ("pyarrow",))
    return folder


# ---------------------------------------------------------------- those who are compared


def texts_in(shards: Sequence[Path]) -> list[str]:
    """What SentencePiece gets of them: documents, or a dialogue's segments."""
    columns = ["kind", "text", "messages", "tools"]
    return [text for path in shards for record in read_records(path, columns) for text in texts_of(record)]


def raw(workspace: Path, processes: int) -> Took:
    """SentencePiece alone, in so many processes that start together."""
    context = multiprocessing.get_context("spawn")
    shards = sorted((workspace / "clean/train").glob("*.parquet"))
    start, results = context.Barrier(processes), context.Queue()
    model = str(workspace / "tokenizer" / SPM)
    share = [shards[k::processes] for k in range(processes)]
    children = [context.Process(target=_encode, args=(model, some, start, results)) for some in share]
    for child in children:
        child.start()
    took = [results.get() for _ in children]
    for child in children:
        child.join()
    return Took(max(t.seconds for t in took), *(sum(getattr(t, n) for t in took) for n in ("cpu", "bytes", "tokens")))


def _encode(model: str, shards: Sequence[Path], start: Barrier, results: Any) -> None:
    import sentencepiece

    spm = sentencepiece.SentencePieceProcessor(model_file=model)
    texts = texts_in(shards)
    size = sum(len(text.encode()) for text in texts)
    start.wait()
    results.put(_timed(lambda: sum(len(spm.Encode(text, return_type="numpy")) for text in texts), size))


def _timed(work: Callable[[], int], size: int) -> Took:
    began, cpu = time.perf_counter(), time.process_time()
    tokens = work()
    return Took(time.perf_counter() - began, time.process_time() - cpu, size, tokens)


def pack(workspace: Path, workers: int) -> Took:
    """The whole stage, as a user runs it."""
    shutil.rmtree(workspace / "pack", ignore_errors=True)
    before, began = os.times(), time.perf_counter()
    subprocess.run(pack_words(workspace, workers), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    seconds, after = time.perf_counter() - began, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    report = read_json(workspace / "pack/report.json")
    verb = "finetune" if report["finetune"] else "pretrain"
    counts = list(report[verb]["train"].values())
    return Took(seconds, cpu, sum(c["bytes"] for c in counts), sum(c["tokens"] for c in counts))


def pack_words(workspace: Path, workers: int) -> list[str]:
    """The command."""
    recipe = workspace / "recipe.yaml"
    recipe.write_text("{}\n")
    return [sys.executable, "-m", "pipeline.pack", str(recipe), f"workspace={workspace}", f"pack.workers={workers}"]


def others(workspace: Path) -> Iterator[tuple[str, Callable[[], Took]]]:
    """`tokenizers` and tiktoken over a sample, one thread and two."""
    texts: list[str] = []
    size = 0
    for text in texts_in(sorted((workspace / "clean/train").glob("*.parquet"))[:1]):
        if size < SAMPLE:
            texts.append(text)
            size += len(text.encode())
    for threads in (1, 2):
        work = partial(_apart, _tokenizers, threads, workspace, texts)
        yield f"tokenizers, encode_batch_fast, {threads} thread(s)", work
    if find_spec("tiktoken") is None:
        print("tiktoken: not installed (pip install tiktoken), so left out", flush=True)
        return
    for threads in (1, 2):
        work = partial(_apart, _tiktoken, threads, workspace, texts)
        yield f"tiktoken, encode_ordinary_batch, {threads} thread(s)", work


def _apart(work: Callable[..., None], threads: int, workspace: Path, texts: list[str]) -> Took:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    child = context.Process(target=work, args=(threads, workspace, texts, results))
    child.start()
    took: Took = results.get()
    child.join()
    return took


def _tokenizers(threads: int, workspace: Path, texts: list[str], results: Any) -> None:
    os.environ |= {"RAYON_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "true"}
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(workspace / "tokenizer/tokenizer.json"))
    size = sum(len(text.encode()) for text in texts)
    results.put(_timed(lambda: sum(map(len, tokenizer.encode_batch_fast(texts, add_special_tokens=False))), size))


def _tiktoken(threads: int, workspace: Path, texts: list[str], results: Any) -> None:
    import tiktoken

    size = read_json(workspace / "tokenizer/manifest.json")["counters"]["vocab_size"]
    pattern, ranks = byte_level(texts, size)
    encoding = tiktoken.Encoding("ours", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    size = sum(len(text.encode()) for text in texts)
    work = lambda: sum(map(len, encoding.encode_ordinary_batch(texts, num_threads=threads)))  # noqa: E731
    results.put(_timed(work, size))


def byte_level(texts: list[str], size: int) -> tuple[str, dict[bytes, int]]:
    """GPT-2's pattern, and ranks of byte sequences learned from the texts."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts[:2000], trainer)
    letters = byte_level_letters()
    assert set(letters) == set(alphabet)
    pattern = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
    return pattern, {bytes(letters[c] for c in piece): rank for piece, rank in tokenizer.get_vocab().items()}


# ---------------------------------------------------------------- the table


def compare(name: str, workspace: Path, repeats: int) -> None:
    """Raw and pack in turn, then the others."""
    runs: dict[str, list[Took]] = {}
    for _ in range(repeats):
        for what, work in (
            ("raw SentencePiece, 1 process", lambda: raw(workspace, 1)),
            ("raw SentencePiece, 2 processes", lambda: raw(workspace, 2)),
            ("pack, 2 workers", lambda: pack(workspace, 2)),
        ):
            runs.setdefault(what, []).append(work())
            print(f"  {what}: {runs[what][-1].seconds:.1f} s", flush=True)
    for what, took in runs.items():
        say(name, what, took)
    two, packed = list(runs.values())[1:]
    rate, rates = [statistics.median(t.bytes / t.seconds for t in some) for some in (packed, two)]
    per_cpu, per_cpus = [statistics.median(t.bytes / t.cpu for t in some) for some in (packed, two)]
    print(
        f"{name}: pack / raw, two processes each: {rate / rates:.2f} (by CPU seconds {per_cpu / per_cpus:.2f})",
        flush=True,
    )
    for what, work in others(workspace):
        say(name, what, [work() for _ in range(repeats)])


def say(name: str, what: str, took: Sequence[Took]) -> None:
    """A line of the table."""
    rate = statistics.median(t.bytes / t.seconds for t in took) / 1e6
    tokens = statistics.median(t.tokens / t.seconds for t in took) / 1e6
    cpu = statistics.median(t.bytes / t.cpu for t in took) / 1e6
    size = f"{took[0].bytes / 1e6:.0f} MB"
    print(f"{name}: {what}: {rate:.1f} MB/s, {tokens:.2f} M tokens/s ({size}; {cpu:.1f} MB a CPU second)", flush=True)


def memory(name: str, workspace: Path) -> None:
    """The process tree's peak."""
    shutil.rmtree(workspace / "pack", ignore_errors=True)
    ran = clean.run(pack_words(workspace, 2))
    print(f"{name}: pack, 2 workers: peak of the process tree {ran.memory:.2f} GB", flush=True)


def main() -> None:
    """Everything, printed as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--megabytes", type=float, default=800, help="of the classics; the others have a fifth")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--memory", action="store_true", help="peak memory instead of speed")
    given = parser.parse_args()
    if not given.data.is_dir():
        print(f"{given.data}: not there; bench.tokens needs real text, named by --data")
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        tables = {
            "zh": text_table(list(chapters(given.data).values()), "classics"),
            "en": text_table(pages(given.data), "pages"),
            "chat": talk(given.data, folder),
        }
        for source, table in tables.items():
            write_table(folder / f"clean/train/{source}-00000.parquet", table)
        write_manifest(folder / "clean", "clean", {}, {}, {}, ("pyarrow",))
        learn = [sys.executable, "-m", "pipeline.tokenizer", "configs/demo.yaml", f"workspace={folder}"]
        subprocess.run([*learn, "tokenizer.vocab_size=6400"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        for source, table in tables.items():
            size = given.megabytes * 1e6 / (1 if source == "zh" else 5)
            write_clean(folder / source / "clean", table, source, size)
            (folder / source / "tokenizer").symlink_to(folder / "tokenizer")
            if given.memory:
                memory(source, folder / source)
            else:
                compare(source, folder / source, given.repeats)
            shutil.rmtree(folder / source)


if __name__ == "__main__":
    main()
