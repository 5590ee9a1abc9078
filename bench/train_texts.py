"""Texts to train on: runs of the classics cut at sentence ends, their tokenizer and their shards, by the stages.

Lengths are drawn evenly from 100 to 500 characters by a fixed seed, and a text ends with the sentence that reaches
its length. Without the corpus (`real_text.py`) the bundled sample is cut in the same way.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

from bench.real_text import DATA, chapters
from bench.tokens import text_table, write_clean
from pipeline.pack.config import PackConfig
from pipeline.pack.stage import run as pack
from pipeline.tokenizer.config import TokenizerConfig
from pipeline.tokenizer.stage import run as tokenizer
from utils.records import write_table
from utils.shards import sources

SAMPLE = Path(__file__).resolve().parent.parent / "data" / "sample" / "text"
SHORTEST, LONGEST = 100, 500
VOCABULARY = 6_400
_SENTENCE = re.compile(r".+?(?:[。！？!?]+[”’」』）)]*|$)", re.DOTALL)


def runs(texts: list[str], count: int, seed: int = 0) -> list[str]:
    """So many runs of whole sentences, in an order drawn by the seed."""
    dice = random.Random(seed)
    dice.shuffle(texts)
    found: list[str] = []
    for text in texts:
        found.extend(_cut(text, dice))
        if len(found) >= count:
            break
    dice.shuffle(found)
    return found[:count]


def _cut(text: str, dice: random.Random) -> Iterator[str]:
    wanted, run = dice.randint(SHORTEST, LONGEST), ""
    for sentence in _SENTENCE.findall(text):
        run += sentence
        if len(run) >= wanted:
            yield run[:LONGEST]
            wanted, run = dice.randint(SHORTEST, LONGEST), ""


def raw_texts(data: Path = DATA) -> list[str]:
    """Chapters of the classics; the bundled sample where they are not."""
    if (data / "classics_bitext.parquet").is_file():
        return list(chapters(data).values())
    return [path.read_text(encoding="utf-8") for path in sorted(SAMPLE.rglob("*")) if path.is_file()]


def prepared(folder: Path, texts: list[str], count: int, held_out: int = 0) -> Path:
    """`count` runs of these texts as clean records, a tokenizer and a pack in the folder; what is there stays.
    The first `held_out` of them are for looking, not for training."""
    if not (folder / "clean" / "manifest.json").is_file():
        chosen = runs(texts, count)
        if held_out:
            write_table(folder / "clean/valid/classics-00000.parquet", text_table(chosen[:held_out], "classics"))
            chosen = chosen[held_out:]
        size = sum(len(text.encode()) for text in chosen)
        write_clean(folder / "clean", text_table(chosen, "classics"), "classics", 0.98 * size)
    tokenizer(TokenizerConfig(vocab_size=VOCABULARY), folder / "clean", folder / "tokenizer")
    pack(PackConfig(workers=1), folder / "clean", folder / "tokenizer", folder / "pack")
    return folder


def documents(folder: Path) -> list[list[int]]:
    """Each text's tokens, the mark that opens it first."""
    (source,) = sources(folder / "pack", "pretrain", "train").values()
    return [source.document(number)[0].tolist() for number in range(source.documents)]
