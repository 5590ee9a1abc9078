"""Raw files as tests write them, and what a reader makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.clean.protocol import Found, Item, Located, Sample, Unreadable
from pipeline.clean.readers import items, reader_of, readers

ENCODINGS = ["utf-8", "utf-8-sig", "gb18030", "utf-16", "utf-32"]


def located(path: Path | str, reader: str = "auto", start: int = 0, end: int | None = None) -> list[Located]:
    sample = Sample(str(path), start, end)
    return list(items(sample, reader_of(sample, reader)))


def read(path: Path | str, reader: str = "auto") -> list[Item]:
    return [item for _, item in located(path, reader)]


def chosen(path: Path | str) -> str:
    return reader_of(Sample(str(path)), "auto")


def item_of(reader: str, row: Any) -> Any:
    """What a reader of rows makes of one."""
    return readers()[reader].item(row)  # type: ignore[attr-defined]


def pairs(items: list[Item]) -> list[tuple[str, ...]]:
    return [tuple(m["content"] for m in item.messages or []) for item in items if isinstance(item, Found)]


def texts(items: list[Item]) -> list[str]:
    return [item.text or "" for item in items if isinstance(item, Found)]


def bad(items: list[Item]) -> list[Unreadable]:
    return [item for item in items if isinstance(item, Unreadable)]


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def dump(path: Path, values: list[Any], as_list: bool) -> Path:
    lines = [json.dumps(value, ensure_ascii=False) for value in values]
    return write(path, "[\n" + ",\n".join(lines) + "\n]\n" if as_list else "\n".join(lines) + "\n")
