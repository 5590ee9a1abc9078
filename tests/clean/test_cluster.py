"""The same tasks on a Ray cluster of two nodes: the same shards, also when a task is killed by force."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install -r requirements-cluster.txt")

ROOT = Path(__file__).parents[2]

RUN = """
import os, sys
from pathlib import Path
from ray.cluster_utils import Cluster

import pipeline.clean.engines, pipeline.clean.stage
from pipeline.clean.config import CleanConfig, Input

def main(raw, output, engine, store, victim):
    pipeline.clean.engines.WORTH_A_POOL = 0
    pipeline.clean.stage.PIECE_BYTES, pipeline.clean.stage.BUCKET_BYTES = 40_000, 60_000
    if victim:
        os.environ["YAYA_TEST_VICTIM"] = victim
        import tests.clean.victim
        pipeline.clean.stage.read_piece = tests.clean.victim.read_piece_once_killed
    address = "auto"
    nodes = None
    if engine == "ray":
        nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        nodes.add_node(num_cpus=1)
        address = nodes.address
    config = CleanConfig(
        inputs=[Input(raw)], near=0.8, workers=1, engine=engine, address=address, store=store
    )
    pipeline.clean.stage.run(config, Path(output))
    if nodes:
        nodes.shutdown()

if __name__ == "__main__":
    main(*sys.argv[1:])
"""


def run(folder: Path, raw: str, name: str, engine: str, store: str = "", victim: str = "") -> Any:
    """Hashes of the shards, the stage having run in a process of its own; and what it said."""
    script = folder / "run.py"
    script.write_text(RUN, encoding="utf-8")
    env = os.environ | {"PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}
    words = [sys.executable, str(script), raw, str(folder / name), engine, store, victim]
    done = subprocess.run(words, env=env, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    files = json.loads((folder / name / "manifest.json").read_text(encoding="utf-8"))["files"]
    shards = {name: entry["hash"] for name, entry in files.items() if name.startswith(("train", "valid"))}
    return shards, done.stdout


def corpus(folder: Path) -> Path:
    folder.mkdir()
    for f in range(3):
        rows = [{"prompt": f"问{n % 290}在{f}", "response": f"答{n}，" * 20} for n in range(300)]
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        (folder / f"{f}.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


@pytest.mark.timeout(600)
def test_two_nodes_make_what_one_process_makes(tmp_path: Path) -> None:
    raw = corpus(tmp_path / "raw")
    expected, _ = run(tmp_path, str(raw), "local", "local")
    assert len(expected) > 4
    (tmp_path / "killed").mkdir()
    made, said = run(
        tmp_path, f"file://{raw}", "ray", "ray", store=f"file://{tmp_path}/store", victim=str(tmp_path / "killed")
    )
    assert "2 machines, 2 cores" in said
    assert made == expected
    assert (tmp_path / "killed" / "victim").exists()  # a worker process was killed in mid-task, and its task run again
    assert list((tmp_path / "store").glob("*/features/*.arrow"))
