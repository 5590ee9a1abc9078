"""Which records can be asked again, and which exam files can be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.evaluate.questions import Question, read_exam, read_taught, single_turn
from utils.console import UserError
from utils.records import write_records


def turn(role: str, content: str, **more: str) -> dict[str, Any]:
    return {"role": role, "content": content, "reasoning": None, "tool_calls": None} | more


def chat(number: int, *messages: dict[str, Any], source: str = "daily", tools: str | None = None) -> dict[str, Any]:
    row = {"id": f"{source}/f/{number}", "source": source, "kind": "chat", "messages": list(messages), "tools": tools}
    return row | {"group": str(number), "cluster_size": 1}


def pair(number: int, question: str, answer: str, source: str = "daily") -> dict[str, Any]:
    return chat(number, turn("user", question), turn("assistant", answer), source=source)


def test_only_a_plain_question_and_answer_is_asked_again() -> None:
    asked, told = turn("user", "几点"), turn("assistant", "三点")
    assert single_turn(chat(0, asked, told)) == Question("几点", "三点", "daily")
    assert single_turn(chat(0, turn("system", "简短"), asked, told)) == Question("几点", "三点", "daily", "简短")
    assert single_turn(chat(0, asked, told, asked, told)) is None
    assert single_turn(chat(0, asked, told, tools="[]")) is None
    thought = single_turn(chat(0, asked, turn("assistant", "三点", reasoning="看钟")))
    assert thought == Question("几点", "<think>\n看钟\n</think>\n\n三点", "daily")
    assert single_turn(chat(0, turn("system", "简短"))) is None


def clean_folder(folder: Path, rows: list[dict[str, Any]]) -> Path:
    for source in {row["source"] for row in rows}:
        write_records(folder / "train" / f"{source}-00000.parquet", [r for r in rows if r["source"] == source])
    return folder


def test_the_draw_is_the_same_in_any_order(tmp_path: Path) -> None:
    rows = [pair(i, f"问{i}", f"答{i}") for i in range(50)]
    one = read_taught(clean_folder(tmp_path / "a", rows), 20, [])
    other = read_taught(clean_folder(tmp_path / "b", rows[::-1]), 20, [])
    assert one.recall == other.recall
    assert len(one.recall) == 20
    assert one.trained == 50
    assert one.recall != [Question(f"问{i}", f"答{i}", "daily") for i in range(20)]
    assert read_taught(tmp_path / "a", 0, []).recall == []


def test_what_was_taught_is_known(tmp_path: Path) -> None:
    later = chat(1, turn("user", "甲"), turn("assistant", "乙"), turn("user", "后来 呢"), turn("assistant", "丙"))
    text = {"id": "t/f/0", "source": "t", "kind": "text", "text": "谁", "group": "t", "cluster_size": 1}
    clean = clean_folder(tmp_path, [pair(0, "你是谁", "牙牙"), later, text])
    taught = read_taught(clean, 10, ["你是谁？", " 后来  呢 ", "谁"])
    assert taught.found == {"你是谁", "后来呢"}
    assert [q.text for q in taught.recall] == ["你是谁"]


def test_contradictions_are_counted(tmp_path: Path) -> None:
    rows = [pair(0, "早", "早安"), pair(1, "早", "早上好"), pair(2, "晚", "晚安"), pair(3, "晚", "晚安")]
    assert read_taught(clean_folder(tmp_path, rows), 10, []).ambiguous == 2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_an_exam_as_people_save_it(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "exam.csv"
    path.write_bytes('question,answer,original\r\n"你是,谁", 我是牙牙 ,谁\r\n,,\r\n'.encode(encoding))
    assert read_exam(path) == [Question("你是,谁", "我是牙牙", "exam", original="谁")]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"q,a\n1,2\n", "no column question or answer"),
        (b"question,reply\n1,2\n", "no column answer"),
        (b"", "no column"),
        (b"question,answer\n", "no question"),
        (b"question,answer\n\xff\xff\xff,1\n", "neither UTF-8 nor GB18030"),
        (b'question,answer\na,"never closed\n', "not valid CSV"),
    ],
)
def test_a_bad_exam_is_told_in_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "exam.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=words) as told:
        read_exam(path)
    assert str(path) in str(told.value)
    assert "\n" not in str(told.value)


def test_a_missing_exam_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not found"):
        read_exam(tmp_path / "none.csv")
    with pytest.raises(UserError, match="is a folder"):
        read_exam(tmp_path)
