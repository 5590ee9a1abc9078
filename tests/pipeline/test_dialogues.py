""" "I have 500 dialogues": a CSV as people have them, through the whole chain with the real commands."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import pytest

from tests.commands import metrics, run

HEADERS = [("question", "answer"), ("input_text", "target_text"), ("问题", "回答")]
SMALL = [
    "tokenizer.vocab_size=3000", "model.hidden_size=64", "model.intermediate_size=128", "model.num_hidden_layers=2",
    "pretrain.max_steps=4", "finetune.max_steps=6", "evaluate.recall=4", "evaluate.exams=[]",
]  # fmt: skip


def write_csv(path: Path, header: tuple[str, str], encoding: str, count: int) -> None:
    """Dialogues a person might keep in a spreadsheet: a newline within quotes, a comma, no two alike."""
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(header)
    for i in range(count):
        rows.writerow([f"第{i}个问题，怎么说？", f"这是第{i}个回答,\n分成两行。"])
    path.write_bytes(text.getvalue().encode(encoding))


@pytest.mark.parametrize(
    ("header", "encoding", "count"),
    [
        pytest.param(HEADERS[0], "utf-8", 20, marks=pytest.mark.slow),  # so many as the README's, which are tested
        pytest.param(HEADERS[1], "utf-8-sig", 20, marks=pytest.mark.slow),  # the demo's own table has a BOM
        pytest.param(HEADERS[2], "gb18030", 5000, marks=pytest.mark.slow),
    ],
)
def test_a_csv_becomes_a_model(tmp_path: Path, header: tuple[str, str], encoding: str, count: int) -> None:
    source, workspace = tmp_path / "my.csv", tmp_path / "mine"
    write_csv(source, header, encoding, count)
    words = [sys.executable, "-m", "pipeline", "configs/demo.yaml", f"clean.inputs={source}", f"workspace={workspace}"]
    said = run([*words, *SMALL])
    report = json.loads((workspace / "clean" / "report.json").read_text(encoding="utf-8"))
    assert (report["read"], report["kept"]) == (count, count)
    assert "vocabulary" in said  # too large for so little text, and it says so
    assert "no text" in said  # pretrain reads the chat, and it says so
    assert len(metrics(workspace, "pretrain")) == 4
    assert len(metrics(workspace, "finetune")) == 6
    assert (workspace / "evaluate" / "report.html").is_file()
    said = run(
        [sys.executable, "cli_demo.py", "--model", workspace / "finetune" / "model", "--once", "第3个问题，怎么说？"]
    )
    assert said.strip()
