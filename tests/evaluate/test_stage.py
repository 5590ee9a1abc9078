"""The stage as a whole, on a model that knows four replies by heart."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.evaluate.config import EvaluateConfig
from pipeline.evaluate.report import duration
from pipeline.evaluate.stage import run, run_workspace, show
from tests.conftest import TAUGHT, tokenizer_of_another_size
from tests.evaluate.test_questions import chat, pair, turn
from utils.console import UserError
from utils.records import write_records
from utils.stage import read_json, write_json, write_manifest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def workspace(taught_model: Path, tmp_path: Path) -> Path:
    """What the earlier stages leave: records, a model, and what they wrote down."""
    folder = tmp_path / "run"
    rows = [pair(i, question, answer) for i, (question, answer) in enumerate(TAUGHT.items())]
    rows += [pair(9, "没学会", "另一句话"), chat(10, turn("user", "再见"))]
    write_records(folder / "clean" / "train" / "daily-00000.parquet", rows)
    write_records(folder / "clean" / "train" / "other-00000.parquet", [pair(0, "水？", TAUGHT["水？"], "other")])
    sources = {"daily": {"read": 7, "kept": 6}, "other": {"read": 1, "kept": 1}}
    report = {"read": 8, "kept": 7, "quarantined": 0, "dropped": {"empty": 1}, "sources": sources}
    write_json(folder / "clean" / "report.json", report)
    write_manifest(folder / "clean", "clean", {}, {}, {}, ("pyarrow",))
    packed = {"train": {"daily": {"documents": 7, "tokens": 300, "trained": 99, "bytes": 900}}}
    write_json(folder / "pack" / "report.json", {"pretrain": {}, "finetune": packed, "left_out": {}})
    shutil.copytree(taught_model, folder / "finetune" / "model")
    steps = [{"step": i, "loss": 5 / i, "tokens": 100 * i, "seconds": 0.5} for i in range(1, 60)]
    lines = [*steps, {"step": 30, "bpb": {"all": 2.5, "<b>": 2.5}}, {"step": 59, "bpb": {"all": 1.25, "<b>": 1.0}}]
    text = "".join(json.dumps(line) + "\n" for line in lines) + '{"step": 60, "lo'
    (folder / "finetune" / "metrics.jsonl").write_text(text)
    return folder


@pytest.fixture
def exam(tmp_path: Path) -> Path:
    path = tmp_path / "paraphrases.csv"
    rows = [
        "question,answer,original",
        f"你好！,{TAUGHT['你好！']},你好！",
        "水？,水在一百度沸腾。,水？",
        "水？,别的,没教过",
    ]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def config(exam: Path, **more: object) -> EvaluateConfig:
    fields = {"exams": [str(exam)], "ask": ["Who are you?", "<i>没教过</i>"], "max_new_tokens": 40}
    return EvaluateConfig(**(fields | more))  # type: ignore[arg-type]


def test_what_was_learned_is_scored_and_told(workspace: Path, exam: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_workspace(config(exam), workspace)
    report = read_json(workspace / "evaluate" / "report.json")
    recall = report["recall"]
    assert (recall["exact"], recall["asked"], recall["trained"], recall["ambiguous"]) == (5, 6, 6, 0)
    assert {name: (p["exact"], p["asked"]) for name, p in recall["sources"].items()} == {
        "daily": (4, 5),
        "other": (1, 1),
    }
    paraphrases = report["exams"][0]
    assert (paraphrases["exact"], paraphrases["asked"], paraphrases["originals_taught"]) == (1, 3, 2)
    assert 1 / 3 < paraphrases["similarity"] < 1
    assert [answer["taught"] for answer in report["answers"]] == [True, False]
    assert report["answers"][0]["answer"] == TAUGHT["Who are you?"]
    replies = [json.loads(line) for line in (workspace / "evaluate" / "replies.jsonl").read_text().splitlines()]
    assert len(replies) == 9
    assert sum(reply["exact"] for reply in replies) == 6

    printed = capsys.readouterr().out
    assert "5 of 6 exact, 83.3 %" in printed
    assert TAUGHT["Who are you?"] in printed
    assert f"python cli_demo.py --model {workspace / 'finetune' / 'model'}" in printed
    assert not run_workspace(config(exam), workspace)
    show(workspace / "evaluate")
    assert capsys.readouterr().out == printed


def test_the_page_shows_its_whole_life(workspace: Path, exam: Path) -> None:
    run_workspace(config(exam), workspace)
    page = (workspace / "evaluate" / "report.html").read_text(encoding="utf-8")
    for words in (
        "83.3 %",
        "What it read",
        "How it learned",
        "1.250",
        TAUGHT["Who are you?"],
        "另一句话",
        "finetune: loss",
    ):
        assert words in page, words
    assert "&lt;i&gt;没教过" in page
    assert "<i>没教过" not in page
    assert "&lt;b&gt;" in page
    assert "<b>:" not in page


def test_a_model_from_elsewhere_has_a_shorter_page(workspace: Path, exam: Path, tmp_path: Path) -> None:
    run(config(exam), workspace / "finetune" / "model", workspace / "clean", tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "83.3 %" in page
    assert "How it learned" not in page
    assert "What it read" not in page


def test_it_is_made_again_when_the_model_or_an_exam_changes(workspace: Path, exam: Path) -> None:
    assert run_workspace(config(exam), workspace)
    exam.write_text("question,answer\n你好！,x\n", encoding="utf-8")
    assert run_workspace(config(exam), workspace)
    assert not run_workspace(config(exam), workspace)
    assert run_workspace(config(exam, recall=2), workspace)
    assert read_json(workspace / "evaluate" / "report.json")["recall"]["asked"] == 2


def test_a_base_model_goes_on_with_text_and_takes_no_exam(workspace: Path, exam: Path, capsys) -> None:
    os.rename(workspace / "finetune", workspace / "pretrain")
    write_json(workspace / "pretrain" / "model" / "training.json", {"verb": "pretrain"})
    run_workspace(config(exam), workspace)
    report = read_json(workspace / "evaluate" / "report.json")
    assert report["base"]
    assert report["recall"] is None
    assert report["exams"] == []
    assert len(report["answers"]) == 2
    assert f"{workspace / 'pretrain' / 'model'}" in capsys.readouterr().out


def test_a_question_longer_than_the_model_reads_counts_as_wrong(workspace: Path, exam: Path) -> None:
    exam.write_text(f"question,answer\n{'今天' * 500},x\n你好！,{TAUGHT['你好！']}\n", encoding="utf-8")
    run_workspace(config(exam), workspace)
    paraphrases = read_json(workspace / "evaluate" / "report.json")["exams"][0]
    assert (paraphrases["exact"], paraphrases["asked"]) == (1, 2)


def test_mistakes_are_named(workspace: Path, exam: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no trained model"):
        run_workspace(config(exam), tmp_path / "empty")
    with pytest.raises(UserError, match=r"nowhere\.csv not found"):
        run_workspace(config(exam, exams=["nowhere.csv"]), workspace)
    assert not (workspace / "evaluate").exists()


def test_the_command_speaks_the_locale(workspace: Path, exam: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"workspace: {workspace}\nevaluate: {{exams: ['{exam}'], ask: ['你好！'], max_new_tokens: 40}}\n")
    environment = os.environ | {"LC_ALL": "zh_CN.UTF-8", "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}
    command = [sys.executable, "-m", "pipeline.evaluate", str(recipe)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "评测：学过的问题：6 题一字不差 5 题" in done.stdout
    assert "问：你好！（教过）" in done.stdout
    assert "和它聊天：python cli_demo.py --model" in done.stdout


def test_times_read_well() -> None:
    assert [duration(s) for s in (3.2, 59.4, 61, 3601, 90000)] == [
        "3 s",
        "59 s",
        "1 min 01 s",
        "1 h 00 min",
        "25 h 00 min",
    ]


@pytest.mark.parametrize(
    ("fields", "word"),
    [({"recall": -1}, "recall = -1"), ({"max_new_tokens": 0}, "max_new_tokens = 0"), ({"ask": ["a", " "]}, "ask[1]")],
)
def test_settings_out_of_bounds_are_named(fields: dict[str, object], word: str) -> None:
    with pytest.raises(ValueError) as told:
        EvaluateConfig(**fields)  # type: ignore[arg-type]
    assert word in str(told.value)


def test_a_half_finetuned_workspace_is_not_graded_by_its_pretrained_model(workspace: Path, exam: Path) -> None:
    shutil.copytree(workspace / "finetune" / "model", workspace / "pretrain" / "model")
    (workspace / "finetune" / "checkpoints" / "step-1").mkdir(parents=True)
    (workspace / "finetune" / "model" / "spm.model").unlink()
    with pytest.raises(UserError, match=r"finetune.model: no tokenizer"):
        run_workspace(config(exam), workspace)
    shutil.rmtree(workspace / "finetune" / "model")
    with pytest.raises(UserError, match="finetune was begun"):
        run_workspace(config(exam), workspace)


def test_a_tokenizer_of_another_model_is_named(workspace: Path, exam: Path) -> None:
    other = tokenizer_of_another_size(workspace / "finetune" / "model" / "spm.model")
    (workspace / "finetune" / "model" / "spm.model").write_bytes(other)
    with pytest.raises(UserError, match=r"spm\.model: .* pieces, and the model has"):
        run_workspace(config(exam), workspace)
