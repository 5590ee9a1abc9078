"""Real texts to test with, (`bench/real_text.py`); without them a test is skipped and says which it misses."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from bench.real_text import DATA


def real(name: str) -> Path:
    """A file of real text."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return path


def chatlm(name: str = "chatlm_qa_3k") -> list[str]:
    """Questions and answers that a peer cleaned, and broke in places."""
    table = pq.read_table(real(f"{name}.parquet"))
    return [*table["prompt"].to_pylist(), *table["response"].to_pylist()]


def tang() -> list[str]:
    """Poems in traditional characters."""
    lines = real("tang_traditional.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


def english() -> list[str]:
    """English pages and dialogues."""
    pages = [json.loads(line)["text"] for line in real("c4_demo.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = json.loads(real("alpaca_en_demo.json").read_text(encoding="utf-8"))
    return pages + [row[part] for row in rows for part in ("instruction", "input", "output")]


def classics(count: int) -> list[str]:
    """Modern Chinese prose in documents of some 500 characters."""
    table = pq.read_table(real("classics_bitext.parquet"), columns=["modern"])
    documents, held = [], ""
    for line in table["modern"].to_pylist():
        held += line
        if len(held) > 500:
            documents.append(held)
            held = ""
        if len(documents) == count:
            break
    return documents
