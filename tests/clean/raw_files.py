"""Raw files as tests write them, and what a reader makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.clean.config import CleanConfig
from pipeline.clean.protocol import Found, Item, Sample, Unreadable
from pipeline.clean.readers import choose, readers

ENCODINGS = ["utf-8", "utf-8-sig", "gb18030", "utf-16", "utf-32"]


def read(path: Path, reader: str = "auto", **config: Any) -> list[Item]:
    sample = Sample(path)
    return list(readers()[choose(sample, reader)].read(sample, CleanConfig(**config)))


def pairs(items: list[Item]) -> list[tuple[str, ...]]:
    return [tuple(m["content"] for m in item.messages or []) for item in items if isinstance(item, Found)]


def bad(items: list[Item]) -> list[Unreadable]:
    return [item for item in items if isinstance(item, Unreadable)]


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def dump(path: Path, values: list[Any], as_list: bool) -> Path:
    lines = [json.dumps(value, ensure_ascii=False) for value in values]
    return write(path, "[\n" + ",\n".join(lines) + "\n]\n" if as_list else "\n".join(lines) + "\n")
