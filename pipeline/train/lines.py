"""Files that grow by a line a step, as JSON: read, and cut back to what a checkpoint holds.

Lines stand in the order in which they were written, and so of their steps; a last line that a kill cut short is none.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import orjson

from utils.stage import Json

BLOCK = 1 << 16
"""Bytes that are looked at together, from a file's end."""


def read(path: Path) -> Iterator[Json]:
    """A file's lines, one at a time."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        for text in file:
            if (line := _parsed(text)) is not None:
                yield line


def append(path: Path, text: str) -> None:
    """More lines, all or none of them: half a line would spoil the next."""
    with path.open("ab", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        data = text.encode("utf-8")
        try:
            while data:
                data = data[file.write(data) :]
        except OSError:
            file.truncate(end)
            raise


def forget_beyond(path: Path, step: int) -> None:
    """Remove the lines of later steps. Only these are read: how long the file is costs nothing."""
    if not path.is_file():
        return
    end = path.stat().st_size
    for start, text in _backwards(path):
        if text.endswith(b"\n") and (at := place(_parsed(text) or {})) is not None and at <= step:
            break
        end = start
    os.truncate(path, end)


def place(line: Json) -> int | None:
    """The step that a line belongs to; of a roll-back the one that the run went back to. None: it is none of ours."""
    step = line["to"] if "to" in line else line.get("step")
    return step if isinstance(step, int) and isinstance(line.get("step"), int) else None


def _parsed(text: bytes) -> Json | None:
    try:
        line = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return line if isinstance(line, dict) and place(line) is not None else None


def _backwards(path: Path) -> Iterator[tuple[int, bytes]]:
    """Where each line begins and what it holds, the last one first."""
    with path.open("rb") as file:
        at = file.seek(0, os.SEEK_END)
        held = b""
        while at:
            size = min(BLOCK, at)
            at = file.seek(at - size)
            held = file.read(size) + held
            first, *others = held.splitlines(keepends=True)
            behind = at + len(held)
            for text in reversed(others):
                behind -= len(text)
                yield behind, text
            held = first
        if held:
            yield 0, held
