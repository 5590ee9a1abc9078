"""What ZeRO does beside stepping: a gradient that is not finite changes nothing, and a run can be rolled back."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.train.config import PretrainConfig
from pipeline.train.zero import deepspeed_config
from tests.commands import LAUNCH, PLAIN_FLAGS, run
from utils.console import UserError

WORK = """
import math, os, sys
sys.path.insert(0, sys.argv[1])
import torch
import model as architectures
from pipeline.train.config import PretrainConfig
from pipeline.train.engine import start

SHAPE = {"hidden_size": 30, "intermediate_size": 42, "num_hidden_layers": 2, "num_attention_heads": 3,
         "num_key_value_heads": 1, "head_dim": 10, "vocab_size": 101}
torch.manual_seed(0)
net = architectures.build(architectures.family_config("gpt", SHAPE))
engine = start(PretrainConfig(max_steps=9, batch_size=4, clip=0.5), sys.argv[2])
engine.prepare(net, None)
draw = torch.Generator().manual_seed(engine.rank)
rows = torch.randint(11, 101, (2, 2, 17), generator=draw)
batches = [{"input_ids": r[:, :-1], "targets": r[:, 1:], "position_ids": torch.arange(16).repeat(2, 1)} for r in rows]

def loss(spoil):
    def of(model, batch):
        value = model(**{k: v.to(engine.device) for k, v in batch.items()}).loss_sum
        return value * math.nan if spoil and engine.rank == 1 and batch is batches[0] else value
    return of

def step(spoil=False):
    return engine.step(loss(spoil), batches, 128, 1e-2)

def same(a, b):
    return a is None or (a.updates == b.updates and all(torch.equal(a.masters[n], b.masters[n]) for n in a.masters)
        and all(torch.equal(a.moments[k][n], b.moments[k][n]) for k in a.moments for n in a.masters))

def everywhere(weights):
    here = [weights]
    torch.distributed.broadcast_object_list(here)
    return here[0]

step()
before = engine.weights()
spoilt = step(spoil=True)
assert not math.isfinite(spoilt.grad_norm), spoilt
assert not math.isfinite(spoilt.loss), spoilt
assert same(before, engine.weights()), "a step without a finite gradient changed something"
kept = everywhere(engine.weights())
first = [step() for _ in range(3)]
assert all(math.isfinite(r.loss) and math.isfinite(r.grad_norm) for r in first)
assert first[-1].loss < first[0].loss
after = engine.weights()
assert after is None or after.updates == 4
assert not same(before, after) or engine.rank
engine.restore(kept)
assert same(kept, everywhere(engine.weights())), "what was put back is not what is there"
assert [step() for _ in range(3)] == first, "it goes on otherwise than before"
assert same(after, engine.weights())
print(f"rank {engine.rank} of {engine.name}: well", flush=True)
engine.close()
os._exit(0)  # as utils/console.py has it: what is left of DeepSpeed's threads may abort a process at its end
"""


@pytest.mark.parametrize(
    ("stage", "precision", "offload"),
    [
        (3, "bf16", ()),
        *(
            pytest.param(stage, precision, offload, marks=pytest.mark.slow)
            for stage, precision, offload in [
                (1, "fp32", ()), (1, "bf16", ()), (2, "fp32", ()), (2, "bf16", ()), (3, "fp32", ()),
                (1, "bf16", ("optimizer",)), (2, "bf16", ("optimizer",)), (3, "bf16", ("optimizer", "param")),
                (3, "fp32", ("optimizer", "param")),
            ]
        ),
    ],
)  # fmt: skip
def test_a_gradient_that_is_not_finite_changes_nothing(
    tmp_path: Path, stage: int, precision: str, offload: tuple[str, ...]
) -> None:
    """One rank's loss is no number: masters and moments stay bit for bit, the next step trains, and a roll-back
    repeats the same bits."""
    script = tmp_path / "work.py"
    script.write_text(WORK, encoding="utf-8")
    flags = [word for what in offload for word in (f"--offload_{what}_device", "cpu")]
    words = [*LAUNCH, "--use_deepspeed", "--zero_stage", str(stage), "--num_processes", "2", *PLAIN_FLAGS, *flags]
    said = run([*words, str(script), str(Path(__file__).resolve().parents[2]), precision])
    assert said.count("well") == 2


def test_a_stage_that_there_is_not_is_named_where_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, path = PretrainConfig(max_steps=1), tmp_path / "mine.json"
    monkeypatch.delenv("ACCELERATE_DEEPSPEED_CONFIG_FILE", raising=False)
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", "0")
    with pytest.raises(UserError, match="--zero_stage is 0; give 1, 2 or 3"):
        deepspeed_config(config, "fp32", 2)
    path.write_text("{}", encoding="utf-8")
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_CONFIG_FILE", str(path))
    with pytest.raises(UserError, match=r"mine\.json: zero_optimization\.stage is null; give 1, 2 or 3"):
        deepspeed_config(config, "fp32", 2)
