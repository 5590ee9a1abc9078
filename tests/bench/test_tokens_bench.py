"""The benchmark of tokens measures what it says: the same texts, each of its ways once, on a small corpus."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.real_text import DATA, chapters
from bench.tokens import byte_level, raw, text_table, texts_in, write_clean
from tests.commands import run
from utils.records import record_shards

NEEDS = pytest.mark.skipif(not (DATA / "classics_bitext.parquet").is_file(), reason="needs ../shared/data")


def test_a_corpus_is_its_texts_again_and_again(tmp_path: Path, tiny_tokenizer: Path):
    texts = ["今天天气很好，我们去公园散步。" * 20, "The quick brown fox.", "水在零度结冰"]
    clean = write_clean(tmp_path / "clean", text_table(texts, "a"), "a", 100_000)
    got = texts_in(record_shards(clean, "train")["a"])
    assert got[:6] == texts * 2
    assert sum(len(text.encode()) for text in got) == pytest.approx(100_000, rel=0.2)
    (tmp_path / "tokenizer").symlink_to(tiny_tokenizer)
    took = raw(tmp_path, 1)
    assert took.bytes == sum(len(text.encode()) for text in got)
    assert took.tokens > 0


def test_ranks_for_tiktoken_are_bytes():
    _, ranks = byte_level(["今天天气很好，abc abc abc"] * 9, 300)
    assert {bytes([b]) for b in range(256)} <= set(ranks)
    assert "天气".encode()[:3] in ranks
    assert sorted(ranks.values()) == list(range(len(ranks)))


@NEEDS
@pytest.mark.slow
def test_the_whole_benchmark_runs(tmp_path: Path):
    assert sum(len(text.encode()) for text in chapters(DATA).values()) == pytest.approx(94.6e6, rel=0.01)
    words = ["-m", "bench.tokens", "--megabytes", "5", "--repeats", "1", "--folder", str(tmp_path)]
    said = run([sys.executable, *words], timeout=900)
    assert said.count("pack / raw") == 3
    assert said.count("encode_batch_fast") == 6
