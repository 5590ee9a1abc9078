"""Files of a stream that are empty or damaged: read past, or named at once with what to do about them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.train import patience
from pipeline.train.stream_source import Anchor, Stream
from utils.console import UserError

DOCUMENTS = 600
LINES = "".join(json.dumps({"text": f"第 {i} 段"}) + "\n" for i in range(DOCUMENTS))
ZIPPED = gzip.compress(LINES.encode())

MEND = "mend that file, or leave it out"


def parquet(folder: Path) -> bytes:
    path = folder / "made"
    pq.write_table(pa.table({"text": [f"第 {i} 段" for i in range(DOCUMENTS)]}), path)
    return path.read_bytes()


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


DAMAGED: dict[str, Callable[[Path], bytes]] = {
    "gbk.jsonl": lambda _: LINES.encode() + '{"text": "不是"}\n'.encode("gbk"),
    "half.jsonl": lambda _: LINES.encode()[:5_000] + b'{"text": "half\n',
    "cut.jsonl.gz": lambda _: ZIPPED[: len(ZIPPED) // 2],
    "flipped.jsonl.gz": lambda _: flipped(ZIPPED, len(ZIPPED) // 2),
    "empty.parquet": lambda _: b"",
    "cut.parquet": lambda folder: parquet(folder)[:-100],
    "flipped.parquet": lambda folder: flipped(parquet(folder), 40),
}


@pytest.mark.parametrize("name", DAMAGED)
@pytest.mark.parametrize("first", [True, False])
def test_a_damaged_file_is_named_at_once(
    name: str, first: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(patience, "PAUSES", ())
    good, bad = tmp_path / ("good" + name[name.index(".") :]), tmp_path / name
    good.write_bytes({".jsonl": LINES.encode(), ".gz": ZIPPED}.get(good.suffix) or parquet(tmp_path))
    bad.write_bytes(DAMAGED[name](tmp_path))
    names = [str(path) for path in ((bad, good) if first else (good, bad))]
    with pytest.raises(UserError, match=MEND) as told:
        list(islice(Stream.open(names, "text").documents(Anchor()), 2 * DOCUMENTS))
    assert str(bad) in str(told.value)
    assert str(good) not in str(told.value)
    assert "tries" not in str(told.value)
    assert "\n" not in str(told.value)
    captured = capsys.readouterr()
    assert not captured.out + captured.err, "it is told once"


@pytest.mark.parametrize("nothing", ["", "\n\n"])
def test_an_empty_file_is_read_past(nothing: str, tmp_path: Path) -> None:
    for order in ("ab", "ba"):
        names = [tmp_path / order / f"{letter}.jsonl" for letter in order]
        names[0].parent.mkdir()
        for path in names:
            path.write_text(LINES if path.stem == "a" else nothing, encoding="utf-8")
        documents = islice(Stream.open([str(path) for path in names], "text").documents(Anchor()), DOCUMENTS)
        assert len({document.text for document in documents}) == DOCUMENTS


def test_nothing_but_empty_files_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PAUSES", ())
    path = tmp_path / "empty.jsonl"
    path.write_text("")
    with pytest.raises(UserError, match=r"empty\.jsonl holds no row; give another"):
        Stream.open(str(path), "text")
