"""`bench/vocabulary.py` on made-up words: what it counts is right, and what is finished is not done again."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench import vocabulary, vocabulary_corpus, vocabulary_grid, vocabulary_models
from bench.vocabulary_models import Plan, Setting
from pipeline.tokenizer.config import TokenizerConfig
from pipeline.tokenizer.vocabulary import load, train
from utils.records import read_records

HAN = [bytes([high, low]).decode("gb2312") for high in range(0xB0, 0xB4) for low in range(0xA1, 0xFF)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Chapters of sentences of some hundred words, and a little English."""
    folder = tmp_path_factory.mktemp("data")
    dice = random.Random(0)
    words = ["".join(dice.choices(HAN, k=2)) for _ in range(600)]
    rows = [
        {"book": "书", "chapter": f"书/{c}", "line": line, "modern": "".join(dice.choices(words, k=9)) + "。"}
        for c in range(60)
        for line in reversed(range(20))
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "classics_bitext.parquet")
    pages = [" ".join(dice.choices(["the", "cat", "sat", "on", "a", "mat"], k=80)) for _ in range(60)]
    (folder / "c4_demo.jsonl").write_text("".join(json.dumps({"text": page}) + "\n" for page in pages))
    (folder / "wiki_demo.txt").write_text(pages[0] + "!\n\n" + pages[1] + "!\n")
    return folder


@pytest.fixture(scope="module")
def clean(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return vocabulary_corpus.make(tmp_path_factory.mktemp("corpus"), data, 0.5, 0.2)


def test_a_chapter_is_its_lines_in_order(data: Path) -> None:
    chapters = list(vocabulary_corpus.some_chapters(data, 1))
    rows = pq.read_table(data / "classics_bitext.parquet").to_pylist()
    assert len(chapters) == 60
    assert "".join(row["modern"] for row in reversed(rows[:20])) in chapters
    some = list(vocabulary_corpus.some_chapters(data, 0.5))
    assert 15 < len(some) < 45
    assert set(some) < set(chapters)


def test_held_out_text_is_not_learned_from(clean: Path) -> None:
    held = vocabulary_grid.held_out(clean)
    assert set(held) == {"modern", "english"}
    learned = {r["text"] for path in (clean / "train").glob("*.parquet") for r in read_records(path)}
    assert learned.isdisjoint(text for texts in held.values() for text in texts)


def test_what_is_counted() -> None:
    spm = load(train(["天地玄黄"] * 9 + ["天地"] * 9, TokenizerConfig(coverage=1), 274))
    counted = vocabulary_grid.fit(spm, {"modern": ["天地玄黄宇"]})
    tokens = spm.Encode("天地玄黄宇", out_type=str)
    assert tokens[-3:] == ["<0xE5>", "<0xAE>", "<0x87>"]
    assert counted == {
        "modern_chars_per_token": round(5 / len(tokens), 3),
        "modern_bytes_per_token": round(15 / len(tokens), 3),
        "modern_byte_tokens": round(3 / len(tokens), 4),
    }
    assert vocabulary_grid.pieces(spm)["single_characters"] == 5  # four, and the line end


def test_line_ends() -> None:
    assert vocabulary_grid.broken("一。二。三", 1) == "一。\n二。\n三"
    assert vocabulary_grid.broken("一。二。三", 2) == "一。二。\n三"


def test_equal_compute() -> None:
    plan = Plan(1e12, 2, 1e-3)
    for size in (300, 3000):
        steps = plan.training(size, 0).max_steps
        assert steps is not None
        spent = steps * vocabulary_models.BATCH * vocabulary_models.SEQ_LEN * plan.flops_per_token(size)
        assert spent == pytest.approx(1e12, rel=0.01)
    head = plan.flops_per_token(3000) - plan.flops_per_token(300)
    assert head == 6 * 2700 * 128


def test_quick_measures_all_and_does_nothing_twice(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = (Setting(700, 0.98, False), Setting(800, 0.99, True))
    monkeypatch.setattr(vocabulary, "QUICK", settings)
    monkeypatch.setattr(vocabulary, "QUICK_SIZES", (700, 800))
    monkeypatch.setattr(vocabulary, "QUICK_SHARE", 1.0)
    words = ["vocabulary", "--quick", "--data", str(data), "--folder", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", words)
    vocabulary.main()
    found = json.loads((tmp_path / "quick" / "vocabulary.json").read_text(encoding="utf-8"))
    assert [row["vocab_size"] for row in found["grid"]] == [700, 700, 800, 800]
    (name,) = set(found) - {"grid", "line_ends"}
    assert [row["vocab_size"] for row in found[name]] == [700, 800]
    assert all(1 < row["modern_bpb"] < 9 for row in found[name])
    assert capsys.readouterr().out.count("| split_by_script |") == 2
    models = [path for path in tmp_path.rglob("model.safetensors") if path.parent.name == "model"]
    before = {path: path.stat().st_mtime_ns for path in models}
    assert len(before) == 2
    monkeypatch.setattr(sys, "argv", [*words, "--part", "models"])
    vocabulary.main()
    assert before == {path: path.stat().st_mtime_ns for path in models}
    assert json.loads((tmp_path / "quick" / "vocabulary.json").read_text(encoding="utf-8")) == found
