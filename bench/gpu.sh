#!/usr/bin/env bash
# What can only be checked on a GPU, in one call of a few minutes: the same curve as on the CPU, bf16 and fp16,
# kill -9 and resume, and the demo. Needs the packages of requirements.txt (deepspeed and wandb may be missing).
#   bash bench/gpu.sh [WORKSPACE]
set -euo pipefail
cd "$(dirname "$0")/.."
place=${1:-runs/gpu}
recipe=tests/train/tiny.yaml
python -c "import torch; print(torch.cuda.get_device_name(), 'torch', torch.__version__)"
python -m pipeline "$recipe" workspace="$place/packed" --until=pack

train() { # name, then fields
  rm -rf "${place:?}/$1"
  cp -r "$place/packed" "$place/$1"
  python train.py train "$recipe" workspace="$place/$1" "${@:2}"
}
CUDA_VISIBLE_DEVICES="" train cpu
train fp32
train bf16 pretrain.precision=bf16
train fp16 pretrain.precision=fp16
train checkpointed pretrain.precision=bf16 pretrain.gradient_checkpointing=full

python - "$place" <<'PY'
import json, sys
from pathlib import Path

def losses(name):
    text = (Path(sys.argv[1]) / name / "pretrain" / "metrics.jsonl").read_text(encoding="utf-8")
    return [line["loss"] for line in map(json.loads, text.splitlines()) if "loss" in line]

cpu = losses("cpu")
for name in ("fp32", "bf16", "fp16", "checkpointed"):
    print(f"{name}: largest relative difference from the CPU's fp32 losses "
          f"{max(abs(a - b) / b for a, b in zip(losses(name), cpu, strict=True)):.1e}")
PY

python bench/kills.py --kills 3
python -m pipeline configs/demo.yaml workspace="$place/demo" pretrain.precision=bf16 finetune.precision=bf16
python - "$place/demo" <<'PY'
import json, statistics, sys
from pathlib import Path

for verb in ("pretrain", "finetune"):
    text = (Path(sys.argv[1]) / verb / "metrics.jsonl").read_text(encoding="utf-8")
    lines = [line for line in map(json.loads, text.splitlines()) if "loss" in line]
    print(verb, "tokens/s", round(statistics.median(line["tokens_per_second"] for line in lines)),
          "memory GB", max(line["memory_gb"] for line in lines))
PY
