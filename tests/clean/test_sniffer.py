"""What a file is taken for: its encoding, its reader, or nothing that can be read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.clean.config import Input
from pipeline.clean.files.encodings import detect_encoding, encoding_of
from pipeline.clean.inputs import expand
from pipeline.clean.protocol import Sample
from pipeline.clean.readers import reader_of
from tests.clean.raw_files import chosen, dump, read, write
from utils.console import UserError


def test_encoding_is_told_by_the_first_text_beyond_ascii(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"question,answer\n" + b"hello,hi there\n" * 40_000 + "你好,你好呀".encode("gb18030"))
    assert detect_encoding(str(path)) == "gb18030"


def test_a_few_bad_bytes_do_not_make_another_encoding() -> None:
    text = "从前有座山，山里有座庙。".encode() * 50
    assert encoding_of(text + b"\xff" + text) == "utf-8"
    assert encoding_of("从前有座山，山里有座庙。".encode("gb18030") * 50 + b"\xff") == "gb18030"


def test_unknown_files_are_described(tmp_path: Path) -> None:
    for name, text, looks in [
        ("a.json", '[{"riddle": "x", "reply": "y"}]', "JSON with keys riddle, reply"),
        ("one.json", '[{"chosen": "x"}]', "JSON with keys chosen"),
        ("a.md", "# 标题", "utf-8 text that begins with '# 标题'"),
        (
            "c.json",
            '{\n "data": [{"question": "问"}]\n}',
            "one JSON object over many lines; write its records as a list",
        ),
        ("b.json", "[1, 2", "damaged JSON, or JSON whose records are not objects"),
    ]:
        with pytest.raises(UserError) as told:
            chosen(write(tmp_path / name, text))
        assert looks in str(told.value)
        assert "Readers: alpaca, " in str(told.value)


@pytest.mark.parametrize("content", [b"\0\1\2", "问,答\n你好,好\n".encode("utf-16-le"), "q,a\n".encode("utf-16-be")])
def test_what_holds_nul_bytes_is_no_text(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.csv: looks like UTF-16 or binary; save it as UTF-8"):
        chosen(tmp_path / "a.csv")


def test_a_stray_nul_byte_is_no_reason(tmp_path: Path) -> None:
    assert detect_encoding(str(write(tmp_path / "a.txt", "你好，\0世界。" + "很长的一段。" * 100))) == "utf-8"


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xce\xca.csv"
    try:
        Path(os.fsdecode(name)).write_text("q,a\n1,2\n", encoding="utf-8")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    for typed in (str(tmp_path), os.fsdecode(name), f"{tmp_path}/*.csv"):
        with pytest.raises(UserError, match="name is not UTF-8; rename it") as told:
            expand([Input(typed)])
        str(told.value).encode()
    with pytest.raises(UserError, match="nothing there") as told:
        expand([Input(os.fsdecode(name + b".gz"))])
    str(told.value).encode()


def test_a_reader_can_be_named(tmp_path: Path) -> None:
    path = write(tmp_path / "notes.md", "# 标题\n\n一段")
    assert len(read(path, "plain_text")) == 2
    with pytest.raises(UserError, match=r"unknown reader alpacca; did you mean alpaca\?"):
        reader_of(Sample(str(path)), "alpacca")


# ---------------------------------------------------------------- one file, several readers


def test_who_knows_it_surely_reads_it(tmp_path: Path) -> None:
    row = {"department": "内科", "title": "题", "ask": "问", "answer": "答"}
    assert chosen(dump(tmp_path / "a.json", [row], True)) == "medical"
    del row["department"]
    assert chosen(dump(tmp_path / "a.json", [row], True)) == "pairs"


def test_a_published_name_decides(tmp_path: Path) -> None:
    alpaca = [{"instruction": "问", "input": "", "output": "答"}]
    assert chosen(dump(tmp_path / "mine.json", alpaca, False)) == "alpaca"
    assert chosen(dump(tmp_path / "train_2M_CN.json", alpaca, False)) == "belle"
    text = [{"text": "一段文字"}]
    assert chosen(dump(tmp_path / "2020-40_zh_head_0000.jsonl", text, False)) == "skypile"
    assert chosen(dump(tmp_path / "2020-40_en_head_0000.jsonl", text, False)) == "text"
    assert chosen(dump(tmp_path / "train_2M_CN.json", [{"x": 1, "text": "不是它的列"}], False)) == "text"


def test_two_that_know_it_equally_well(tmp_path: Path) -> None:
    path = dump(tmp_path / "a.json", [{"text": "文", "messages": [{"role": "user", "content": "问"}]}], True)
    with pytest.raises(UserError, match=r"conversations and text both understand it; say which with \{path"):
        chosen(path)


def test_who_reads_only_if_asked(tmp_path: Path) -> None:
    row = {"title": "怎么贷款", "question": "", "reply": "去银行", "is_best": "1"}
    path = dump(tmp_path / "a.json", [row], True)
    with pytest.raises(UserError, match=r"finance reads this only if asked to \(much .* reader: finance\}"):
        chosen(path)
    assert len(read(path, "finance")) == 1


def test_an_exam_is_no_corpus(tmp_path: Path) -> None:
    path = write(tmp_path / "law.csv", ",Question,A,B,C,D,Answer\n0,问,甲,乙,丙,丁,A\n")
    with pytest.raises(UserError, match=r"law\.csv: an exam .* clean\.decontaminate"):
        chosen(path)


def test_the_first_readable_rows_tell(tmp_path: Path) -> None:
    """A head of damaged lines hides nothing."""
    assert chosen(write(tmp_path / "a.jsonl", "{坏\n" * 30 + '{"prompt": "问", "response": "答"}\n')) == "pairs"


@pytest.mark.parametrize("content", ["{{第一章}}\n从前。\n\n后来。", "[转载] 标题\n\n正文。"])
def test_text_that_begins_like_json(tmp_path: Path, content: str) -> None:
    path = write(tmp_path / "a.txt", content)
    assert chosen(path) == "plain_text"
    assert len(read(path)) == 2
