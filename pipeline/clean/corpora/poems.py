"""Poems: author, title and text, or a list of lines under the name that a collection of chinese-poetry gives it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.clean.columns import optional, rest
from pipeline.clean.protocol import Card, Found, Sample, careful

CARD = Card(
    about="poems: title, author, and text or a list of lines (paragraphs, content, para)",
    homepage="https://github.com/chinese-poetry/chinese-poetry",
    files=("poet.tang.*.json", "poet.song.*.json", "ci.song.*.json"),
    size="55,000 poems of the Tang, 260,000 of the Song, 21,000 ci",
    licence="MIT",
    profile="prose",
)
TITLES = ("title", "rhythmic", "chapter")
BODIES = ("paragraphs", "content", "para", "text")
FEW = frozenset({"author", "title", "text", "id", "dynasty", "tags"})


def sniff(sample: Sample) -> int:
    """By its lists of lines, or by an author and a title and little beside the text."""
    keys = set(sample.keys)
    lists = any(isinstance(row.get(body), list) for row in sample.first for body in BODIES)
    short = {"author", "title", "text"} <= keys <= FEW
    return 2 if not keys.isdisjoint(TITLES) and (lists or short) and "messages" not in keys else 0


@careful
def item(row: Mapping[str, Any]) -> Found:
    """Title, author and lines, one below the other."""
    title = next((name for name in TITLES if row.get(name)), "title")
    bodies = sorted((name for name in BODIES if name in row), key=lambda name: not row[name])
    body = bodies[0] if bodies else None
    if body is None:
        raise ValueError(f"no {' or '.join(BODIES)}")
    lines = row[body] if isinstance(row[body], list) else [optional(row, body)]
    if not all(isinstance(line, str) for line in lines):
        raise ValueError(f"{body} holds what is no text")
    head = [optional(row, title), optional(row, "author")] if any(lines) else []
    return Found(text="\n".join(one for one in (*head, *lines) if one.strip()), meta=rest(row, (title, body, "author")))
