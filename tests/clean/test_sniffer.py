"""What a file is taken for: its encoding, its reader, or nothing that can be read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.clean.config import Input
from pipeline.clean.encodings import detect_encoding, encoding_of
from pipeline.clean.inputs import expand
from pipeline.clean.protocol import Sample
from pipeline.clean.readers import choose, readers
from tests.clean.raw_files import read, write
from utils.console import UserError


def test_encoding_is_told_by_the_first_text_beyond_ascii(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"question,answer\n" + b"hello,hi there\n" * 40_000 + "你好,你好呀".encode("gb18030"))
    assert detect_encoding(path) == "gb18030"


def test_a_few_bad_bytes_do_not_make_another_encoding() -> None:
    text = "从前有座山，山里有座庙。".encode() * 50
    assert encoding_of(text + b"\xff" + text) == "utf-8"
    assert encoding_of("从前有座山，山里有座庙。".encode("gb18030") * 50 + b"\xff") == "gb18030"


def test_unknown_files_are_described(tmp_path: Path) -> None:
    for name, text, looks in [
        ("a.json", '[{"riddle": "x", "reply": "y"}]', "JSON with keys riddle, reply"),
        (
            "dpo.json",
            '[{"conversations": [], "chosen": {}, "rejected": {}}]',
            "JSON with keys conversations, chosen, rejected",
        ),
        ("a.md", "# 标题", "utf-8 text that begins with '# 标题'"),
        ("b.json", "[1, 2", "damaged JSON, or JSON whose records are not objects"),
    ]:
        with pytest.raises(UserError) as told:
            choose(Sample(write(tmp_path / name, text)), "auto")
        assert looks in str(told.value)
        assert "alpaca: JSON list" in str(told.value)


@pytest.mark.parametrize("content", [b"\0\1\2", "问,答\n你好,好\n".encode("utf-16-le"), "q,a\n".encode("utf-16-be")])
def test_what_holds_nul_bytes_is_no_text(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.csv: looks like UTF-16 or binary; save it as UTF-8"):
        choose(Sample(tmp_path / "a.csv"), "auto")


def test_a_stray_nul_byte_is_no_reason(tmp_path: Path) -> None:
    assert detect_encoding(write(tmp_path / "a.txt", "你好，\0世界。" + "很长的一段。" * 100)) == "utf-8"


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
        choose(Sample(path), "alpacca")


def test_every_reader_is_found() -> None:
    assert set(readers()) == {
        "alpaca",
        "conversations",
        "csv_pairs",
        "json_pairs",
        "json_text",
        "parquet_rows",
        "plain_text",
    }
    assert all(reader.ABOUT for reader in readers().values())
