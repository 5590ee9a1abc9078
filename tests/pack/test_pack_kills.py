"""kill -9 while packing: the same command goes on, keeps what was finished, and makes the same bits."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.pack import stage
from pipeline.pack.config import PackConfig
from pipeline.pack.shard import NOTES
from tests.commands import ROOT, environment
from utils.records import write_records
from utils.stage import BUILDING, read_json, write_manifest


def workspace(folder: Path, tokenizer: Path, shards: int, characters: int) -> Path:
    """Clean records that do not compress, and the tokenizer."""
    chosen = random.Random(0)
    letters = [chr(c) for c in range(0x4E00, 0x9FA0)]
    for i in range(shards):
        said = ["".join(chosen.choices(letters, k=characters // 20)) for _ in range(20)]
        rows = [
            {"id": f"web/a/{20 * i + j}", "source": "web", "kind": "text", "text": text} for j, text in enumerate(said)
        ]
        write_records(folder / f"clean/train/web-{i:05d}.parquet", rows)
    write_manifest(folder / "clean", "clean", {}, {}, {}, ("pyarrow",))
    shutil.copytree(tokenizer, folder / "tokenizer")
    (folder / "r.yaml").write_text("{}\n")
    return folder


def start(folder: Path, workers: int) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "pipeline.pack", str(folder / "r.yaml"), f"workspace={folder}"]
    words.append(f"pack.workers={workers}")
    return subprocess.Popen(words, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, start_new_session=True)


def files(folder: Path) -> dict[str, str]:
    return {name: file["hash"] for name, file in read_json(folder / "pack/manifest.json")["files"].items()}


def whole(folder: Path) -> dict[str, str]:
    """Packed without a kill, in this process; then put away."""
    assert stage.run(PackConfig(workers=1), folder / "clean", folder / "tokenizer", folder / "pack")
    found = files(folder)
    shutil.rmtree(folder / "pack")
    return found


def finished_shards(folder: Path) -> list[Path]:
    """Those whose note is written."""
    building = folder / f"pack{BUILDING}"
    notes = (building / NOTES).rglob("web-*.json")
    return [building / "pretrain" / note.relative_to(building / NOTES).with_suffix(".arrow") for note in notes]


def test_killed_after_its_first_shard(tiny_tokenizer: Path, tmp_path: Path):
    folder = workspace(tmp_path, tiny_tokenizer, 8, 200_000)
    wanted = whole(folder)
    process = start(folder, 1)
    while not (kept := finished_shards(folder)):
        assert process.poll() is None
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL
    kept = finished_shards(folder)
    assert 0 < len(kept) < 8, "killed before its end"
    before = {path.name: path.stat().st_ino for path in kept}
    assert stage.run(PackConfig(workers=1), folder / "clean", folder / "tokenizer", folder / "pack")
    assert files(folder) == wanted
    made = folder / "pack/pretrain/train"
    assert {name: (made / name).stat().st_ino for name in before} == before, "finished shards are the same files"


@pytest.mark.slow
def test_killed_at_random_moments(tiny_tokenizer: Path, tmp_path: Path):
    folder = workspace(tmp_path, tiny_tokenizer, 24, 600_000)
    wanted = whole(folder)
    began = time.monotonic()
    assert start(folder, 1).wait(120) == 0
    seconds = time.monotonic() - began
    assert files(folder) == wanted
    shutil.rmtree(folder / "pack")
    chosen = random.Random(0)
    for number in range(12):
        process = start(folder, 1 + number % 3)
        time.sleep(chosen.uniform(0, seconds / 4))
        os.kill(process.pid, signal.SIGKILL)  # the workers have to see for themselves that it is gone
        process.wait(30)
    deadline = time.monotonic() + 30
    while (code := start(folder, 2).wait(300)) == 2 and time.monotonic() < deadline:  # a worker's last shard
        time.sleep(0.2)
    assert code == 0
    assert files(folder) == wanted
