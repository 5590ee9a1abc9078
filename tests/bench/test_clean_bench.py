"""The corpora and the baseline of `bench/clean.py`, on made-up words: the loop finds what is planted."""

from __future__ import annotations

import csv
import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench import clean, clean_corpus, clean_loop, clean_texts, clean_truth
from pipeline.clean import stage
from pipeline.recipe import from_command_line
from utils.records import read_records

HAN = [bytes([high, low]).decode("gb2312") for high in range(0xB0, 0xD7) for low in range(0xA1, 0xFF)]


def sentences(count: int, seed: int) -> list[str]:
    """Sentences of common characters in no order."""
    dice = random.Random(seed)
    return [
        "".join(dice.choices(HAN, k=dice.randint(5, 30))) + "，" + "".join(dice.choices(HAN, k=9)) + "。"
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files like those that the corpus is made of."""
    folder = tmp_path_factory.mktemp("data")
    lines = sentences(12_000, 0)
    pq.write_table(pa.table({"classical": lines[:6000], "modern": lines[6000:]}), folder / "classics_bitext.parquet")
    for number, name in enumerate(("3k", "valid_1k"), start=1):
        said = sentences(6000, number)
        chats = {"prompt": said[::4], "response": ["".join(said[i + 1 : i + 4]) for i in range(0, 6000, 4)]}
        pq.write_table(pa.table(chats), folder / f"chatlm_qa_{name}.parquet")
    said = sentences(6000, 3)
    with (folder / "medical_neike_sample_gb18030.csv").open("w", encoding="gb18030", newline="") as file:
        rows = [["内科", said[i][:12], said[i + 1], said[i + 2] + said[i + 3]] for i in range(0, 6000, 4)]
        csv.writer(file).writerows([["department", "title", "ask", "answer"], *rows])
    dice = random.Random(4)
    words = ["".join(dice.choices("abcdefghilmnorstuw", k=dice.randint(2, 9))) for _ in range(3000)]
    english = " ".join(" ".join(dice.choices(words, k=12)).capitalize() + "." for _ in range(3000))
    (folder / "c4_demo.jsonl").write_text(json.dumps({"text": english}) + "\n", encoding="utf-8")
    (folder / "wiki_demo.txt").write_text(english, encoding="utf-8")
    (folder / "cmmlu" / "test").mkdir(parents=True)
    with (folder / "cmmlu" / "test" / "history.csv").open("w", encoding="utf-8", newline="") as file:
        asked = [[i, question, *"甲乙丙丁", "A"] for i, question in enumerate(sentences(50, 5))]
        csv.writer(file).writerows([["", "Question", "A", "B", "C", "D", "Answer"], *asked])
    return folder


@pytest.fixture(scope="module")
def corpus(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small corpus."""
    folder = tmp_path_factory.mktemp("corpus")
    clean_corpus.make(folder, 2, 0, data)
    return folder


@pytest.fixture(scope="module")
def said(corpus: Path) -> dict[clean_truth.Place, str]:
    """What each record says, as it stands in its file."""
    return {
        (path.name, number): "\n".join(clean_loop.fields(row))
        for path in clean_truth.corpus_files(corpus)
        for number, row in enumerate(clean_loop.rows(path))
    }


def test_corpus_is_a_function_of_its_seed(data: Path, corpus: Path, tmp_path: Path) -> None:
    counts = clean_corpus.make(tmp_path / "same", 2, 0, data)
    clean_corpus.make(tmp_path / "other", 2, 1, data)
    files = clean_truth.corpus_files(corpus)
    assert len(files) == 25
    assert 2e6 < counts["bytes"] == sum(path.stat().st_size for path in files) < 3e6
    for path in [*files, corpus / "truth.json"]:
        again = path.relative_to(corpus)
        assert (tmp_path / "same" / again).read_bytes() == path.read_bytes()
        assert (tmp_path / "other" / again).read_bytes() != path.read_bytes()


def test_exact_copies_say_the_same(corpus: Path, said: dict[clean_truth.Place, str]) -> None:
    pairs = list(clean_truth.places(corpus, "exact"))
    assert 0.03 < len(pairs) / len(said) < 0.07
    for copy, original in pairs:
        assert copy != original
        assert said[copy] == said[original]


def test_near_copies_differ_by_one_edit(corpus: Path, said: dict[clean_truth.Place, str]) -> None:
    pairs = list(clean_truth.places(corpus, "near"))
    assert 0.03 < len(pairs) / len(said) < 0.07
    for copy, original in pairs:
        edited, whole = said[copy], said[original]
        assert len(whole) >= 200
        mine, theirs = shingles(edited), shingles(whole)
        assert len(mine & theirs) / len(mine | theirs) > 0.6
        if not copy[0].startswith("web-"):  # marks of dirt may stand elsewhere in a copy
            assert 0 < longest_difference(edited, whole) <= 0.1 * len(whole) + 1


def longest_difference(a: str, b: str) -> int:
    """Characters between what two texts share at their beginning and at their end."""
    least = min(len(a), len(b))
    head = next((i for i in range(least) if a[i] != b[i]), least)
    tail = next((i for i in range(least - head) if a[-1 - i] != b[-1 - i]), least - head)
    return max(len(a), len(b)) - head - tail


def test_questions_of_exams_are_planted(data: Path, corpus: Path, said: dict[clean_truth.Place, str]) -> None:
    exam = clean_texts.Shelf(data).exam
    planted = list(clean_truth.places(corpus, "exam"))
    assert planted
    for place, number in planted:
        question = exam[number].partition("\n")[0]
        assert question in said[place]


def shingles(text: str) -> set[str]:
    """Every five characters in a row."""
    return {text[i : i + 5] for i in range(len(text) - 4)}


def closest(texts: Sequence[str]) -> list[float]:
    """For each text its highest similarity (Jaccard of shingles) with any text before it."""
    holders: dict[str, list[int]] = {}
    sizes, found = [], []
    for number, text in enumerate(texts):
        mine = shingles(text)
        shared: Counter[int] = Counter()
        for shingle in mine:
            others = holders.setdefault(shingle, [])
            shared.update(others)
            others.append(number)
        sizes.append(len(mine))
        found.append(max((n / (len(mine) + sizes[o] - n) for o, n in shared.items()), default=0.0))
    return found


def test_others_have_little_in_common(corpus: Path, said: dict[clean_truth.Place, str]) -> None:
    planted = {place for kind in ("exact", "near", "exam") for place, _ in clean_truth.places(corpus, kind)}
    web = [text for place, text in said.items() if place[0].startswith("web-") and place not in planted]
    documents = [clean_loop.normalised(text) for text in web]
    assert max(closest([text for text in documents if "首页" not in text][:200])) < 0.3


def test_loop_finds_what_is_planted(data: Path, corpus: Path, tmp_path: Path) -> None:
    files = clean_truth.corpus_files(corpus)
    found = clean_loop.run(files, data / "cmmlu", tmp_path)
    ids = [row["id"] for path in sorted(tmp_path.glob("*.parquet")) for row in read_records(path)]
    assert found["kept"] == len(ids) == len(set(ids))
    assert found["read"] == found["kept"] + sum(found["dropped"].values())
    kept = {(name, int(number)) for _, name, number in (one.split("/") for one in ids)}
    shares = clean_truth.recall(corpus, kept)
    assert shares["exact"] == shares["exam"] == 1
    assert shares["near"] > 0.95
    planted = {kind: len(list(clean_truth.places(corpus, kind))) for kind in ("exact", "near", "exam")}
    assert found["dropped"]["duplicate"] == planted["exact"]
    assert found["dropped"]["near_duplicate"] <= planted["near"]
    assert found["dropped"]["in_exam"] >= planted["exam"]
    assert found["dropped"]["repeated_lines"] > 0


def test_stage_finds_what_is_planted(data: Path, corpus: Path, tmp_path: Path) -> None:
    path = clean.recipe(tmp_path, corpus, data / "cmmlu")
    stage.run(from_command_line([str(path)])[2].clean, tmp_path / "clean")
    assert clean_truth.recall(corpus, clean.kept_places(tmp_path / "clean")) == {"exact": 1, "near": 1, "exam": 1}


def test_who_drops_nothing_finds_nothing(corpus: Path, said: dict[clean_truth.Place, str]) -> None:
    assert clean_truth.recall(corpus, set(said)) == {"exact": 0, "near": 0, "exam": 0}


@pytest.mark.parametrize(
    ("raw", "normal"),
    [
        ("<p>他说&ldquo;好&rdquo;。</p><p>走了</p>", "他说“好”。\n走了"),
        ("一段\r\r二段\r\n三段", "一段\n二段\n三段"),
        ("臺灣\u200b的\ufeff經濟！！！真好,對嗎?對", "台湾的经济！真好，对吗？对"),
        ("长12.2米,class pass  见 http://a.b/c?d=1 。", "长12.2米,class pass 见 http://a.b/c?d=1 。"),
        ("e\u0301", "\u00e9"),
    ],
)
def test_normalised(raw: str, normal: str) -> None:
    assert clean_loop.normalised(raw) == normal


def test_masked() -> None:
    assert (
        clean_loop.masked("电话13812345678，信箱a.b@c.com。编号138123456789")
        == "电话<电话>，信箱<邮箱>。编号138123456789"
    )


@pytest.mark.parametrize("tuned", [False, True])
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("短", "length"),
        ("ひらがなだけではだめですね", "letters"),
        ("十几个汉字里有一些数字12345678", "digits"),
        ("首页登录注册联系我们\n" * 9, "repeated_lines"),
        ("哈哈哈" * 30, "repeated_grams"),
        ("今天天气很好，我们去公园散步。", None),
    ],
)
def test_fault(text: str, reason: str | None, tuned: bool) -> None:
    assert clean_loop.fault(text, text, tuned) == reason
