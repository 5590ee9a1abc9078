#!/usr/bin/env bash
# What can only be checked on a GPU, in one call under 9 minutes: the same curve as on the CPU, bf16 and fp16, the plan's
# memory beside CUDA's, speeds at 100 M and 400 M parameters, kill -9 and resume, and, if time is left, the demo.
# Needs the packages of requirements.txt (deepspeed, datasets and wandb may be missing).
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
train compiled pretrain.precision=bf16 pretrain.compile=always
CUDA_VISIBLE_DEVICES="" train muon-cpu pretrain.optimizer=muon
train muon pretrain.optimizer=muon

python - "$place" <<'PY'
import json, sys
from pathlib import Path

def losses(name):
    text = (Path(sys.argv[1]) / name / "pretrain" / "metrics.jsonl").read_text(encoding="utf-8")
    return [line["loss"] for line in map(json.loads, text.splitlines()) if "loss" in line]

pairs = [(name, "cpu") for name in ("fp32", "bf16", "fp16", "checkpointed", "compiled")] + [("muon", "muon-cpu")]
for name, other in pairs:
    print(f"{name}: largest relative difference from the CPU's fp32 losses "
          f"{max(abs(a - b) / b for a, b in zip(losses(name), losses(other), strict=True)):.1e}")
PY

echo "the plan's memory beside CUDA's"
for kind in none full; do
  python -m pipeline.train.plan configs/gpt-64m.yaml pretrain.max_steps=5 pretrain.precision=bf16 \
    pretrain.gradient_checkpointing=$kind --check || echo "the plan could not be checked ($kind)"
done
python -m bench.gpu --folder "$place/speed" --minutes $(((400 - SECONDS) / 60))

python -m bench.kills --kills 3
if [ $SECONDS -gt 420 ]; then echo "no time left for the demo"; exit 0; fi
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
