"""The README's commands, run as they stand in a copy of the tree; and what `make demo` must have reached."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import metrics
from tests.readmes import READMES, blocks, left_out

ROOT = Path(__file__).resolve().parents[1]


def environment(home: Path) -> dict[str, str]:
    """This interpreter's commands first, as after `source .venv/bin/activate`."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    kept = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    return kept | {"PATH": path, "LC_ALL": "C.UTF-8", "PYTHON": sys.executable, "HF_HOME": str(home / "hf")}


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree with this interpreter as its .venv, and the CSV that the README speaks of."""
    copy = tmp_path_factory.mktemp("readme") / "yaya"
    skipped = shutil.ignore_patterns(".git", ".venv", "runs", "__pycache__", ".pytest_cache", "wandb")
    shutil.copytree(ROOT, copy, ignore=skipped)
    (copy / ".venv").symlink_to(Path(sys.prefix))
    for ready in (".ready", ".ready-dev"):  # whatever installed this interpreter's packages did make's work
        (copy / ".venv" / ready).touch()
    with (copy / "my.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["question", "answer"])
        rows.writerows([f"{i}号房间住着谁？", f"{i}号房间住着小{'红兰青紫白'[i % 5]}。"] for i in range(20))
    return copy


@pytest.fixture(scope="session")
def demo(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The workspace of `make demo`, and what it printed."""
    done = subprocess.run(
        ["make", "demo"], cwd=tree, env=environment(tree), capture_output=True, text=True, timeout=1200
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return tree / "runs" / "demo", done.stdout


def test_the_demo_knows_by_heart_what_it_was_taught(demo: tuple[Path, str]) -> None:
    workspace, said = demo
    report = json.loads((workspace / "evaluate" / "report.json").read_text(encoding="utf-8"))
    assert report["recall"]["asked"] >= 400
    assert report["recall"]["share"] >= 0.99
    assert sum(exam["asked"] for exam in report["exams"]) >= 100
    assert sum(exam["exact"] for exam in report["exams"]) >= 5, "some answers come to other words, too"
    assert f"python cli_demo.py --model {Path('runs/demo/finetune/model')}" in said


@pytest.mark.parametrize("verb", ["pretrain", "finetune"])
def test_the_demo_does_not_wait_for_data(demo: tuple[Path, str], verb: str) -> None:
    steps = metrics(demo[0], verb)
    waited = sum(step["wait"] * step["seconds"] for step in steps)
    assert 0 < waited < 0.01 * sum(step["seconds"] for step in steps)


def test_a_process_with_only_transformers_loads_the_model(demo: tuple[Path, str], tmp_path: Path) -> None:
    moved = shutil.copytree(demo[0] / "finetune" / "model", tmp_path / "elsewhere")
    code = next(content for language, _, content in blocks("README.md") if language == "python")
    code = code.replace("runs/demo/finetune/model", str(moved))
    env = environment(tmp_path) | {"PYTHONPATH": "", "PYTHONSAFEPATH": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert re.search(r"[\u4e00-\u9fff]{4}", done.stdout)
    rows = csv.DictReader((ROOT / "data" / "sample" / "daily.csv").open(encoding="utf-8-sig"))
    taught = {row["question"]: row["answer"] for row in rows}
    assert done.stdout.strip() == taught["你好！"]


def commands(readme: str) -> list[str]:
    """What a reader would type, without comments."""
    content = "\n".join(content for language, reason, content in blocks(readme) if language == "sh" and not reason)
    return [bare for line in content.splitlines() if (bare := re.sub(r"(^|\s)#.*", "", line).strip())]


def test_every_command_of_the_readme_runs(demo: tuple[Path, str], tree: Path) -> None:
    assert len(commands("README.md")) >= 10
    for command in commands("README.md"):
        done = subprocess.run(
            ["bash", "-c", command], cwd=tree, env=environment(tree), capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-1500:]}{done.stderr[-1500:]}"


def test_twenty_dialogues_of_ones_own_are_learned(tree: Path) -> None:
    """The README's command for them; done already if the test before ran it."""
    words = [sys.executable, "-m", "pipeline", "configs/demo.yaml", "clean.inputs=my.csv", "workspace=runs/mine"]
    done = subprocess.run(words, cwd=tree, env=environment(tree), capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-1500:]
    report = json.loads((tree / "runs" / "mine" / "evaluate" / "report.json").read_text(encoding="utf-8"))
    assert report["recall"]["share"] >= 0.99
    assert "paraphrases_daily: asks about what this model was not taught" in done.stdout


def test_the_chinese_readme_shows_the_same_commands() -> None:
    assert commands("README.zh-CN.md") == commands("README.md")


def test_blocks_that_are_not_run_have_a_reason_in_both_languages() -> None:
    """`tests/conftest.py` lists them at the end of every test run, so that nobody overlooks them."""
    both = [[(language, bool(reason)) for language, reason, _ in blocks(readme)] for readme in READMES]
    assert both[0] == both[1]
    assert [block for block in both[0] if block[1]] == [("sh", True)] * len(left_out("README.md"))
