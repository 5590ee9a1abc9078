"""Kill a training run by force at random moments, run the same command each time, and compare with a quiet run.

    python bench/kills.py [--kills 10] [--seed 0] [--recipe tests/train/tiny.yaml]

Both runs must end with the same losses, bit for bit, and the same hash of the final weights.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STEPS, SAVE_EVERY = 60, 7


def command(recipe: str, workspace: Path) -> list[str]:
    """The one command, run again after every kill."""
    fields = [f"workspace={workspace}", f"pretrain.max_steps={STEPS}", f"pretrain.save_every={SAVE_EVERY}"]
    return [sys.executable, "train.py", "train", recipe, *fields]


def environment() -> dict[str, str]:
    """One thread, so that a shared machine does not slow the runs down."""
    return os.environ | {"OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"}


def steps_done(workspace: Path) -> int:
    """How far the log has come."""
    path = workspace / "pretrain" / "metrics.jsonl"
    return path.read_text(encoding="utf-8").count('"loss"') if path.is_file() else 0


def run_and_kill(words: list[str], workspace: Path, dice: random.Random) -> str:
    """Start the command and kill it: a few steps from where it stands, or at any moment of its start."""
    process = subprocess.Popen(words, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL)
    target = steps_done(workspace) + dice.randint(1, 2 * SAVE_EVERY)
    until = time.monotonic() + (dice.uniform(1, 6) if dice.random() < 0.3 else 120)
    while process.poll() is None and steps_done(workspace) < target and time.monotonic() < until:
        time.sleep(0.005)
    time.sleep(dice.uniform(0, 0.05))
    process.send_signal(signal.SIGKILL)
    return f"exit {process.wait()} at step {steps_done(workspace)}"


def outcome(workspace: Path) -> tuple[str, list[float]]:
    """Hash of the final weights, and the loss of every step."""
    weights = (workspace / "pretrain" / "model" / "model.safetensors").read_bytes()
    text = (workspace / "pretrain" / "metrics.jsonl").read_text(encoding="utf-8")
    lines = [line for line in map(json.loads, text.splitlines()) if "loss" in line]
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    return hashlib.sha256(weights).hexdigest(), [line["loss"] for line in lines]


def compare(kills: int, seed: int, recipe: str, folder: Path) -> None:
    """Both runs, and the verdict."""
    packed, quiet, killed = folder / "packed", folder / "quiet", folder / "killed"
    prepare = [sys.executable, "-m", "pipeline", recipe, f"workspace={packed}", "--until=pack"]
    subprocess.run(prepare, cwd=ROOT, env=environment(), check=True)
    shutil.copytree(packed, quiet)
    shutil.copytree(packed, killed)
    subprocess.run(command(recipe, quiet), cwd=ROOT, env=environment(), check=True)
    dice = random.Random(seed)
    for number in range(1, kills + 1):
        print(f"kill {number}: {run_and_kill(command(recipe, killed), killed, dice)}", flush=True)
    subprocess.run(command(recipe, killed), cwd=ROOT, env=environment(), check=True)
    (hash_quiet, losses_quiet), (hash_killed, losses_killed) = outcome(quiet), outcome(killed)
    assert losses_killed == losses_quiet, "the losses differ"
    assert hash_killed == hash_quiet, "the final weights differ"
    print(f"{kills} kills: {STEPS} losses equal bit for bit, final weights {hash_quiet[:16]} in both runs")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--recipe", default="tests/train/tiny.yaml")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="yaya-kills-") as folder:
        compare(given.kills, given.seed, given.recipe, Path(folder))


if __name__ == "__main__":
    main()
