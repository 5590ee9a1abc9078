"""The loop that everyone writes to clean a corpus, written well: what `bench/clean.py` compares with.

    python -m bench.clean_loop FOLDER --output OUT [--tuned]   (a folder of clean_corpus)

One process, one record at a time: json, csv or pyarrow; precompiled `re`; OpenCC; a set of hashes for exact copies;
datasketch for near ones; a shuffle in memory; parquet. Steps that a glance at the text makes needless are skipped,
exact copies leave before anything is measured, permutations are drawn once, and all shingles of a record are hashed
in one call. Everything is held in memory, as is usual.

`tuned` adds what profiling for hours found: grams are counted one by one only where numpy's count of pairs allows
them to be frequent, exams are looked for at every seventh place first, shingles are bytes already when they are
hashed and a set only where a candidate is verified, and the garbage collector rests.
"""

from __future__ import annotations

import argparse
import csv
import gc
import html
import json
import random
import re
import time
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import opencc
import pyarrow.parquet as pq
import xxhash
from datasketch import MinHash, MinHashLSH

from bench.clean_truth import corpus_files
from bench.real_text import DATA
from utils.records import Record, write_records

Row = dict[str, Any]

HAN = "\u4e00-\u9fff"
BREAKS = re.compile(r"<(?:br|/p|/div|/li)\b[^>]{0,200}>", re.I)
TAGS = re.compile(r"</?[a-zA-Z][^>]{0,200}>")
LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
INVISIBLE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]+")
REPEATED = re.compile(r"([。！？，、；：!?~～])\1+")
HALF_WIDTH = re.compile(rf"[,;:!?](?<=[{HAN}].)(?=[{HAN}])")
FULL_WIDTH = dict(zip(",;:!?", "，；：！？", strict=True))
SPACES = re.compile(r"[ \t\u00a0\u3000]+")
LINE_EDGES = re.compile(r" ?\n[ \n]*")
MAIL = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}")
PHONE = re.compile(r"(?<![0-9])1[3-9][0-9]{9}(?![0-9])")
IDENTITY = re.compile(r"(?<![0-9])[0-9]{17}[0-9Xx](?![0-9])")
HAN_RUNS = re.compile(f"[{HAN}]+")
LATIN_RUNS = re.compile("[A-Za-z]+")
NOT_WORDS = re.compile(r"[\W_]+")
T2S = opencc.OpenCC("t2s")

MIN_CHARS, MAX_CHARS, MIN_HAN, MAX_DIGITS, MAX_REPEATED = 10, 100_000, 0.3, 0.3, 0.29
MAX_TOP = {2: 0.20, 3: 0.18, 4: 0.16}
EXAM_GRAM, EXAM_STEP = 13, 7
BANDS, ROWS, SHINGLE, NEAR = 14, 8, 5, 0.7


class Clock:
    """Seconds spent in each step of the loop."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.last = time.perf_counter()

    def lap(self, step: str) -> None:
        """What passed since the last lap was this step's."""
        now = time.perf_counter()
        self.seconds[step] += now - self.last
        self.last = now


# ---- reading


def rows(path: Path) -> Iterator[Row]:
    """A file's records, one by one."""
    if path.suffix == ".parquet":
        for batch in pq.ParquetFile(path).iter_batches():
            yield from batch.to_pylist()
    elif path.suffix == ".csv":
        with path.open(encoding="gb18030", newline="") as file:
            lines = csv.reader(file)
            names = next(lines)
            for line in lines:
                yield dict(zip(names, line, strict=True))
    else:
        with path.open(encoding="utf-8", newline="\n") as file:
            yield from map(json.loads, file)


def fields(row: Row) -> list[str]:
    """A text; or a question and its answer."""
    if "text" in row:
        return [row["text"]]
    if "INSTRUCTION" in row:
        return [row["INSTRUCTION"] or "", row["RESPONSE"] or ""]
    title, more = row["title"], row["ask"] if "ask" in row else row["desc"]
    question = f"{title}\n{more}" if more and more != title else title
    return [question, row["content"] if "content" in row else row["answer"]]


# ---- one record


def normalised(text: str) -> str:
    """Markup, line ends, invisible and traditional characters, repeated and half-width marks, spaces."""
    if "&" in text:
        text = html.unescape(text)
    if "<" in text:
        text = TAGS.sub("", BREAKS.sub("\n", text))
    text = INVISIBLE.sub("", LINE_ENDS.sub("\n", text))
    if not unicodedata.is_normalized("NFC", text):
        text = unicodedata.normalize("NFC", text)
    text = REPEATED.sub(r"\1", T2S.convert(text))
    text = HALF_WIDTH.sub(lambda mark: FULL_WIDTH[mark[0]], text)
    return LINE_EDGES.sub("\n", SPACES.sub(" ", text)).strip()


def masked(text: str) -> str:
    """Personal data give way to names of what they were."""
    if "@" in text:
        text = MAIL.sub("<邮箱>", text)
    if "1" in text:
        text = PHONE.sub("<电话>", text)
    return IDENTITY.sub("<身份证>", text)


def fault(text: str, answer: str, tuned: bool) -> str | None:
    """The first rule that drops a record."""
    size = len(text)
    if len(answer) < MIN_CHARS or size > MAX_CHARS:
        return "length"
    han = sum(map(len, HAN_RUNS.findall(text)))
    if han < MIN_HAN * size and han + sum(map(len, LATIN_RUNS.findall(text))) < MIN_HAN * size:
        return "letters"
    if sum(map(text.count, "0123456789")) > MAX_DIGITS * size:
        return "digits"
    if "\n" in text and repeated_lines(text) > MAX_REPEATED * size:
        return "repeated_lines"
    return "repeated_grams" if repeats_itself(text, tuned) else None


def repeated_lines(text: str) -> int:
    """Characters in lines that stood before."""
    lines = text.split("\n")
    if len(set(lines)) == len(lines):
        return 0
    return sum(len(line) * (times - 1) for line, times in Counter(lines).items())


def repeats_itself(text: str, tuned: bool) -> bool:
    """The most frequent two, three or four characters in a row make up too much of it."""
    size = len(text)
    if size < 50:
        return False
    if tuned and 4 * most_frequent_pair(text) <= MAX_TOP[4] * size:  # no longer gram is more frequent than its pairs
        return False
    for width, most in MAX_TOP.items():
        times = max(Counter([text[i : i + width] for i in range(size - width + 1)]).values())
        if times * width > most * size:
            return True
    return False


def most_frequent_pair(text: str) -> int:
    """How often the most frequent two characters in a row occur, or a little more (rare characters count as two)."""
    units = np.frombuffer(text.encode("utf-16-le", "surrogatepass"), np.uint16)
    pairs = (units[:-1].astype(np.uint32) << 16) | units[1:]
    return int(np.unique_counts(pairs).counts.max())


# ---- all records


class Exams:
    """Thirteen characters in a row of any question: looked for at every seventh place, by seven, at first."""

    def __init__(self, folder: Path, tuned: bool):
        self.tuned = tuned
        self.grams: set[str] = set()
        for path in sorted(folder.rglob("*.csv")):
            with path.open(encoding="utf-8-sig", newline="") as file:
                for row in csv.DictReader(file):
                    words = words_of(T2S.convert(row["Question"]))
                    self.grams.update(words[i : i + EXAM_GRAM] for i in range(len(words) - EXAM_GRAM + 1))
        steps = range(EXAM_GRAM - EXAM_STEP + 1)
        self.starts = {gram[i : i + EXAM_STEP] for gram in self.grams for i in steps}

    def hold(self, words: str) -> bool:
        """Does a question stand in these words?"""
        if self.tuned and self.starts.isdisjoint([words[i : i + EXAM_STEP] for i in range(0, len(words), EXAM_STEP)]):
            return False
        return not self.grams.isdisjoint([words[i : i + EXAM_GRAM] for i in range(len(words) - EXAM_GRAM + 1)])


class NearCopies:
    """Candidates by MinHash and LSH, verified by the Jaccard coefficient of their shingles."""

    def __init__(self, tuned: bool) -> None:
        self.shingles = shingles_of if tuned else plain_shingles
        self.lsh = MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS))
        first = MinHash(num_perm=BANDS * ROWS, hashfunc=xxhash.xxh32_intdigest)
        self.permutations, self.scheme = first.permutations, first.scheme
        self.kept: list[str] = []

    def signature(self, shingles: list[bytes]) -> MinHash:
        """The sketch of these shingles; one that comes twice changes nothing."""
        sketch = MinHash(
            num_perm=BANDS * ROWS,
            hashfunc=xxhash.xxh32_intdigest,
            permutations=self.permutations,
            scheme=self.scheme,
        )
        sketch.update_batch(shingles)
        return sketch

    def know(self, words: str, shingles: list[bytes], sketch: MinHash) -> bool:
        """Was something like it kept? If not, it is kept now."""
        candidates = self.lsh.query(sketch)
        if candidates and self._verified(set(shingles), candidates):
            return True
        self.lsh.insert(len(self.kept), sketch, check_duplication=False)
        self.kept.append(words)
        return False

    def _verified(self, mine: set[bytes], candidates: list[int]) -> bool:
        for other in candidates:
            theirs = set(self.shingles(self.kept[other]))
            shared = len(mine & theirs)
            if shared >= NEAR * (len(mine) + len(theirs) - shared):
                return True
        return False


def words_of(text: str) -> str:
    """Letters, digits and Han characters, in lower case."""
    return NOT_WORDS.sub("", text).lower()


def shingles_of(words: str) -> list[bytes]:
    """Every five characters in a row, as bytes."""
    code = words.encode("utf-16-le", "surrogatepass")
    width = 2 * SHINGLE
    return [code[i : i + width] for i in range(0, max(len(code) - width, 0) + 1, 2)]


def plain_shingles(words: str) -> list[bytes]:
    """The same, as one writes it."""
    return [words[i : i + SHINGLE].encode() for i in range(max(len(words) - SHINGLE, 0) + 1)]


class Loop:
    """What the loop knows of the records before."""

    def __init__(self, cmmlu: Path, tuned: bool = False):
        self.clock = Clock()
        self.tuned = tuned
        self.exams, self.near, self.seen = Exams(cmmlu, tuned), NearCopies(tuned), set[bytes]()
        self.clock.lap("exams")

    def drops(self, said: list[str]) -> str | None:
        """Why a normalised record is not kept, if it is not."""
        text = "\n".join(said)
        digest = xxhash.xxh3_128_digest(text.encode("utf-8", "replace"))
        if digest in self.seen:
            self.clock.lap("exact")
            return "duplicate"
        self.seen.add(digest)
        self.clock.lap("exact")
        reason = fault(text, said[-1], self.tuned)
        self.clock.lap("features")
        if reason:
            return reason
        words = words_of(text)
        leaked = self.exams.hold(words)
        self.clock.lap("decontaminate")
        return "in_exam" if leaked else self._near(words)

    def _near(self, words: str) -> str | None:
        shingles = shingles_of(words) if self.tuned else list(set(plain_shingles(words)))
        self.clock.lap("shingles")
        sketch = self.near.signature(shingles)
        self.clock.lap("minhash")
        known = self.near.know(words, shingles, sketch)
        self.clock.lap("lsh")
        return "near_duplicate" if known else None


def run(files: list[Path], cmmlu: Path, output: Path, seed: int = 0, tuned: bool = False) -> dict[str, Any]:
    """Clean these files into parquet shards; returns records read, kept and dropped by reason, and seconds by step."""
    if tuned:
        gc.disable()  # nothing here is cyclic, and looking through all that is kept costs a tenth of the time
    try:
        return clean(files, Loop(cmmlu, tuned), output, seed)
    finally:
        gc.enable()


def clean(files: list[Path], loop: Loop, output: Path, seed: int) -> dict[str, Any]:
    """The loop itself."""
    kept, dropped, read = list[Record](), Counter[str](), 0
    for path in files:
        for number, row in enumerate(rows(path)):
            loop.clock.lap("read")
            read += 1
            said = [normalised(field) for field in fields(row)]
            loop.clock.lap("normalise")
            said = [masked(field) for field in said]
            loop.clock.lap("personal data")
            if reason := loop.drops(said):
                dropped[reason] += 1
            else:
                kept.append(record(path, number, said))
                loop.clock.lap("record")
    random.Random(seed).shuffle(kept)
    write(kept, output)
    loop.clock.lap("shuffle and write")
    steps = dict(loop.clock.seconds)
    return {"read": read, "kept": len(kept), "dropped": dict(dropped), "steps": steps, "seconds": sum(steps.values())}


def record(path: Path, number: int, said: list[str]) -> Record:
    """A row of contract 2 (`utils/records.py`)."""
    source = path.parent.name
    found: Record = {"id": f"{source}/{path.name}/{number}", "source": source, "kind": "text", "cluster_size": 1}
    if len(said) == 1:
        return found | {"text": said[0]}
    turns = [{"role": role, "content": text} for role, text in zip(("user", "assistant"), said, strict=True)]
    return found | {"kind": "chat", "messages": turns}


def write(kept: list[Record], output: Path, size: int = 50_000) -> None:
    """Shards of so many records."""
    output.mkdir(parents=True, exist_ok=True)
    for start in range(0, len(kept), size):
        write_records(output / f"train-{start // size:05d}.parquet", kept[start : start + size])


def main() -> None:
    """Read the command line, and say how fast it was."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cmmlu", type=Path, default=DATA / "cmmlu")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--tuned", action="store_true")
    given = parser.parse_args()
    files = corpus_files(given.folder)
    found = run(files, given.cmmlu, given.output, tuned=given.tuned)
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    for step, seconds in sorted(found["steps"].items(), key=lambda one: -one[1]):
        print(f"{step:18s} {seconds:7.1f} s {seconds / found['seconds']:6.1%}")
    print(f"read {found['read']}, kept {found['kept']}, dropped {found['dropped']}")
    print(f"{megabytes:.0f} MB in {found['seconds']:.1f} s: {megabytes / found['seconds']:.2f} MB/s")


if __name__ == "__main__":
    main()
