"""What the records of `bench/clean_corpus.py` say: real sentences drawn anew, and what the web does to them."""

from __future__ import annotations

import csv
import html
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import opencc
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from utils.hashing import GOLDEN, scrambled

ORIGINAL, EXACT, NEAR, EXAM, JUNK = range(5)
SHARES = {EXACT: 0.05, NEAR: 0.05, EXAM: 0.001, JUNK: 0.01}
"""Of all records; the rest is original."""
EDITED = 0.01, 0.10
"""Share of a near copy's characters that its one edit touches."""
LONG_ENOUGH = 220
"""Characters aimed at by records of which near copies are made."""
SENTENCE = 12, 200
"""Characters of the sentences taken: shorter ones stand everywhere."""
DIRT = {"html": 0.10, "traditional": 0.05, "personal": 0.03, "marks": 0.05, "returns": 0.05, "zero_width": 0.05}
"""Of the web's documents."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """A corpus: its share of all bytes, its files, and how a record of it is written."""

    name: str
    share: float
    files: int
    suffix: str
    lengths: tuple[int, int]
    """Characters of its texts or answers."""
    words: tuple[str, ...]
    """What its sentences are taken from; a record keeps to one of them."""
    row: Callable[[str, int, list[int], Shelf], Row]
    """A text, the record's position, numbers drawn for what it says, and the shelf become a row."""
    paragraph: str = "\n"
    space: str = ""
    """What stands between sentences."""
    web: bool = False


class Dice:
    """Random numbers as a function of what they are for and of a position; the same on any machine (splitmix64)."""

    def __init__(self, seed: int, name: str):
        self.name = f"{seed}/{name}"

    def draw(self, use: str, positions_B: np.ndarray, width: int) -> np.ndarray:
        """[B, width] numbers of 64 bits."""
        key = np.uint64(xxhash.xxh3_64_intdigest(f"{self.name}/{use}".encode()))
        state_B = scrambled(key ^ scrambled(positions_B.astype(np.uint64)))
        steps = np.arange(1, width + 1, dtype=np.uint64) * GOLDEN
        return scrambled(state_B[:, None] + steps)

    def unit(self, use: str, positions_B: np.ndarray) -> np.ndarray:
        """One number in [0, 1) a position."""
        return (self.draw(use, positions_B, 1)[:, 0] >> np.uint64(11)) * 2.0**-53


# ---- what there is to write with


class Shelf:
    """The real text, cut into sentences; each part is read when first asked for."""

    def __init__(self, data: Path):
        self.data = data

    @cached_property
    def _pairs(self) -> tuple[list[str], list[str]]:
        table = pq.read_table(self.data / "classics_bitext.parquet", columns=["classical", "modern"])
        return table["classical"].to_pylist(), table["modern"].to_pylist()

    @cached_property
    def modern(self) -> list[str]:
        """Sentences of the classics in modern Chinese."""
        return _fitting(self._pairs[1])

    @cached_property
    def classical(self) -> list[str]:
        """Sentences of the classics, short enough for a title."""
        return list(dict.fromkeys(text for text in self._pairs[0] if 6 <= len(text) <= 40))

    @cached_property
    def _chats(self) -> pa.Table:
        return pa.concat_tables(
            pq.read_table(self.data / f"chatlm_qa_{name}.parquet", columns=["prompt", "response"])
            for name in ("3k", "valid_1k")
        )

    @cached_property
    def prompts(self) -> list[str]:
        """Questions of a chat corpus, a line each."""
        return list(dict.fromkeys(" ".join(text.split())[:80] for text in self._chats["prompt"].to_pylist()))

    @cached_property
    def replies(self) -> list[str]:
        """Sentences of its answers."""
        return _fitting(s for text in self._chats["response"].to_pylist() for s in _sentences(text))

    @cached_property
    def _consultations(self) -> list[list[str]]:
        path = self.data / "medical_neike_sample_gb18030.csv"
        with path.open(encoding="gb18030", newline="") as file:
            return [row for row in csv.reader(file) if len(row) == 4][1:]

    @cached_property
    def complaints(self) -> list[tuple[str, str]]:
        """Departments and titles of medical questions."""
        return [(row[0], row[1]) for row in self._consultations]

    @cached_property
    def medical(self) -> list[str]:
        """Sentences of medical questions and answers."""
        return _fitting(s for row in self._consultations for text in row[2:] for s in _sentences(text))

    @cached_property
    def english(self) -> list[str]:
        """Sentences of English web and encyclopedia text."""
        with (self.data / "c4_demo.jsonl").open(encoding="utf-8") as file:
            texts = [json.loads(line)["text"] for line in file]
        texts.append((self.data / "wiki_demo.txt").read_text(encoding="utf-8"))
        return _fitting(s.strip() for text in texts for s in re.split(r"(?<=[.!?])\s+|\n", text))

    @cached_property
    def exam(self) -> list[str]:
        """CMMLU's questions with their choices."""
        found = []
        for path in sorted((self.data / "cmmlu" / "test").glob("*.csv")):
            with path.open(encoding="utf-8-sig", newline="") as file:
                for row in csv.DictReader(file):
                    if len(re.sub(r"[\W_]+", "", row["Question"])) >= 20:
                        found.append("\n".join([row["Question"], *(f"{name}. {row[name]}" for name in "ABCD")]))
        return found


def _sentences(text: str) -> list[str]:
    return re.findall(r"[^。！？!?\r\n]+[。！？!?]*", text)


def _fitting(sentences: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(s for s in sentences if SENTENCE[0] <= len(s) <= SENTENCE[1] and "\n" not in s))


# ---- what a record says


class Texts:
    """The texts of one source by position."""

    def __init__(self, source: Source, shelf: Shelf, seed: int):
        self.source, self.shelf = source, shelf
        self.dice = Dice(seed, source.name)
        kinds = [getattr(shelf, name) for name in source.words]
        self.sentences: list[str] = [sentence for kind in kinds for sentence in kind]
        self.counts_S = np.fromiter(map(len, self.sentences), np.int32, len(self.sentences))
        self.sizes_K = np.array([len(kind) for kind in kinds], np.uint64)
        self.starts_K = np.cumsum(self.sizes_K) - self.sizes_K

    def kinds(self, positions_B: np.ndarray) -> np.ndarray:
        """What each position holds; the first is an original, so that every copy finds one."""
        chance_B = self.dice.unit("kind", positions_B)
        edges = list(accumulate(SHARES[kind] for kind in (EXACT, NEAR, EXAM, JUNK)))
        kinds_B = np.array([EXACT, NEAR, EXAM, JUNK, ORIGINAL])[np.searchsorted(edges, chance_B, side="right")]
        if not self.source.web:
            kinds_B[kinds_B == JUNK] = ORIGINAL
        return np.where(positions_B == 0, ORIGINAL, kinds_B)

    def origins(self, positions_B: np.ndarray, kinds_B: np.ndarray) -> np.ndarray:
        """Whose words each position takes: an earlier original's where it is a copy, otherwise its own."""
        origins_B = positions_B.copy()
        for kind, least in ((EXACT, 0), (NEAR, LONG_ENOUGH)):
            copies = positions_B[kinds_B == kind]
            found = (self.dice.unit("origin", copies) * copies).astype(np.int64)
            while (unfit := (self.kinds(found) != ORIGINAL) | (self.targets(found) < least)).any():
                found[unfit] -= 1
            origins_B[kinds_B == kind] = found
        return origins_B

    def targets(self, positions_B: np.ndarray) -> np.ndarray:
        """How many characters each position aims at: as many short texts as long ones on a logarithmic scale."""
        low, high = self.source.lengths
        target_B = low * (high / low) ** self.dice.unit("length", positions_B)
        return np.where(positions_B == 0, high, target_B).astype(np.int64)

    def composed(self, positions_B: np.ndarray) -> list[str]:
        """Sentence upon sentence until the target is reached, in paragraphs of three to five."""
        kind_B = (self.dice.draw("kind of words", positions_B, 1) % np.uint64(len(self.sizes_K))).astype(np.int64)
        width = self.source.lengths[1] // SENTENCE[0] + 1
        picks = self.dice.draw("sentences", positions_B, width) % self.sizes_K[kind_B] + self.starts_K[kind_B]
        picks = picks.astype(np.int64)
        lacking = np.cumsum(self.counts_S[picks], axis=1) < self.targets(positions_B)[:, None]
        used_B = np.minimum(lacking.sum(axis=1) + 1, width).tolist()
        return [
            self._paragraphs([self.sentences[p] for p in row[:used].tolist()], 3 + used % 3)
            for row, used in zip(picks, used_B, strict=True)
        ]

    def _paragraphs(self, sentences: list[str], size: int) -> str:
        space = self.source.space
        return "\n".join([space.join(sentences[k : k + size]) for k in range(0, len(sentences), size)])

    def edit(self, text: str, position: int) -> str:
        """A near copy: one run of characters replaced, taken out or put in."""
        place, share, words, how = self.dice.draw("edit", np.array([position]), 4)[0].tolist()
        low, high = EDITED
        size = round((low + (high - low) * share / 2**64) * len(text))
        at = place % (len(text) - size)
        new = ""
        while len(new) < size:
            new += self.sentences[words % len(self.sentences)]
            words += 1
        return text[:at] + (new[:size] if how % 3 else "") + text[at + (size if how % 3 < 2 else 0) :]

    def block(self, positions_B: np.ndarray) -> Block:
        """The texts of these positions, and what was planted there."""
        kinds_B = self.kinds(positions_B)
        origins_B = self.origins(positions_B, kinds_B)
        said_B = self.dice.draw("said", origins_B, 4).tolist()
        block = Block(positions_B, kinds_B, origins_B, self.composed(origins_B), said_B)
        self._plant(block)
        if self.source.web:
            self._soil(block)
        if self.source.paragraph != "\n":
            block.texts[:] = [text.replace("\n", self.source.paragraph) for text in block.texts]
        return block

    def _plant(self, block: Block) -> None:
        for b in np.flatnonzero(block.kinds_B != ORIGINAL).tolist():
            kind, position = block.kinds_B[b], int(block.positions_B[b])
            if kind == NEAR:
                block.texts[b] = self.edit(block.texts[b], position)
            elif kind == JUNK:
                block.texts[b] = junk(block.texts[b])
            elif kind == EXAM:
                number = block.said_B[b][0] % len(self.shelf.exam)
                block.texts[b] += f"\n{self.shelf.exam[number]}"
                block.exams[position] = number

    def _soil(self, block: Block) -> None:
        """Copies as dirty as their originals."""
        edges = list(accumulate(DIRT.values()))
        dirt_B = np.searchsorted(edges, self.dice.unit("dirt", block.origins_B), side="right")
        for b in np.flatnonzero((dirt_B < len(DIRT)) & (block.kinds_B != EXAM)).tolist():
            block.texts[b] = dirty(block.texts[b], list(DIRT)[dirt_B[b]], block.said_B[b][1])


@dataclass(frozen=True)
class Block:
    """A few positions (B) in a row."""

    positions_B: np.ndarray
    kinds_B: np.ndarray
    origins_B: np.ndarray
    texts: list[str]
    said_B: list[list[int]]
    exams: dict[int, int] = field(default_factory=dict)
    """Position: number of the question."""


def junk(text: str) -> str:
    """A page of which little but its menu was saved."""
    return "\n".join(["首页 | 登录 | 注册 | 联系我们", text[:20]] * 6)


def dirty(text: str, how: str, number: int) -> str:
    """A text as the web has it."""
    if how == "html":
        text = f"<p>{html.escape(text)}</p>".replace("\n", "<br>" if number % 2 else "</p><p>")
        return text.replace("，", "，&nbsp;", 3).replace("“", "&ldquo;").replace("”", "&rdquo;")
    if how == "traditional":
        return str(_TRADITIONAL.convert(text))
    if how == "personal":
        return f"{text}\n联系电话：1{3 + number % 7}{number % 10**9:09d}，邮箱：user{number % 9973}@example.com。"
    if how == "marks":
        return text.replace("。", "！！！！", 2).replace("，", "，，", 1)
    if how == "returns":
        return text.replace("\n", "\r\r" if number % 2 else "\r\n")
    return text.replace("，", "\u200b，", 3) + "\ufeff"


_TRADITIONAL = opencc.OpenCC("s2t")
