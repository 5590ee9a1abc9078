"""A few steps of Muon through the real engine, in one process of a launch: what rank 0 ends with goes to a file.

python -m tests.train.muon_steps OUT.safetensors [fp32|bf16]
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

import model as architectures
from pipeline.train.checkpoints import State, save
from pipeline.train.config import PretrainConfig
from pipeline.train.engine import start
from pipeline.train.objectives.base import Batch

STEPS, ROWS, LENGTH, VOCABULARY = 4, 8, 24, 300
CONFIG = PretrainConfig(
    max_steps=STEPS, batch_size=ROWS, seq_len=LENGTH, optimizer="muon", lr=3e-3, muon_lr=0.02, clip=0.25, seed=3
)
RATES = [3e-3, 2e-3, 1e-3, 5e-4]


def model() -> torch.nn.Module:
    """Two layers, the same in every process; the zeros of the residual outputs drawn, so that every gradient counts."""
    torch.manual_seed(3)
    shape = {"hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 4,
             "num_key_value_heads": 2, "head_dim": 12, "vocab_size": VOCABULARY}  # fmt: skip
    made = architectures.build(architectures.family_config("gpt", shape))
    with torch.no_grad():
        for weight in made.parameters():
            if not weight.any():
                weight.normal_(std=0.02)
    return made


def batch(step: int) -> Batch:
    """All rows of a step."""
    ids = torch.randint(0, VOCABULARY, (ROWS, LENGTH), generator=torch.Generator().manual_seed(step))
    positions = torch.arange(LENGTH).expand(ROWS, -1)
    return {"input_ids": ids, "targets": ids.roll(-1, 1), "position_ids": positions}


def loss_sum(net: torch.nn.Module, rows: Batch) -> torch.Tensor:
    """As the objective has it."""
    return net(**rows).loss_sum  # type: ignore[no-any-return]


def main() -> None:
    """Each rank steps on its rows, one at a time."""
    out, precision = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "fp32"
    engine = start(CONFIG, precision)
    engine.prepare(model(), None)
    each = ROWS // engine.world
    norms = []
    for step, rate in enumerate(RATES):
        mine = [{k: v[row : row + 1] for k, v in batch(step).items()} for row in range(ROWS)]
        mine = mine[engine.rank * each : (engine.rank + 1) * each]
        norms.append(engine.step(loss_sum, mine, ROWS * LENGTH, rate).grad_norm)
    weights = engine.weights()
    if weights is not None:
        assert min(norms) > CONFIG.clip, norms  # clipping was at work in every step
        save(out.parent, State(step=STEPS), weights)
        save_file(weights.masters, out)
        print("bytes of state:", *engine.optimizer_bytes())
    engine.close()


if __name__ == "__main__":
    main()
