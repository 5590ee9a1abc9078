"""Whatever happened to a file: it is read as far as that goes, or told in one line. Nothing is raised but that line."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import random
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.clean.config import Input
from pipeline.clean.inputs import expand
from pipeline.clean.look import look
from pipeline.clean.readers import items, readers
from utils.console import UserError

ROWS = [{"question": f"问{n}", "answer": "答" * n} for n in range(60)]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
TURNS = [
    {"from": "human", "value": "问"},
    {"from": "gpt", "value": "答", "tool_calls": [{"name": "f", "arguments": "{"}]},
]
SPLINTERS = [b"\0", b"\xff\xfe", b'"', b"{", b"}", b"[", b"]", b",", b"\n", b"\r", b"\xef\xbb\xbf", b"\\ud83d", b"null"]
SPLINTERS += [b"1e999", b"NaN", b"-", b"<", b"E\n"]


def _parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), file, row_group_size=20)
    return file.getvalue()


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.jsonl", LINES)
        archive.writestr("b.csv", "question,answer\n问,答\n")
    return file.getvalue()


PAGES = "".join(
    f"<page><title>第{n}条</title><ns>0</ns><revision><text>[[甲]]{{{{乙}}}}丙</text></revision></page>"
    for n in range(40)
)
DOC = '<doc id="1" url="https://zh.wikipedia.org/wiki?curid=1" title="数学">\n数学\n\n数学是科学。\n</doc>\n'
FILES = {
    "a.jsonl": LINES.encode(),
    "gb.jsonl": LINES.encode("gb18030"),
    "u.jsonl": LINES.encode("utf-16"),
    "u.json": json.dumps(ROWS, ensure_ascii=False).encode("utf-32"),
    "a.json": json.dumps(ROWS, ensure_ascii=False).encode(),
    "a.csv": ("question,answer\n" + "".join(f'{r["question"]},"{r["answer"]}\n"\n' for r in ROWS)).encode("gb18030"),
    "turns.jsonl": (json.dumps({"conversations": TURNS}) + "\n").encode() * 20,
    "a.parquet": _parquet(),
    "a.jsonl.gz": gzip.compress(LINES.encode()),
    "a.jsonl.bz2": bz2.compress(LINES.encode()),
    "a.jsonl.zst": bytes(pa.Codec("zstd").compress(LINES.encode(), asbytes=True)),
    "a.zip": _zip(),
    "a.txt": ("一段\n\n" * 50).encode(),
    "a.conv": ("E\nM 你好\nM 好\n" * 30).encode(),
    "wiki_00": (DOC * 20).encode(),
    "a.xml": f"<mediawiki>{PAGES}</mediawiki>".encode(),
}


def damaged(data: bytes, dice: random.Random) -> bytes:
    """A few bytes changed, lost, put in or said again; or the end cut off."""
    harmed = bytearray(data)
    for _ in range(dice.choice([1, 1, 2, 5, 20])):
        at, other = dice.randrange(len(harmed) + 1), dice.randrange(len(harmed) + 1)
        match dice.randrange(5):
            case 0:
                harmed[at : at + 1] = bytes([dice.randrange(256)])
            case 1:
                del harmed[at : at + dice.randrange(1, 60)]
            case 2:
                harmed[at:at] = dice.choice(SPLINTERS)
            case 3:
                harmed[at:at] = harmed[other : other + dice.randrange(1, 80)]
            case 4:
                del harmed[max(at, 8) :]
    return bytes(harmed)


@pytest.mark.parametrize("name", FILES)
def test_damage(tmp_path: Path, name: str) -> None:
    dice = random.Random(name)
    read, told = 0, list[str]()
    for _ in range(60):
        (tmp_path / name).write_bytes(damaged(FILES[name], dice))
        reader = dice.choice(["auto", "auto", dice.choice(list(readers()))])
        try:
            for raw in expand([Input(str(tmp_path / name), reader=reader)]):
                read += len(list(items(raw.sample(), raw.reader))) if raw.reader else 0
            assert all(one.lines() for one in look(str(tmp_path / name)))
        except UserError as error:
            told.append(str(error))
    assert read
    assert all(name in line and "\n" not in line for line in told)
