"""Packed files: read as the file within, and as far as they can be unpacked when they are damaged."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.clean.config import Input
from pipeline.clean.files.places import MEMBER, packing
from pipeline.clean.inputs import expand
from pipeline.clean.protocol import Sample
from tests.clean.raw_files import bad, chosen, dump, located, pairs, read, texts, write
from utils.console import UserError

ROWS = [{"prompt": f"第{n}问", "response": f"第{n}答" + "长" * (n % 50)} for n in range(3000)]
WANTED = [(row["prompt"], row["response"]) for row in ROWS]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
CSV = ("prompt,response\n" + "".join(f"{asked},{told}\n" for asked, told in WANTED)).encode()
LIST = json.dumps(ROWS, ensure_ascii=False).encode()


def zst(data: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(data, asbytes=True))


PACKERS: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".bz2": bz2.compress, ".zst": zst}


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.parametrize(("name", "data"), [("a.jsonl", LINES), ("a.json", LIST), ("a.csv", CSV)])
def test_packed_files(tmp_path: Path, kind: str, name: str, data: bytes) -> None:
    path = tmp_path / (name + kind)
    path.write_bytes(PACKERS[kind](data))
    assert (chosen(path), packing(str(path))) == ("pairs", kind)
    assert pairs(read(path)) == WANTED
    assert all(data[at:].startswith((b'{"prompt', "第".encode())) for at, _ in located(path))


@pytest.mark.parametrize("kind", PACKERS)
def test_a_name_that_does_not_tell(tmp_path: Path, kind: str) -> None:
    """As a download leaves them: what counts are the first bytes."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(PACKERS[kind](LINES))
    assert pairs(read(path)) == WANTED
    plain = tmp_path / "b.jsonl.gz"
    plain.write_bytes(LINES)
    assert pairs(read(plain)) == WANTED


@pytest.mark.parametrize("kind", PACKERS)
def test_several_streams_in_one_file(tmp_path: Path, kind: str) -> None:
    """As pigz, pbzip2 and `cat a.gz b.gz` write them."""
    path = tmp_path / f"a.jsonl{kind}"
    half = len(LINES) // 2
    path.write_bytes(PACKERS[kind](LINES[:half]) + PACKERS[kind](LINES[half:]))
    assert pairs(read(path)) == WANTED


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.parametrize(("name", "data"), [("a.jsonl", LINES), ("a.json", LIST), ("a.csv", CSV)])
def test_a_file_cut_short_is_read_as_far_as_it_goes(tmp_path: Path, kind: str, name: str, data: bytes) -> None:
    path = tmp_path / (name + kind)
    packed = PACKERS[kind](data[: len(data) // 2]) + PACKERS[kind](data[len(data) // 2 :])
    path.write_bytes(packed[: len(packed) * 3 // 4])
    items = read(path)
    found = pairs(items)
    assert len(found) > 1000
    assert found == WANTED[: len(found)]
    (last,) = bad(items)
    assert items[-1] is last
    assert last.reason.startswith("the file is cut short or damaged behind the record at ")


def test_a_gz_damaged_in_the_middle(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    packed = bytearray(gzip.compress(LINES * 20))
    packed[len(packed) // 2 : len(packed) // 2 + 50] = b"\xff" * 50
    path.write_bytes(packed)
    items = read(path)
    assert 1000 < len(items) < 60_000
    assert items[-1] is bad(items)[-1]


def test_text_and_dumps_cut_short(tmp_path: Path) -> None:
    text = "".join(f"第{n}篇文章，内容是{n * n}。\n\n" for n in range(20_000)).encode()
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(text)[:-20_000])
    items = read(tmp_path / "a.txt.gz")
    assert len(texts(items)) > 1000
    assert texts(items) == [f"第{n}篇文章，内容是{n * n}。\n" for n in range(len(texts(items)))]
    assert len(bad(items)) == 1


@pytest.mark.parametrize("kind", [".gz", ".bz2"])
def test_nothing_can_be_unpacked(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.jsonl{kind}"
    path.write_bytes(PACKERS[kind](LINES)[:12])
    with pytest.raises(UserError, match=rf"a\.jsonl{kind}: damaged \(.*\); copy it again"):
        expand([Input(str(path))])


def test_packed_parquet(tmp_path: Path) -> None:
    table = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), table)
    (tmp_path / "a.parquet.gz").write_bytes(gzip.compress(table.getvalue()))
    assert pairs(read(tmp_path / "a.parquet.gz")) == WANTED


def test_an_empty_packed_file(tmp_path: Path) -> None:
    for kind, pack in PACKERS.items():
        (tmp_path / f"a.csv{kind}").write_bytes(pack(b"\xef\xbb\xbf\n"))
        (raw,) = expand([Input(str(tmp_path / f"a.csv{kind}"))])
        assert (raw.reader, raw.problem) == ("", "")


# ---------------------------------------------------------------- archives


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in files.items():
            file.writestr(name, data)
    return path


def test_each_member_of_a_zip_is_a_file(tmp_path: Path) -> None:
    files = {
        "corpus/train.json": LINES,
        "corpus/问答.csv": CSV,
        "corpus/packed.jsonl.gz": gzip.compress(LINES),
        "corpus/readme.md": "# 说明".encode(),
        "__MACOSX/corpus/._train.json": b"\0\1\2",
        "corpus/empty.json": b"",
    }
    path = archive(tmp_path / "corpus.zip", files)
    raws = expand([Input(str(path))])
    name = f"{path.as_posix()}{MEMBER}corpus/"
    assert [raw.name.removeprefix(name) for raw in raws] == ["empty.json", "packed.jsonl.gz", "train.json", "问答.csv"]
    assert [raw.reader for raw in raws] == ["", "pairs", "pairs", "pairs"]
    assert {raw.source for raw in raws} == {"corpus"}
    assert raws[2].size == len(LINES)
    assert raws[3].label == "问答.csv"
    for raw in raws[1:]:
        assert pairs(read(raw.name)) == WANTED


def test_a_zip_with_parquet(tmp_path: Path) -> None:
    table = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), table)
    (raw,) = expand([Input(str(archive(tmp_path / "a.zip", {"a.parquet": table.getvalue()})))])
    assert pairs(read(raw.name)) == WANTED


def test_names_of_a_chinese_windows(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"xxxx.csv": CSV})
    path.write_bytes(path.read_bytes().replace(b"xxxx.csv", "语料.csv".encode("gb18030")))
    (raw,) = expand([Input(str(path))])
    assert raw.name.endswith("a.zip!/语料.csv")
    assert pairs(read(raw.name)) == WANTED


def test_a_damaged_member(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"a.jsonl": LINES * 20, "b.jsonl": LINES})
    data = bytearray(path.read_bytes())
    middle = data.find(b"b.jsonl") // 2
    data[middle : middle + 50] = b"\xff" * 50
    path.write_bytes(data)
    items = read(f"{path}{MEMBER}a.jsonl")
    assert 1000 < len(items) < 60_000
    assert items[-1] is bad(items)[-1]
    assert pairs(read(f"{path}{MEMBER}b.jsonl")) == WANTED


def test_archives_that_cannot_be_opened(tmp_path: Path) -> None:
    whole = archive(tmp_path / "a.zip", {"a.jsonl": LINES}).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[:-40])
    with pytest.raises(UserError, match=r"cut\.zip: damaged \(File is not a zip file\); copy it again"):
        expand([Input(str(tmp_path / "cut.zip"))])
    archive(tmp_path / "book.xlsx", {"[Content_Types].xml": b"<x/>"})
    with pytest.raises(UserError, match=r"book\.xlsx: a file of an office program; save it there as CSV"):
        expand([Input(str(tmp_path / "book.xlsx"))])
    locked = bytearray(whole)
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        locked[locked.find(mark) + place] |= 1
    (tmp_path / "locked.zip").write_bytes(locked)
    with pytest.raises(UserError, match=r"locked\.zip: locked with a password; unpack it"):
        expand([Input(str(tmp_path / "locked.zip"))])
    (raw,) = (raw for raw in expand([Input(str(tmp_path))]) if raw.name.endswith("cut.zip"))
    assert "damaged" in raw.problem


def test_a_folder_whose_name_ends_like_an_archive(tmp_path: Path) -> None:
    folder = tmp_path / "wow!"
    folder.mkdir()
    path = dump(folder / "a.json", ROWS, True)
    assert pairs(read(path)) == WANTED
    assert Sample(str(write(folder / "b.txt", "文"))).suffix == ".txt"
