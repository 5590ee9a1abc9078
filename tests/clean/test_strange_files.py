"""Files as people really leave them: of two encodings, cut, changing, packed strangely, no files at all."""

from __future__ import annotations

import bz2
import datetime
import json
import os
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.clean.config import CleanConfig, Input, Rules
from pipeline.clean.exams import read_exams
from pipeline.clean.files import csv_files, encodings
from pipeline.clean.inputs import expand
from pipeline.clean.protocol import Found
from pipeline.clean.stage import run
from tests.clean.raw_files import bad, located, pairs, read, texts, write
from tests.clean.test_clean import write_jsonl
from utils.console import UserError

SAID = [f"第{n}个问题，说的是天气与健康" for n in range(400)]


def csv_of(said: list[str], encoding: str) -> bytes:
    return "".join(f"{one},答{n}\r\n" for n, one in enumerate(said)).encode(encoding)


# ---------------------------------------------------------------- encodings


@pytest.mark.parametrize("first", ["gb18030", "utf-8"])
def test_a_table_of_two_encodings_holds_no_nonsense(tmp_path: Path, first: str) -> None:
    """As `cat old.csv new.csv` leaves it: what is not read as what it is, is put aside."""
    second = {"gb18030": "utf-8", "utf-8": "gb18030"}[first]
    path = tmp_path / "a.csv"
    path.write_bytes(b"question,answer\r\n" + csv_of(SAID[:300], first) + csv_of(SAID[300:], second))
    items = read(path)
    asked = [question for question, _ in pairs(items)]
    assert set(asked) <= set(SAID)
    assert len(asked) + len(bad(items)) == len(SAID)
    assert len(bad(items)) == (100 if second == "gb18030" else 0)


def test_where_records_begin_in_a_table_of_two_encodings(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"question,answer\n" + csv_of(SAID[:300], "gb18030") + csv_of(SAID[300:], "utf-8"))
    at, item = located(path)[350]
    assert isinstance(item, Found)
    assert path.read_bytes()[at:].startswith(SAID[350].encode())


@pytest.mark.parametrize("name", ["a.txt", "a.json"])
def test_text_and_lists_of_two_encodings(tmp_path: Path, name: str) -> None:
    halves = [
        ("\n\n".join(part) + "\n\n", encoding) for part, encoding in ((SAID[:300], "gb18030"), (SAID[300:], "utf-8"))
    ]
    if name == "a.json":
        rows = [json.dumps({"text": one}, ensure_ascii=False) for one in SAID]
        halves = [("[" + ",\n".join(rows[:300]) + ",\n", "gb18030"), (",\n".join(rows[300:]) + "]", "utf-8")]
    path = tmp_path / name
    path.write_bytes(b"".join(text.encode(encoding) for text, encoding in halves))
    assert [one.strip() for one in texts(read(path))] == SAID


@pytest.mark.parametrize(("encoding", "looks"), [("big5", "Big5"), ("shift_jis", "Shift-JIS")])
def test_what_is_no_chinese_of_the_mainland_is_refused(tmp_path: Path, encoding: str, looks: str) -> None:
    said = "質問,答案\n" + "".join(f"第{n}個問題說的是天氣,與健康有關\n" for n in range(50))
    path = write(
        tmp_path / "a.csv", said if encoding == "big5" else "question,answer\n" + "これは質問です,答え\n" * 50, encoding
    )
    with pytest.raises(UserError, match=rf"a\.csv: looks like {looks}.*save it as UTF-8"):
        read(path)


def test_traditional_chinese_in_gb18030_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "question,answer\n" + "這個問題說的是天氣,與健康有關\n" * 50, "gb18030")
    assert pairs(read(path)) == [("這個問題說的是天氣", "與健康有關")] * 50


def test_a_few_nul_bytes_are_no_reason_to_refuse_a_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "question,answer\n" + "问\0,答\n" + "问,答\n" * 20)
    assert len(pairs(read(path))) == 21


# ---------------------------------------------------------------- damage and change


def test_a_file_that_is_lost_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    write_jsonl(folder / "a.jsonl", [{"text": one} for one in SAID])
    pq.write_table(pa.table({"text": SAID}), folder / "b.parquet")
    (folder / "b.parquet").write_bytes((folder / "b.parquet").read_bytes()[:-100])
    packed = bz2.compress("".join(json.dumps({"text": one}) + "\n" for one in SAID).encode())
    (folder / "c.jsonl.bz2").write_bytes(packed[: len(packed) // 2])
    run(CleanConfig(inputs=[Input(str(folder))]), tmp_path / "clean")
    told = capsys.readouterr().err
    assert "b.parquet: not read to its end: " in told
    assert "c.jsonl.bz2: " in told
    assert "a.jsonl" not in told


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    write_jsonl(path, [{"text": one} for one in SAID])
    kept = path.read_bytes()

    def shrink(*args: object) -> None:
        path.write_bytes(kept[: len(kept) // 2])

    monkeypatch.setattr("pipeline.clean.stage.refuse_bad", shrink)
    with pytest.raises(UserError, match=r"a\.jsonl changed while it was read; run the same command again"):
        run(CleanConfig(inputs=[Input(str(path))]), tmp_path / "clean")
    assert not (tmp_path / "clean").exists()


def test_measures_that_rotted_are_made_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_jsonl(tmp_path / "a.jsonl", [{"text": one} for one in SAID])
    run(CleanConfig(inputs=[Input(str(tmp_path / "a.jsonl"))]), tmp_path / "clean")
    part = tmp_path / "clean" / "features" / "00000-000.arrow"
    rotten = bytearray(part.read_bytes())
    rotten[len(rotten) // 2 : len(rotten) // 2 + 64] = bytes(64)
    part.write_bytes(rotten)
    assert run(CleanConfig(inputs=[Input(str(tmp_path / "a.jsonl"))], min_chars=5), tmp_path / "clean")
    assert "the measures are kept" not in capsys.readouterr().out


def test_a_date_that_python_does_not_know_costs_its_row(tmp_path: Path) -> None:
    when = pa.array([0] * 49 + [2**62], pa.timestamp("us"))
    pq.write_table(pa.table({"text": SAID[:50], "when": when}), tmp_path / "a.parquet")
    items = read(tmp_path / "a.parquet")
    assert texts(items) == SAID[:49]
    assert [one.reason[:28] for one in bad(items)] == ["a value that cannot be read:"]
    assert datetime.date.max.year == 9999


# ---------------------------------------------------------------- packed, named, or no files


def test_zips_that_python_cannot_unpack(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.jsonl", json.dumps({"text": "一"}))
    raw = bytearray(path.read_bytes())
    for magic, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        place = raw.index(magic) + at
        raw[place : place + 2] = (9).to_bytes(2, "little")  # deflate64
    path.write_bytes(raw)
    with pytest.raises(UserError, match=r"a\.zip!/a\.jsonl: damaged \(.*compression.*\)"):
        expand([Input(str(path))])


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_with_two_files_of_one_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for text in ("一", "二"):
            archive.writestr("a.jsonl", json.dumps({"text": text}))
    with pytest.raises(UserError, match=r"a\.zip: holds two files called a\.jsonl"):
        expand([Input(str(tmp_path / "a.zip"))])


@pytest.mark.parametrize(
    ("magic", "kind"), [(b"\xfd7zXZ\0", "xz"), (b"7z\xbc\xaf\x27\x1c", "7z"), (b"Rar!\x1a\7", "rar")]
)
def test_packings_that_are_not_understood_are_named(tmp_path: Path, magic: bytes, kind: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(magic + bytes(range(256)) * 4)
    with pytest.raises(UserError, match=rf"a\.jsonl: packed \({kind}\); unpack it"):
        read(tmp_path / "a.jsonl")


def test_a_dump_whose_xml_names_another_encoding(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xml", '<?xml version="1.0" encoding="gb18030"?>\n<mediawiki><page/></mediawiki>')
    with pytest.raises(UserError, match=r"a\.xml: .*; save it as UTF-8"):
        read(path, "wiki")


def test_two_columns_of_one_name_are_both_kept(tmp_path: Path) -> None:
    (item,) = read(write(tmp_path / "a.csv", "text,note,note\n文,一,二\n"))
    assert isinstance(item, Found)
    assert item.meta == {"note": "一", "note (2)": "二"}


def test_a_cell_without_end_is_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (csv_files, encodings):
        monkeypatch.setattr(module, "LONGEST", 1 << 20)
    good = "".join(f"问{n},答\n" for n in range(20))
    path = write(tmp_path / "a.csv", f'question,answer\n{good}"{"长" * 3_000_000}",答\n{good}')
    items = read(path)
    assert len(pairs(items)) == 40
    assert [one.reason for one in bad(items)] == ["not CSV: a row of more than 1,048,576 bytes"]


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jsonl")
    with pytest.raises(UserError, match=r"a\.jsonl: a pipe or a device"):
        expand([Input(str(tmp_path / "a.jsonl"))])


def test_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_jsonl(tmp_path / "a.jsonl", [{"text": "一"}])
    (tmp_path / "s").mkdir()
    scandir = os.scandir

    def refuse(path: str) -> object:  # root may read everything
        if str(path).endswith("/s"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match="/s"):
        expand([Input(str(tmp_path))])


def test_a_file_that_is_named_in_two_ways(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "web.json", [{"text": "一"}])
    inputs = [Input(str(tmp_path / "we*.json")), Input(str(tmp_path / "web.json"), rules=Rules(min_chars=9))]
    with pytest.raises(UserError, match=r"web\.json is named twice, in two ways; name it once"):
        expand(inputs)


def test_long_names_of_files(tmp_path: Path) -> None:
    path = tmp_path / f"{'长' * 80}.jsonl"
    write_jsonl(path, [{"text": one} for one in SAID])
    run(CleanConfig(inputs=[Input(str(path))], valid=0.1), tmp_path / "clean")
    (shard,) = (tmp_path / "clean" / "train").iterdir()
    assert len(shard.name.encode()) < 160
    assert shard.name.startswith("长长长")


def test_a_folder_whose_name_ends_in_a_mark(tmp_path: Path) -> None:
    folder = tmp_path / "Yahoo!"
    folder.mkdir()
    write_jsonl(folder / "train.jsonl", [{"text": "一"}])
    assert run(CleanConfig(inputs=[Input(str(folder / "train.jsonl"))]), tmp_path / "clean")


# ---------------------------------------------------------------- exams


def test_an_exam_that_is_damaged_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = json.dumps([{"question": one} for one in SAID], ensure_ascii=False)
    write(tmp_path / "a.json", whole[: len(whole) // 2])
    assert len(read_exams([str(tmp_path / "a.json")]).runs)
    assert "a.json: an exam of which " in capsys.readouterr().err


@pytest.mark.parametrize("content", ["question,a,b\n问\n题\n", "question\n", ""])
def test_an_exam_without_a_question_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(UserError, match=r"a\.csv: (no question can be read|an exam's question must stand under)"):
        read_exams([str(write(tmp_path / "a.csv", content))])
