"""Every file in configs/accelerate/ can be launched; those for one host train here, on two processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from accelerate.commands.config.config_args import load_config_from_file

from tests.commands import LAUNCH, PLAIN_FLAGS, ROOT, TINY, environment, losses, metrics, run
from tests.train.test_engines import worst
from utils.workers import cores

Runs = Callable[..., Path]
FOLDER = ROOT / "configs" / "accelerate"
HERE = ("cpu", "ddp", "zero1", "zero2", "zero3", "zero2_offload", "zero3_offload")
QUICK = ("zero3_offload",)


def test_every_file_is_known_and_read() -> None:
    names = {path.stem for path in FOLDER.glob("*.yaml")}
    assert names == {*HERE, "nodes_static", "nodes_c10d", "nodes_zero2"}
    for path in FOLDER.glob("*.yaml"):
        config = load_config_from_file(str(path))
        assert f"configs/accelerate/{path.name}" in path.read_text(encoding="utf-8"), "says what to type"
        assert config.num_machines == (2 if path.stem.startswith("nodes") else 1)
        if config.deepspeed_config:
            file = ROOT / config.deepspeed_config["deepspeed_config_file"]
            assert str(json.loads(file.read_text(encoding="utf-8"))["zero_optimization"]["stage"]) in path.stem


def command(name: str) -> list[str]:
    """What a person types."""
    return [*LAUNCH, "--config_file", str(FOLDER / f"{name}.yaml"), "train.py", "train", TINY]


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in HERE])
def test_it_trains_as_one_process_does(runs: Runs, workspace: Path, name: str) -> None:
    said = run([*command(name), f"workspace={workspace}"])
    stage = name.partition("_")[0]
    assert f"{stage if stage.startswith('zero') else 'ddp'} x 2" in said
    assert worst(losses(workspace), losses(runs("single"))) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["zero2_offload", "zero3_offload"])
def test_what_is_offloaded_goes_out_and_in_again(workspace: Path, name: str) -> None:
    """Resume is exact, to the bit, for torch's AdamW steps on the CPU as well."""
    words = [*command(name), f"workspace={workspace}"]
    run(words)
    whole = losses(workspace)
    shutil.rmtree(workspace / "pretrain" / "model")
    (workspace / "pretrain" / "manifest.json").unlink()
    for checkpoint in (workspace / "pretrain" / "checkpoints").iterdir():
        if int(checkpoint.name[5:]) > 18:
            shutil.rmtree(checkpoint)
    assert "going on from step 18" in run(words)
    assert losses(workspace) == whole


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "offload"), [("zero2", "optimizer"), ("zero3", "all")])
def test_the_pipeline_offloads_as_the_recipe_says(runs: Runs, workspace: Path, engine: str, offload: str) -> None:
    fields = ["launch.num_processes=2", f"launch.engine={engine}", f"launch.offload={offload}"]
    run([sys.executable, "-m", "pipeline", TINY, f"workspace={workspace}", *fields, "--until=pretrain"])
    assert worst(losses(workspace), losses(runs("single"))) < 1e-4


def test_muon_under_deepspeed_is_refused_by_name(workspace: Path) -> None:
    fields = [f"workspace={workspace}", "launch.num_processes=2", "launch.engine=zero2", "pretrain.optimizer=muon"]
    said = run([sys.executable, "-m", "pipeline", TINY, *fields, "--until=pretrain"], code=2)
    assert "optimizer=muon is not offered under DeepSpeed" in said
    assert "launch.engine=ddp" in said
    assert "optimizer=adamw" in said


SHIMS = {
    "scontrol": 'if [ "$1" = show ]; then echo 127.0.0.1; else echo "requeued $2"; fi',
    "srun": 'shift; exec "$@"',
}
"""What the Slurm script calls, for a cluster of this one machine."""


@pytest.mark.slow
def test_the_slurm_script_saves_and_puts_its_job_in_again(packed: Path, tmp_path: Path) -> None:
    workspace = shutil.copytree(packed, tmp_path / "run")
    for name, does in SHIMS.items():
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{does}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    job = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "here", "SLURM_NNODES": "1", "SLURM_GPUS_ON_NODE": "2"}
    fields = [TINY, f"workspace={workspace}", "pretrain.max_steps=100000", "pretrain.save_every=100000"]
    script = subprocess.Popen(
        [str(FOLDER / "slurm.sh"), *fields], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=environment(**job, PATH=f"{tmp_path}:{os.environ['PATH']}"), start_new_session=True,
    )  # fmt: skip
    try:
        until = time.monotonic() + 120
        while not (workspace / "pretrain" / "metrics.jsonl").is_file() or len(metrics(workspace)) < 3:
            assert script.poll() is None, script.communicate()[0]
            assert time.monotonic() < until
            time.sleep(0.1)
        script.send_signal(signal.SIGUSR1)
        said, _ = script.communicate(timeout=60)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(script.pid, signal.SIGKILL)
    assert "saved step" in said
    assert "requeued 7" in said
    assert script.returncode != 0


ALL = min(psutil.cpu_count(logical=False) or cores(), cores())
LAUNCHED = [*LAUNCH, "--num_processes", "1", *PLAIN_FLAGS]


@pytest.mark.parametrize(
    ("words", "given", "threads"),
    [
        (LAUNCHED, None, ALL),
        (LAUNCHED, "1", 1),
        (["bash", "-c", f"export OMP_NUM_THREADS=1; {sys.executable} $0"], None, 1),
    ],
)
def test_a_cpu_process_takes_its_cores_where_only_the_launcher_says_one(
    tmp_path: Path, words: list[str], given: str | None, threads: int
) -> None:
    script = tmp_path / "threads.py"
    script.write_text(
        "import torch\n"
        "from pipeline.train.hardware import take_cores\ntake_cores()\nprint('threads', torch.get_num_threads())\n"
    )
    variables = environment(CUDA_VISIBLE_DEVICES="", PYTHONPATH=str(ROOT))
    del variables["OMP_NUM_THREADS"]
    variables |= {} if given is None else {"OMP_NUM_THREADS": given}
    said = subprocess.run([*words, str(script)], cwd=ROOT, env=variables, capture_output=True, text=True, check=True)
    assert f"threads {threads}" in said.stdout.splitlines()
