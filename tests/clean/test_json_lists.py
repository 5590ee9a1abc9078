"""Damage in a JSON list costs the record it is in, and never the rest of the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.clean.protocol import Found
from tests.clean.raw_files import bad, read, texts, write

TALK = [
    {"conversations": [{"from": "human", "value": f"第{n}问"}, {"from": "gpt", "value": f"第{n}答"}], "tools": ""}
    for n in range(300)
]


def asked(path: Path) -> list[str]:
    return [item.messages[0]["content"] for item in read(path) if isinstance(item, Found) and item.messages]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("harm", ['"value": "第150问', '"第150答"', "第150"])
def test_a_dialogue_that_is_damaged_loses_itself_alone(tmp_path: Path, indent: int | None, harm: str) -> None:
    text = json.dumps(TALK, ensure_ascii=False, indent=indent)
    at = text.index(harm) + len(harm) // 2
    for broken in (text[:at] + '"' + text[at:], text[:at] + "\x01" + text[at:], text[:at] + "\\" + text[at:]):
        path = write(tmp_path / "a.json", broken)
        assert asked(path) == [f"第{n}问" for n in range(300) if n != 150]
        assert len(bad(read(path))) == 1


def test_lists_one_behind_the_other(tmp_path: Path) -> None:
    lists = [[{"text": f"{part}-{n}"} for n in range(size)] for part, size in enumerate((10, 990))]
    path = write(tmp_path / "cat.json", "\n".join(json.dumps(one) for one in lists))
    assert texts(read(path)) == [row["text"] for one in lists for row in one]
    path = write(tmp_path / "lines.json", "".join(json.dumps([row]) + "\n" for row in lists[1]))
    assert len(texts(read(path))) == 990


@pytest.mark.parametrize("stray", ["],", "]", "}, ", "] x", "},\n]"])
def test_a_bracket_too_much_is_no_end(tmp_path: Path, stray: str) -> None:
    rows: list[Any] = [json.dumps({"text": str(n)}) for n in range(100)]
    path = write(tmp_path / "a.json", "[" + ",\n".join(rows[:50]) + stray + ",\n" + ",\n".join(rows[50:]) + "]")
    items = read(path)
    assert texts(items) == [str(n) for n in range(100)]
    assert len(bad(items)) == 1


def test_what_stands_behind_a_list_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", '[{"text": "一"}]\n\n; the end')
    items = read(path)
    assert texts(items) == ["一"]
    assert [one.reason for one in bad(items)] == ["something stands behind the end of the list"]


def test_a_list_that_is_cut_short_says_so(tmp_path: Path) -> None:
    whole = json.dumps([{"text": str(n)} for n in range(100)])
    items = read(write(tmp_path / "a.json", whole[: len(whole) // 2]))
    assert 40 < len(texts(items)) < 60
    assert bad(items)[-1].ends


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "utf-16"])
def test_a_long_list_on_one_line(tmp_path: Path, encoding: str) -> None:
    rows = [{"text": f"第{n}篇，说的是天气与健康" * 9} for n in range(3000)]
    path = write(tmp_path / "a.json", json.dumps(rows, ensure_ascii=False), encoding)
    items = read(path)
    assert texts(items) == [row["text"] for row in rows]
    assert bad(items) == []
