"""Bad input through the whole stage: the rest goes on, and what could not be read is counted and shown."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.clean.config import CleanConfig, Input
from pipeline.clean.files import csv_files, json_files
from pipeline.clean.stage import run
from tests.clean.test_clean import adds_up, command, records, write_jsonl
from utils.console import UserError
from utils.stage import read_json

Json = dict[str, Any]
GOOD = [{"text": f"第{n}篇，说的是{n * n}。"} for n in range(200)]


def line(text: str) -> bytes:
    return json.dumps({"text": text}, ensure_ascii=False).encode() + b"\n"


def lines(start: int, end: int) -> bytes:
    return b"".join(line(one["text"]) for one in GOOD[start:end])


class Cleaned:
    """What the stage left, checked for what always holds."""

    def __init__(self, raw: Path, output: Path, **fields: Any):
        fields = {"inputs": [Input(str(raw))], "max_bad_ratio": 0.5} | fields
        run(CleanConfig(**fields), output)
        self.report = read_json(output / "report.json")
        adds_up(self.report)
        written = (output / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()
        self.bad: list[Json] = [json.loads(one) for one in written]
        self.kept = {record["id"]: record["text"] for record in records(output)}
        assert len(self.kept) == self.report["kept"]
        assert len(self.bad) == self.report["quarantined"]
        for one in self.bad:
            assert list(one) == ["file", "offset", "ordinal", "reason", "bytes"]
            assert one["reason"]
            assert "\n" not in one["reason"]
            assert len(one["bytes"].encode()) <= 800
            assert one["ordinal"] >= 0
        files = Counter(one["file"] for one in self.bad)
        listed = {file["file"]: file["read"] for source in self.report["sources"].values() for file in source["files"]}
        assert files.keys() <= listed.keys()
        assert sum(listed.values()) == self.report["read"]
        assert all(count <= listed[name] for name, count in files.items())

    @property
    def numbers(self) -> list[int]:
        """Which of GOOD were kept."""
        texts = {one["text"]: n for n, one in enumerate(GOOD)}
        return sorted(texts[text] for text in self.kept.values())


# ---------------------------------------------------------------- lines


def test_one_bad_line_among_many(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    before = lines(0, 77)
    path.write_bytes(before + b'  {"text": "\xe5\x9d\x8f\n' + lines(77, 200))
    found = Cleaned(path, tmp_path / "clean")
    assert found.numbers == list(range(200))
    assert (found.report["read"], found.report["quarantined"]) == (201, 1)
    (bad,) = found.bad
    assert (bad["file"], bad["ordinal"], bad["offset"]) == (path.as_posix(), 77, len(before) + 2)
    assert bad["reason"].startswith("not JSON: ")
    assert bad["bytes"] == '{"text": "坏'
    assert set(found.kept) == {f"a/a.jsonl/{n}" for n in range(201) if n != 77}  # an id tells the line


BAD_LINES: list[tuple[bytes, str]] = [
    (b'{"text": "cut', "not JSON"),
    (b"{" * 3000, "not JSON"),
    (b"[" * 100_000, "not JSON"),
    (b"nothing", "not JSON"),
    (b"\x00\x01\x02", "not JSON"),
    (b'["text", "a"]', "no object"),
    (b"null", "no object"),
    (b"17", "no object"),
    (b'{"title": "a"}', "no text"),
    (b'{"text": 17}', "holds a int"),
    (b'{"text": ["a"]}', "holds a list"),
    (b'{"text": {"text": "a"}}', "holds a dict"),
    ('{"text": "编码"}'.encode("gb18030"), "not in the file's encoding"),
    (b'{"text": "caf\xe9"}', "not in the file's encoding"),
    (b'{"text": "a"} {"text": "b"}', "not JSON"),
]


def test_every_kind_of_bad_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    offsets, data = [], b""
    for number, (bad, _) in enumerate(BAD_LINES):
        data += lines(10 * number, 10 * number + 10)
        offsets.append(len(data))
        data += bad + b"\r\n"
    path.write_bytes(data)
    found = Cleaned(path, tmp_path / "clean")
    assert found.numbers == list(range(10 * len(BAD_LINES)))
    assert [bad["offset"] for bad in found.bad] == offsets
    assert [bad["ordinal"] for bad in found.bad] == [11 * n + 10 for n in range(len(BAD_LINES))]
    for bad, (raw, why) in zip(found.bad, BAD_LINES, strict=True):
        assert why in bad["reason"]
        shown = raw[:9].decode("utf-8", "backslashreplace")
        assert bad["bytes"].replace("'", '"').replace("None", "null").startswith(shown)


def test_fields_that_are_null(tmp_path: Path) -> None:
    """Null says nothing; it is no damage."""
    write_jsonl(tmp_path / "a.jsonl", [{"text": None}, {"text": "文"}, {"text": ""}, {"text": " \n"}])
    pairs = [(None, "答"), ("问", None), (None, None), ("问", "答"), ("", "答"), ("问二", 3)]
    write_jsonl(tmp_path / "b.jsonl", [{"question": q, "answer": a} for q, a in pairs])
    write_jsonl(
        tmp_path / "c.jsonl", [{"messages": None}, {"messages": turns("问", None)}, {"messages": turns("问", "三")}]
    )
    found = Cleaned(tmp_path / "*.jsonl", tmp_path / "clean")
    assert set(found.kept) == {"a/a.jsonl/1", "b/b.jsonl/3", "b/b.jsonl/5", "c/c.jsonl/2"}
    assert found.report["dropped"] == {"empty": 8}
    assert [(Path(bad["file"]).name, bad["ordinal"]) for bad in found.bad] == [("c.jsonl", 0)]


def turns(asked: str | None, told: str | None) -> list[Json]:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": told}]


# ---------------------------------------------------------------- encodings


def test_other_encodings_in_a_utf8_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    strange = [line("他行是此中文").decode().encode(e) for e in ("gb18030", "big5", "shift_jis")]
    path.write_bytes(lines(0, 50) + b"".join(strange) + lines(50, 100))
    found = Cleaned(path, tmp_path / "clean")
    assert found.numbers == list(range(100))
    assert [bad["ordinal"] for bad in found.bad] == [50, 51, 52]
    assert {bad["reason"] for bad in found.bad} == {"bytes that are not in the file's encoding"}
    assert found.bad[0]["bytes"].startswith(r'{"text": "\xcb\xfb\xd0\xd0')
    assert found.bad[0]["offset"] == len(lines(0, 50))


def test_a_byte_that_gb18030_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    data = [one.decode().encode("gb18030") for one in lines(0, 100).splitlines(keepends=True)]
    data[40:40] = [b'{"text": "\xff\xff"}\n']
    path.write_bytes(b"".join(data))
    found = Cleaned(path, tmp_path / "clean")
    assert found.numbers == list(range(100))
    assert [(bad["ordinal"], bad["offset"]) for bad in found.bad] == [(40, len(b"".join(data[:40])))]


def test_utf8_lines_in_a_gb18030_file(tmp_path: Path) -> None:
    """As `cat old.jsonl new.jsonl` leaves them."""
    path = tmp_path / "a.jsonl"
    data = lines(0, 100).decode().encode("gb18030")
    strange = [f"这一行是统一码写的{'多' * n}" for n in range(4)]
    path.write_bytes(data + b"".join(line(one) for one in strange))
    found = Cleaned(path, tmp_path / "clean")
    told = set(found.kept.values()) - {one["text"] for one in GOOD}
    assert (len(told), len(found.bad)) == (4, 0)


# ---------------------------------------------------------------- lines without end


@pytest.fixture
def short_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is longer than 64 KB is no record."""
    monkeypatch.setattr(json_files, "LONGEST", 1 << 16)
    monkeypatch.setattr(csv_files, "LONGEST", 1 << 16)
    monkeypatch.setattr(json_files, "_BLOCK", 1 << 14)


@pytest.mark.usefixtures("short_lines")
@pytest.mark.parametrize("piece", [1 << 30, 50_000, 3000])
def test_lines_that_are_no_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    """First, in the middle and last, whole and open, however the file is cut into pieces."""
    monkeypatch.setattr("pipeline.clean.stage.PIECE_BYTES", piece)
    path = tmp_path / "a.jsonl"
    huge = b'{"text": "' + b"a" * 300_000
    data, offsets = b"", []
    for start, bad in (
        (0, huge + b'"}\n'),
        (0, b"x" * 100_000 + b"\n"),
        (50, b"\xe5\xa4\xa9" * 60_000 + b"\n"),
        (100, huge),
    ):
        data += lines(start, start + 50) if data else b""
        offsets.append(len(data))
        data += bad
    path.write_bytes(data)
    found = Cleaned(path, tmp_path / "clean")
    assert found.numbers == list(range(150))
    assert [bad["offset"] for bad in found.bad] == offsets
    assert {bad["reason"] for bad in found.bad} == {"a line of more than 65,536 bytes"}
    assert [bad["bytes"][:12] for bad in found.bad] == ['{"text": "aa', "x" * 12, "天" * 12, '{"text": "aa']


@pytest.mark.usefixtures("short_lines")
@pytest.mark.parametrize("more", ["x" * 300_000, "x" * 300_000 + "\\n", "\n", '"'])
def test_a_record_of_a_list_that_is_none(tmp_path: Path, more: str) -> None:
    path = tmp_path / "a.json"
    written = json.dumps(GOOD[:100], ensure_ascii=False)
    inside = written.index("第50篇") + 2
    path.write_text(written[:inside] + more + written[inside:], encoding="utf-8")
    found = Cleaned(path, tmp_path / "clean")
    assert found.numbers == [n for n in range(100) if n != 50]
    (bad,) = found.bad
    assert (bad["ordinal"], bad["reason"][:9]) == (50, "not JSON:")
    assert bad["offset"] == len(written[: written.rindex("{", 0, inside)].encode())
    assert bad["bytes"].startswith('{"text": "第5')


MEMORY = """
import resource, sys
from pathlib import Path
from pipeline.clean.config import CleanConfig, Input
from pipeline.clean.stage import run
if __name__ == "__main__":
    run(CleanConfig(inputs=[Input(sys.argv[1])], workers=1), Path(sys.argv[2]))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_a_line_of_100_megabytes_costs_little_memory(tmp_path: Path) -> None:
    script = tmp_path / "memory.py"
    script.write_text(MEMORY, encoding="utf-8")
    good = lines(0, 200)
    (tmp_path / "few.jsonl").write_bytes(good)
    with (tmp_path / "huge.jsonl").open("wb") as file:
        file.write(good[: len(good) // 2].rpartition(b"\n")[0] + b'\n{"text": "')
        for _ in range(100):
            file.write(b"a" * 1_000_000)
        file.write(b'"}\n' + good[len(good[: len(good) // 2].rpartition(b"\n")[0]) + 1 :])
    megabytes = {}
    for name in ("few", "huge"):
        words = [sys.executable, str(script), str(tmp_path / f"{name}.jsonl"), str(tmp_path / name)]
        env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1", "LC_ALL": "C.UTF-8"}
        done = subprocess.run(words, env=env, capture_output=True, text=True, check=True)
        megabytes[name] = int(done.stdout.split()[-1])
        assert read_json(tmp_path / name / "report.json")["kept"] == 200
    (bad,) = (tmp_path / "huge" / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(bad)["reason"] == "a line of more than 33,554,432 bytes"
    print(megabytes)
    assert megabytes["huge"] - megabytes["few"] < 100


# ---------------------------------------------------------------- files


def test_a_packed_file_that_is_cut_short(tmp_path: Path) -> None:
    dice = random.Random(0)
    rows = [{"text": "".join(chr(0x4E00 + dice.randrange(5000)) for _ in range(60))} for _ in range(3000)]
    write_jsonl(tmp_path / "whole.jsonl", rows)
    packed = gzip.compress((tmp_path / "whole.jsonl").read_bytes())
    (tmp_path / "a.jsonl.gz").write_bytes(packed[: len(packed) * 3 // 4])
    write_jsonl(tmp_path / "b.jsonl", GOOD)
    config = {"inputs": [Input(str(tmp_path / "a.jsonl.gz")), Input(str(tmp_path / "b.jsonl"))], "simplify": False}
    found = Cleaned(tmp_path, tmp_path / "clean", **config)
    of_a = {name: text for name, text in found.kept.items() if name.startswith("a/")}
    assert 1500 < len(of_a) < 3000
    assert of_a == {f"a/a.jsonl.gz/{n}": row["text"] for n, row in enumerate(rows[: len(of_a)])}
    assert len(found.kept) - len(of_a) == len(GOOD)
    (bad,) = found.bad
    assert (bad["file"], bad["ordinal"], bad["offset"]) == ((tmp_path / "a.jsonl.gz").as_posix(), len(of_a), None)
    assert bad["reason"].startswith("the file is cut short or damaged behind the record at ")


def table(path: Path, rows: list[Json], group: int = 10) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink, row_group_size=group)
    path.write_bytes(sink.getvalue())
    return sink.getvalue()


def test_files_that_are_none_beside_good_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    write_jsonl(folder / "good.jsonl", GOOD[:50])
    whole = table(folder / "good.parquet", GOOD[50:100])
    (folder / "cut.parquet").write_bytes(whole[:-100])
    (folder / "magic.parquet").write_bytes(b"PAR1" + bytes(range(256)) * 20)
    (folder / "no.parquet").touch()
    (folder / "empty.jsonl").touch()
    (folder / "blank.csv").write_bytes(b"\xef\xbb\xbf\r\n \r\n")
    (folder / "rows.parquet").write_bytes(b"")
    table(folder / "rows.parquet", GOOD[:1])
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), folder / "rows.parquet")
    dice = random.Random(1)
    (folder / "garbage.jsonl").write_bytes(dice.randbytes(5000))
    (folder / "words.jsonl").write_bytes(b"no JSON at all, and no other format\n" * 20)
    (folder / "packed.jsonl.gz").write_bytes(b"\x1f\x8b\x08\x00" + dice.randbytes(300))
    (folder / "archive.zip").write_bytes(b"PK\x03\x04" + dice.randbytes(300))
    (folder / "folder.jsonl").mkdir()
    write_jsonl(folder / "folder.jsonl" / "inner.jsonl", GOOD[100:120])
    (folder / "gone.jsonl").symlink_to(folder / "nowhere.jsonl")
    found = Cleaned(folder, tmp_path / "clean")
    assert found.numbers == list(range(120))
    unreadable = {"cut.parquet", "magic.parquet", "garbage.jsonl", "words.jsonl", "packed.jsonl.gz", "archive.zip"}
    assert {Path(bad["file"]).name for bad in found.bad} == unreadable
    assert len(found.bad) == len(unreadable)
    assert {Path(name).name for name in found.report["empty_files"]} == {
        "no.parquet",
        "empty.jsonl",
        "blank.csv",
        "rows.parquet",
    }
    said = capsys.readouterr().err
    assert all(f"{name}: empty file" in said for name in ("no.parquet", "empty.jsonl", "blank.csv", "rows.parquet"))


def test_a_folder_named_like_a_file_is_no_match(tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").mkdir()
    write_jsonl(tmp_path / "b.jsonl" / "x.jsonl", GOOD[:3])
    write_jsonl(tmp_path / "a.jsonl", GOOD[3:6])
    write_jsonl(tmp_path / "c.jsonl", GOOD[6:9])
    found = Cleaned(tmp_path / "*.jsonl", tmp_path / "clean")
    assert found.numbers == list(range(3, 9))
    assert found.bad == []
    assert Cleaned(tmp_path / "b.jsonl", tmp_path / "named").numbers == [0, 1, 2]  # who names it means what is in it


def test_a_row_group_that_is_damaged(tmp_path: Path) -> None:
    data = bytearray(table(tmp_path / "a.parquet", GOOD))
    column = pq.ParquetFile(tmp_path / "a.parquet").metadata.row_group(7).column(0)
    at = min(column.data_page_offset, column.dictionary_page_offset or column.data_page_offset)
    data[at : at + 30] = b"\xff" * 30
    (tmp_path / "a.parquet").write_bytes(data)
    found = Cleaned(tmp_path / "a.parquet", tmp_path / "clean")
    assert found.numbers == [n for n in range(200) if n // 10 != 7]
    assert [bad["ordinal"] for bad in found.bad] == list(range(70, 80))
    assert all(bad["reason"].startswith("damaged parquet: ") for bad in found.bad)


# ---------------------------------------------------------------- too much of it


def test_too_much_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(0, 80) + b'{"text": "\n' * 20)
    for ratio in (0.0, 0.19):
        with pytest.raises(UserError) as told:
            Cleaned(tmp_path / "a.jsonl", tmp_path / "clean", max_bad_ratio=ratio)
        assert "\n" not in str(told.value)
        assert "20 of 100 records cannot be read" in str(told.value)
        assert f"{tmp_path.as_posix()}/a.jsonl, record 80: not JSON" in str(told.value)
        assert "mend the file, or raise clean.max_bad_ratio" in str(told.value)
        assert not (tmp_path / "clean").exists()
    found = Cleaned(tmp_path / "a.jsonl", tmp_path / "clean", max_bad_ratio=0.2)
    assert found.numbers == list(range(80))


def test_too_much_ends_the_command_with_2(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(0, 5) + b"{\n" * 5)
    (tmp_path / "r.yaml").write_text("clean:\n  inputs: a.jsonl\n", encoding="utf-8")
    done = command("r.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    (said,) = done.stderr.splitlines()
    assert said.startswith(
        "error: clean: 5 of 10 records cannot be read (clean.max_bad_ratio = 0.1); the first: a.jsonl"
    )


def test_nothing_can_be_read_at_all(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"{\n" * 5)
    for near in ("off", 0.8):
        with pytest.raises(UserError, match=r"empty corpus: nothing was kept of 5 records"):
            Cleaned(
                tmp_path / "a.jsonl",
                tmp_path / "clean",
                near=near,
                max_bad_ratio=1.0,
                inputs=[Input(str(tmp_path / "a.jsonl"), reader="text")],
            )


# ---------------------------------------------------------------- however it was run


def test_the_quarantine_does_not_depend_on_workers_or_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    dice = random.Random(2)
    for name in "dacb":
        data = b""
        for number in range(150):
            data += line(f"{name}的第{number}篇" + "文" * dice.randrange(60))
            if dice.random() < 0.2:
                data += dice.choice([b"{\n", b"\xff\xfe{\n", b"null\n", b'{"text": 1}\n', "{坏\r\n".encode()])
        (folder / f"{name}.jsonl").write_bytes(data)
    whole = table(folder / "z.parquet", GOOD)
    (folder / "y.parquet").write_bytes(whole[:-30])
    (folder / "x.jsonl.gz").write_bytes(gzip.compress(dice.randbytes(9000).hex().encode())[:4000])
    monkeypatch.setattr("pipeline.clean.engines.WORTH_A_POOL", 0)
    made = []
    for workers, piece in ((1, 1 << 30), (2, 1 << 30), (1, 4000), (2, 4000)):
        monkeypatch.setattr("pipeline.clean.stage.PIECE_BYTES", piece)
        found = Cleaned(folder, tmp_path / f"{workers}-{piece}", workers=workers)
        pieces = len(list((tmp_path / f"{workers}-{piece}" / "features").glob("*.json")))
        assert (pieces > 12) == (piece == 4000)
        made.append((tmp_path / f"{workers}-{piece}" / "quarantine.jsonl").read_bytes())
        assert len(found.bad) > 80
    assert made[0] == made[1]
    assert made[2] == made[3]
    apart = [[json.loads(one) for one in each.splitlines()] for each in (made[0], made[2])]
    assert [without_ordinal(bad) for bad in apart[0]] == [without_ordinal(bad) for bad in apart[1]]


def without_ordinal(bad: Json) -> Json:
    return {name: value for name, value in bad.items() if name != "ordinal"}
