"""Real text to test and measure with: beside the project and no part of it, in ../shared/data or where YAYA_DATA says.

    classics_bitext.parquet                 NiuTrans/Classical-Modern
    medical_neike_sample_gb18030.csv        Toyhom/Chinese-medical-dialogue-data
    chatlm_qa_3k, chatlm_qa_valid_1k        .parquet, of charent/ChatLM-mini-Chinese
    tang_traditional.jsonl                  chinese-poetry/chinese-poetry
    xiehouyu.json                           pwxcoo/chinese-xinhua
    alpaca_*, dpo_*, glaive_*, c4_*, wiki_* the demo files of hiyouga/LLaMA-Factory
    cmmlu/{dev,test}/*.csv                  haonan-li/CMMLU

A test that needs a file that is not there is skipped, and says which.
"""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow.parquet as pq

DATA = Path(os.environ.get("YAYA_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")


def chapters(data: Path) -> dict[tuple[str, str], str]:
    """The classics in modern words, a document a book and chapter, its lines in order."""
    columns = pq.read_table(data / "classics_bitext.parquet", columns=["book", "chapter", "line", "modern"])
    rows = sorted(zip(*(column.to_pylist() for column in columns.columns), strict=True), key=lambda row: row[2])
    found: dict[tuple[str, str], list[str]] = {}
    for book, chapter, _, modern in rows:
        found.setdefault((book, chapter), []).append(modern or "")
    return {name: "".join(lines) for name, lines in found.items()}
