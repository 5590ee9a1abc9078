"""SentencePiece and the published tokenizer.json give the same ids on a hundred thousand lines of real text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from bench.real_text import DATA
from pipeline.tokenizer.config import TokenizerConfig
from pipeline.tokenizer.publish import publish
from pipeline.tokenizer.vocabulary import learn
from utils.encoders import FAST, SPM, FastEncoder, SentencePieceEncoder

LINES = 100_000


def real_lines() -> Iterator[str]:
    """Classical and modern Chinese, traditional characters, medical dialogues, tables of sayings, code and English."""
    yield from (json.loads(line)["text"] for line in (DATA / "c4_demo.jsonl").open(encoding="utf-8"))
    yield from (DATA / "wiki_demo.txt").open(encoding="utf-8")
    yield from (DATA / "tang_traditional.jsonl").open(encoding="utf-8")
    yield from (DATA / "medical_neike_sample_gb18030.csv").open(encoding="gb18030", newline="")
    for name in ("xiehouyu", "glaive_toolcall_zh_demo", "alpaca_en_demo", "alpaca_zh_demo"):
        yield from (
            json.dumps(row, ensure_ascii=False) for row in json.loads((DATA / f"{name}.json").read_text("utf-8"))
        )
    for name in ("chatlm_qa_3k.parquet", "classics_bitext.parquet"):
        for batch in pq.ParquetFile(DATA / name).iter_batches(batch_size=4096):
            for column in batch.columns[-2:]:
                yield from (str(value) for value in column.to_pylist())


@pytest.mark.skipif(not DATA.is_dir(), reason=f"needs the real text of {DATA}")
def test_both_files_give_the_same_ids_on_real_text(tmp_path: Path) -> None:
    lines = [line for line in islice(real_lines(), LINES) if "\u2581" not in line]
    assert len(lines) > LINES * 0.999
    publish(learn([line.strip("\n") for line in lines[::20]], TokenizerConfig(vocab_size=8000)).model, tmp_path)
    ours, published = SentencePieceEncoder(tmp_path / SPM), FastEncoder(tmp_path / FAST)
    pieces = ours.piece_bytes
    assert pieces[1:] == published.piece_bytes[1:]  # 0 is the unknown, which neither ever gives
    for start in range(0, LINES, 10_000):
        some = lines[start : start + 10_000]
        for line, a, b in zip(some, ours.encode_all(some), published.encode_all(some), strict=True):
            assert a.tolist() == b.tolist(), line
            assert b"".join(map(pieces.__getitem__, a.tolist())).decode() == line
