"""Training on one GPU, in a table: the real command at 100 M and 400 M parameters, rows of 2,048 tokens, bf16.

    python -m bench.gpu [--folder runs/gpu-speed] [--steps 40] [--minutes 6] [--only eager compiled muon …]

Each variant is a run of its own on the bundled corpus: tokens a second, MFU (of the GPU's known dense peak; attention
counted within documents), peak memory and the share of time spent waiting for data are medians of its later steps.
What cannot run here (ZeRO without deepspeed) is said; so is what no time was left for. Without a GPU it says so.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.train import lines

ROOT = Path(__file__).resolve().parent.parent
RECIPE = "configs/gpt-64m.yaml"
SMALL = {"hidden_size": 768, "intermediate_size": 2560, "num_hidden_layers": 12, "num_attention_heads": 12,
         "num_key_value_heads": 4, "head_dim": 64}  # fmt: skip
LARGE = {"hidden_size": 1536, "intermediate_size": 4096, "num_hidden_layers": 16, "num_attention_heads": 24,
         "num_key_value_heads": 8, "head_dim": 64}  # fmt: skip
ROWS = 64
"""Of 2,048 tokens in a step: 131,072 tokens, as a small model is trained with."""

LAUNCH = ["-m", "accelerate.commands.launch", "--num_machines", "1", "--num_processes", "1", "--mixed_precision", "no",
          "--dynamo_backend", "no", "--use_deepspeed", "--zero_stage"]  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """One run."""

    name: str
    shape: dict[str, int]
    fields: tuple[str, ...] = ()
    zero: str = ""


EAGER = "pretrain.compile=never"
COMPILED = "pretrain.compile=always"
VARIANTS = (
    Variant("100M eager", SMALL, (EAGER,)),
    Variant("100M compiled", SMALL, (COMPILED,)),
    Variant("400M compiled", LARGE, (COMPILED,)),
    Variant("100M compiled, muon", SMALL, (COMPILED, "pretrain.optimizer=muon")),
    Variant("400M eager", LARGE, (EAGER,)),
    Variant("100M eager, checkpointing selective", SMALL, (EAGER, "pretrain.gradient_checkpointing=selective")),
    Variant("100M eager, checkpointing full", SMALL, (EAGER, "pretrain.gradient_checkpointing=full")),
    Variant("100M zero1", SMALL, (EAGER,), zero="1"),
    Variant("100M zero2", SMALL, (EAGER,), zero="2"),
)


def packed(folder: Path) -> Path:
    """The bundled corpus as shards, made once."""
    words = [sys.executable, "-m", "pipeline", RECIPE, f"workspace={folder / 'packed'}", "--until=pack"]
    subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return folder / "packed"


def measured(variant: Variant, folder: Path, steps: int) -> str:
    """A row of the table."""
    workspace = folder / variant.name.replace(" ", "-").replace(",", "")
    shutil.rmtree(workspace, ignore_errors=True)
    shutil.copytree(folder / "packed", workspace)
    fields = [f"model.{name}={value}" for name, value in variant.shape.items()]
    fields += [f"workspace={workspace}", f"pretrain.max_steps={steps}", "pretrain.seq_len=2048", "pretrain.samples=[]"]
    fields += [f"pretrain.batch_size={ROWS}", "pretrain.precision=bf16", "pretrain.eval_every=0", *variant.fields]
    launcher = [*LAUNCH, variant.zero] if variant.zero else []
    done = subprocess.run(
        [sys.executable, *launcher, "train.py", "train", RECIPE, *fields],
        cwd=ROOT,
        env=os.environ | {"LC_ALL": "C.UTF-8"},  # the line that says what was chosen is found by its words
        capture_output=True,
        text=True,
    )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        return f"{variant.name:38} failed: {said[-1] if said else done.returncode}"
    metrics = workspace / "pretrain" / "metrics.jsonl"
    later = [line for line in lines.read(metrics) if "loss" in line and line["step"] > steps // 2]
    middle = {
        key: statistics.median(line[key] for line in later) for key in ("tokens_per_second", "mfu", "memory_gb", "wait")
    }
    chosen = next((line for line in done.stdout.splitlines() if "micro_batch" in line or "rows at once" in line), "")
    shutil.rmtree(workspace)
    return (
        f"{variant.name:38} {middle['tokens_per_second']:11,.0f} tokens/s  MFU {middle['mfu']:6.1%}  "
        f"{middle['memory_gb']:6.1f} GB  wait {middle['wait']:.2%}  {chosen.strip()}"
    )


def main() -> None:
    """All variants that there is time for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/gpu-speed"))
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--minutes", type=float, default=6.0)
    parser.add_argument("--only", nargs="*", default=[], help="words that a variant's name must hold, one of them")
    asked = parser.parse_args()
    if not torch.cuda.is_available():
        print("bench.gpu: no GPU here; bench.train measures a CPU")
        return
    print(torch.cuda.get_device_name(), "torch", torch.__version__, flush=True)
    asked.folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    packed(asked.folder.resolve())
    for variant in VARIANTS:
        if asked.only and not any(word in variant.name for word in asked.only):
            continue
        if variant.zero and importlib.util.find_spec("deepspeed") is None:
            print(f"{variant.name:38} deepspeed cannot be imported here", flush=True)
        elif time.monotonic() - began > asked.minutes * 60:
            print(f"{variant.name:38} no time left", flush=True)
        else:
            print(measured(variant, asked.folder.resolve(), asked.steps), flush=True)


if __name__ == "__main__":
    main()
