"""Tiny models of equal compute, one a vocabulary: clean records come in, held-out bits per byte go out.

Each setting is taken through the product's own stages: tokenizer, pack, pretrain. All models have the same shape but
for their vocabulary, and all are trained for the same number of floating-point operations, the head's among them: a
larger vocabulary reads less text per second, and says more with each token. Each stage knows what it has
done, so a finished run is not done again, and an interrupted one goes on.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import model as architectures
from pipeline.pack.config import PackConfig
from pipeline.pack.stage import run as pack
from pipeline.tokenizer.config import TokenizerConfig
from pipeline.tokenizer.stage import run as tokenizer
from pipeline.train.config import ModelConfig, PretrainConfig
from pipeline.train.stage import run as train
from pipeline.train.task import Task
from utils.stage import Json, read_json

BATCH, SEQ_LEN = 2, 512


@dataclass(frozen=True)
class Setting:
    """A vocabulary, and the seed of the model that is trained with it."""

    vocab_size: int
    coverage: float
    split_by_script: bool
    seed: int = 0

    @property
    def name(self) -> str:
        scripts = "split" if self.split_by_script else "mixed"
        return f"{self.vocab_size}-{self.coverage:g}-{scripts}"

    @property
    def tokenizer(self) -> TokenizerConfig:
        return TokenizerConfig(vocab_size=self.vocab_size, coverage=self.coverage, split_by_script=self.split_by_script)


@dataclass(frozen=True)
class Plan:
    """What all models have in common."""

    flops: float
    """Of training, forward and backward, the head's too; see `model.flops_per_token`."""

    layers: int
    lr: float

    @property
    def name(self) -> str:
        return f"{self.layers} layers, {self.flops:g} flops, lr {self.lr:g}"

    @property
    def model(self) -> ModelConfig:
        """128 wide: a step over a few thousand tokens takes some tenths of a second on one core."""
        shape = {"hidden_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32}
        return ModelConfig(fields=shape | {"num_hidden_layers": self.layers, "initializer_range": 0.06})

    def training(self, size: int, seed: int) -> PretrainConfig:
        """As many steps as the compute allows a vocabulary of this size."""
        tokens = self.flops / self.flops_per_token(size)
        steps = max(1, round(tokens / BATCH / SEQ_LEN))
        return PretrainConfig(
            batch_size=BATCH, seq_len=SEQ_LEN, max_steps=steps, lr=self.lr, beta2=0.99, seed=seed, keep=1
        )

    def flops_per_token(self, size: int) -> int:
        shape = architectures.family_config(self.model.family, self.model.fields | {"vocab_size": size})
        return architectures.flops_per_token(shape, SEQ_LEN)


def row(setting: Setting, plan: Plan, clean: Path, folder: Path) -> Json:
    """One model, from its vocabulary to its held-out bits per byte."""
    made = folder / "settings" / setting.name
    output = folder / plan.name / f"{setting.name}-seed{setting.seed}"
    tokenizer(setting.tokenizer, clean, made / "tokenizer")
    pack(PackConfig(workers=1), clean, made / "tokenizer", made / "pack")
    size = read_json(made / "tokenizer" / "report.json")["vocab_size"]
    config = plan.training(size, setting.seed)
    train(Task("pretrain", config, plan.model, made / "tokenizer", made / "pack", None, output))
    packed = read_json(made / "pack" / "report.json")["pretrain"]
    read = (config.max_steps or 0) * BATCH * SEQ_LEN
    return {
        "vocab_size": size,
        "coverage": setting.coverage,
        "split_by_script": setting.split_by_script,
        "seed": setting.seed,
        "mflops_per_token": round(plan.flops_per_token(size) / 1e6, 1),
        "tokens": read,
        "epochs": round(read / sum(source["tokens"] for source in packed["train"].values()), 2),
        **{
            f"{name}_bytes_per_token": round(some["bytes"] / some["tokens"], 3)
            for name, some in packed["valid"].items()
        },
        **{f"{name}_bpb": round(bits, 4) for name, bits in last_look(output).items()},
    }


def last_look(output: Path) -> dict[str, float]:
    """Held-out bits per byte at the end, by source."""
    lines = map(json.loads, (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return [line["bpb"] for line in lines if "bpb" in line][-1]
