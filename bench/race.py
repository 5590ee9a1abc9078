"""How long until a model knows as much: our recipe and the padded loop that everyone writes, on the same text.

    python -m bench.race [--seconds 240] [--share 0.4] [--lrs 5e-4 1e-3 2e-3] [--folder runs/race]

The plain loop trains in fp32 with AdamW and a cosine, every text padded to 340 tokens, for all of the seconds and once
for each learning rate; its best final value counts. Ours (Muon and AdamW, packed rows, wsd, the precision that is fast
here) gets a share of the seconds, its horizon set to them. Both are scored on the same held-out windows; time is that
of steps alone. The curves become a page, `race.html` in the folder.
"""

from __future__ import annotations

import argparse
import math
import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import model as architectures
from bench.real_text import DATA
from bench.train_loops import padded, qwen3
from bench.train_texts import documents, prepared, raw_texts
from pipeline.train import lines
from pipeline.train.config import ModelConfig, PretrainConfig
from pipeline.train.feed import batches, sequences_of
from pipeline.train.log import METRICS
from pipeline.train.stage import run as train
from pipeline.train.task import Task
from utils.charts import Point, curves
from utils.codec import Codec
from utils.page import Section, page
from utils.scoring import ALL, bits_per_byte

SHAPE: dict[str, Any] = {
    "hidden_size": 256,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,  # Qwen3 would take 128 otherwise
    "intermediate_size": 704,
    "max_position_embeddings": 1024,
}
TEXTS, ROWS, SEQ_LEN, LOOKS = 40_000, 8, 512, 8
WARMUP = 0.03
HELD_OUT = 200


@dataclass(frozen=True)
class Curve:
    """Held-out bits per byte against seconds of training."""

    name: str
    points: list[Point]

    @property
    def last(self) -> float:
        """Where it ends."""
        return self.points[-1][1]

    def reaches(self, value: float) -> float | None:
        """The second at which it is that low, between two looks in a straight line; None if it never is."""
        before = None
        for seconds, bpb in self.points:
            if bpb <= value:
                if before is None:
                    return seconds
                gone = (before[1] - value) / (before[1] - bpb)
                return before[0] + gone * (seconds - before[0])
            before = (seconds, bpb)
        return None


# ---------------------------------------------------------------- the loop that everyone writes


def baseline(folder: Path, lr: float, seconds: float) -> Curve:
    """transformers' Qwen3 for so many seconds, looked at now and then."""
    torch.manual_seed(0)
    codec = Codec(folder / "tokenizer")
    net = qwen3(SHAPE | {"vocab_size": codec.vocab_size})
    optimizer = torch.optim.AdamW(net.parameters(), lr=lr, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    score, texts = scorer(folder, codec), documents(folder)
    points: list[Point] = []
    order = np.random.default_rng(0).permutation(len(texts))
    spent, number = 0.0, 0
    while spent < seconds:
        began = time.perf_counter()
        chosen = [texts[i] for i in order.take(range(number * ROWS, (number + 1) * ROWS), mode="wrap")]
        rate = lr * min(spent / seconds / WARMUP, 1.0) * (0.1 + 0.45 * (1 + math.cos(math.pi * spent / seconds)))
        plain_step(net, optimizer, chosen, rate)
        spent, number = spent + time.perf_counter() - began, number + 1
        if spent >= seconds * (len(points) + 1) / LOOKS:
            points.append((spent, score(net.state_dict())))
            print(f"  padded, lr {lr:g}: {spent:.0f} s, step {number}, {points[-1][1]:.4f} bits per byte", flush=True)
    return Curve(f"padded AdamW, lr {lr:g}", points)


def plain_step(net: Any, optimizer: torch.optim.Optimizer, texts: list[list[int]], lr: float) -> None:
    """One step on texts padded to 340 tokens, or cut there."""
    inputs, labels = padded(texts)
    for group in optimizer.param_groups:
        group["lr"] = lr
    net(inputs, attention_mask=(labels != -100).long(), labels=labels, use_cache=False).loss.backward()
    torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()


def scorer(folder: Path, codec: Codec) -> Callable[[dict[str, torch.Tensor]], float]:
    """Of Qwen3's weights, the bits per byte of the held-out windows that the product looks at, by its own model."""
    config = architectures.family_config("gpt", SHAPE | {"vocab_size": codec.vocab_size})
    ours = architectures.build(config).eval()
    lengths = codec.text_bytes(np.arange(codec.vocab_size))
    windows = sequences_of(folder / "pack", "pretrain", "valid", SEQ_LEN, folder / "plan")

    def nats(input_ids: np.ndarray, targets: np.ndarray, position_ids: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            ids, wanted, places = (torch.from_numpy(a).long() for a in (input_ids, targets, position_ids))
            return ours(ids, targets=wanted, position_ids=places, per_token=True).nats.numpy()  # type: ignore[no-any-return]

    def score(weights: dict[str, torch.Tensor]) -> float:
        ours.load_state_dict(weights)
        return bits_per_byte(nats, {name: batches(one, 16) for name, one in windows.items()}, lengths)[ALL]

    return score


# ---------------------------------------------------------------- ours


def ours(folder: Path, seconds: float) -> Curve:
    """Our recipe, its horizon set to so many seconds by a short trial."""
    config = PretrainConfig(
        max_steps=12, batch_size=4, seq_len=SEQ_LEN, lr=3e-3, muon_lr=0.02, optimizer="muon", warmup=WARMUP, decay=0.6,
        save_every=10**6,
    )  # fmt: skip
    trial = run(folder, config, "trial", SHAPE)
    pace = statistics.median(line["seconds"] for line in trial[4:] if "loss" in line)
    total = max(LOOKS, int(seconds / pace))
    told = run(folder, replace(config, max_steps=total, eval_every=max(1, total // LOOKS)), "ours", SHAPE)
    spent, points = 0.0, []
    for line in told:
        spent += line.get("seconds", 0.0)
        if "bpb" in line:
            points.append((spent, line["bpb"]["all"]))
            print(f"  ours: {spent:.0f} s, step {line['step']}, {points[-1][1]:.4f} bits per byte", flush=True)
    return Curve("ours", points)


def run(folder: Path, config: PretrainConfig, name: str, shape: dict[str, Any]) -> list[dict[str, Any]]:
    """Train a model of this shape, and read what was noted of it."""
    output = folder / name
    shutil.rmtree(output, ignore_errors=True)
    train(Task("pretrain", config, ModelConfig(fields=shape), folder / "tokenizer", folder / "pack", None, output))
    return list(lines.read(output / METRICS))


# ---------------------------------------------------------------- who knows as much, when


def told(best: Curve, other: Curve, seconds: float) -> str:
    """The verdict in a sentence."""
    reached = other.reaches(best.last)
    if reached is None:
        return f"ours ends at {other.last:.4f} after {other.points[-1][0]:.0f} s, above the baseline's {best.last:.4f}"
    return (
        f"{best.name} ends at {best.last:.4f} bits per byte after {seconds:.0f} s; ours is there after "
        f"{reached:.0f} s, {reached / seconds:.2f} of the time, and ends at {other.last:.4f} after "
        f"{other.points[-1][0]:.0f} s"
    )


def main() -> None:
    """Prepare the text, run both, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--share", type=float, default=0.4)
    parser.add_argument("--lrs", type=float, nargs="+", default=[5e-4, 1e-3, 2e-3])
    parser.add_argument("--texts", type=int, default=TEXTS)
    parser.add_argument("--folder", type=Path, default=Path("runs/race"))
    asked = parser.parse_args()
    if not (DATA / "classics_bitext.parquet").is_file():
        print(f"{DATA} lacks classics_bitext.parquet; the bundled sample takes its place, and says little")
    prepared(asked.folder, raw_texts(), asked.texts, HELD_OUT)
    ran = [ours(asked.folder, asked.share * asked.seconds)]
    ran += [baseline(asked.folder, lr, asked.seconds) for lr in asked.lrs]
    best = min(ran[1:], key=lambda curve: curve.last)
    verdict = told(best, ran[0], asked.seconds)
    chart = curves({curve.name: curve.points for curve in ran}, x="seconds of training")
    sections = [Section("Held-out bits per byte", [chart], verdict)]
    (asked.folder / "race.html").write_text(page("race", sections, verdict), encoding="utf-8")
    print(verdict, asked.folder / "race.html", sep="\n")


if __name__ == "__main__":
    main()
