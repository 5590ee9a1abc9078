"""No record may hold an exam's question: thirteen characters in a row, or a shorter question as a whole field."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import numpy as np
import pytest

from pipeline.clean.exams import EXAM_SHINGLE, Exams, exam_files, read_exams
from pipeline.clean.text.codes import WORD, Codes
from pipeline.clean.text.mend import mend
from pipeline.clean.text.rules import rules_for
from pipeline.clean.text.shingles import words_of
from tests.clean.raw_files import write
from tests.clean.real import real
from utils.console import UserError

LONG = "下列哪一项不属于细胞膜的主要生理功能？"
SHORT = "光合作用的场所是"
ENGLISH = "Which of the following organelles is responsible for making proteins in a cell?"
FILLING = "春天来了，山坡上的桃花开得正好，孩子们在树下追逐，老人坐在石阶上晒太阳，谁也不急着回家。" * 3


def found(exams: Exams, texts: list[str]) -> list[bool]:
    codes = Codes(mend(texts, rules_for("web")))
    hits: list[bool] = exams.found_in(words_of(codes)).tolist()
    return hits


@pytest.fixture
def exams(tmp_path: Path) -> Exams:
    with (tmp_path / "exam.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["", "Question", "A", "B", "C", "D", "Answer"])
        for question in (LONG, SHORT, ENGLISH, "请发邮件到 zhang.san@example.com 索取本题的答案和解析"):
            table.writerow(["0", question, "一", "二", "三", "四", "A"])
    return read_exams(exam_files([str(tmp_path)]))


@pytest.mark.parametrize(
    "text",
    [
        LONG,
        FILLING + LONG + FILLING,
        FILLING + LONG[:14] + FILLING,  # thirteen words' characters of it
        "下列，哪一项 不属于\n细胞膜的……主要生理功能",
        "下列哪一項不屬於細胞膜的主要生理功能",
        SHORT,
        f" {SHORT}（ ）。",
        f"{FILLING} {ENGLISH.upper()}",
        "有人问：请发邮件到 zhang.san@example.com 索取本题的答案和解析。",
    ],
)
def test_an_exam_is_found(exams: Exams, text: str) -> None:
    assert found(exams, [FILLING, text, FILLING]) == [False, True, False]


@pytest.mark.parametrize(
    "text",
    [FILLING + LONG[:12] + FILLING, f"{FILLING}{SHORT}{FILLING}", "the following organelles in a cell", "", "细胞膜"],
)
def test_less_than_a_question_is_none(exams: Exams, text: str) -> None:
    assert found(exams, [text]) == [False]


def test_runs_do_not_reach_from_one_field_into_the_next(exams: Exams) -> None:
    assert found(exams, [LONG[:7], LONG[7:14]]) == [False, False]


def test_every_place_in_a_text_is_looked_at(exams: Exams) -> None:
    run = LONG[:EXAM_SHINGLE]
    texts = ["春" * before + run + "秋" * after for before in range(30) for after in (0, 1, 9)]
    assert all(found(exams, texts))


def test_exams_survive_a_file(exams: Exams, tmp_path: Path) -> None:
    with (tmp_path / "saved.npz").open("wb") as file:
        exams.save(file)
    with (tmp_path / "saved.npz").open("rb") as file:
        again = Exams.load(file)
    assert all(np.array_equal(vars(exams)[name], vars(again)[name]) for name in vars(exams))


def test_plain_text_and_json_are_exams_too(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", f"{LONG}\n\n{SHORT}\n")
    write(tmp_path / "b.jsonl", '{"instruction": "请解释一下什么叫做边际效用递减规律", "output": "略"}\n')
    exams = read_exams(exam_files([str(tmp_path / "a.txt"), str(tmp_path / "b.jsonl")]))
    assert found(exams, [LONG, SHORT, "什么叫做边际效用递减规律呢", FILLING]) == [True, True, False, False]
    assert found(exams, ["请解释一下什么叫做边际效用递减规律呢"]) == [True]


def test_what_is_no_exam_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"clean\.decontaminate: .*nowhere: nothing there"):
        exam_files([str(tmp_path / "nowhere")])
    with pytest.raises(UserError, match=r"a\.csv: an exam's question must stand under one of question"):
        read_exams([str(write(tmp_path / "a.csv", "x,y\n1,2\n"))])


def test_a_folder_of_exams_is_named_as_a_folder_of_corpora_is(tmp_path: Path) -> None:
    folder = tmp_path / "exams [1]"
    folder.mkdir()
    for name in ("a.csv", "README.md", ".hidden.csv"):
        write(folder / name, "question\n问\n")
    assert exam_files([str(folder)]) == [(folder / "a.csv").as_posix()]
    (folder / "a.csv").unlink()
    with pytest.raises(UserError, match=r"^clean\.decontaminate: .*no file in this folder can be read"):
        exam_files([str(folder)])


def test_all_of_cmmlu_is_found_where_it_is_planted() -> None:
    folder = real("cmmlu")
    exams = read_exams(exam_files([str(folder)]))
    questions = []
    for path in sorted(folder.rglob("*.csv")):
        with path.open(encoding="utf-8-sig", newline="") as file:
            questions += [row["Question"] for row in csv.DictReader(file)]
    assert len(questions) == 11917
    assert all(found(exams, questions))
    rng = random.Random(0)
    cuts = [rng.randrange(len(FILLING)) for _ in questions]
    planted = [FILLING[:cut] + question + FILLING[cut:] for cut, question in zip(cuts, questions, strict=True)]
    codes = Codes(mend(questions, rules_for("web")))
    long = codes.count_T((codes.kinds_N & WORD) != 0) >= EXAM_SHINGLE
    missed = [q for q, is_long, hit in zip(questions, long, found(exams, planted), strict=True) if is_long and not hit]
    assert all(not any("\u4e00" <= c <= "\u9fff" for c in q) for q in missed), missed[:5]
    assert len(missed) < 10
    assert not any(found(exams, [FILLING]))
