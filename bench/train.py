"""How fast training is on this machine, beside the loop that everyone writes; all in one run, taking turns.

    python -m bench.train [--repeats 5] [--peer CHECKOUT] [--overhead] [--compile] [--micro-batch 8] [--quick]

The shape is 512 wide, 8 layers, 8 heads over 4, a vocabulary of 6,400; the texts are runs of the classics of 100 to 500
characters (`train_texts.py`), the contenders stand in `train_loops.py`, each in a process of its own. They step in
turn, and between turns a large matrix product is timed: medians are told, and MFU as a share of that product's median.
Useful tokens are those that are trained: padding is none. `--overhead` sets the engine's step beside the shortest loop
over the same micro-batches, `--compile` beside compiled layers, and says after how many steps that pays.
`--quick` is a small shape on the bundled sample, to see that it works.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

import model as architectures
from bench.real_text import DATA
from bench.train_loops import ROW, Given, Took
from bench.train_texts import VOCABULARY, prepared, raw_texts
from pipeline.train.engine import resolve_precision
from pipeline.train.hardware import DTYPES, peak_flops
from utils.codec import Codec
from utils.console import WAITING
from utils.memory import keep_freed

ROOT = Path(__file__).resolve().parent.parent
SHAPE = {
    "hidden_size": 512,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,  # Qwen3 would take 128 otherwise
    "intermediate_size": 1408,
    "max_position_embeddings": 1024,
}
QUICK_SHAPE = SHAPE | {"hidden_size": 64, "num_hidden_layers": 2, "head_dim": 8, "intermediate_size": 192}
TEXTS, QUICK_TEXTS = 12_000, 400


class Contender:
    """One of `train_loops`, in its own process, stepping when asked."""

    def __init__(self, given: Given):
        self.name, self.first, self.threads = given.name, 0.0, 0
        words = [sys.executable, "-m", "bench.train_loops", json.dumps(asdict(given))]
        env = os.environ | WAITING  # all alike: on a machine that others use, the default costs the plain loops most
        self._process = subprocess.Popen(
            words, cwd=ROOT, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.took: list[Took] = []

    def step(self) -> Took:
        """One step, now."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.name}: ended with exit code {self._process.wait()}")
        told = json.loads(answer)
        self.threads = told.pop("threads")
        return Took(**told)

    def warm(self) -> None:
        """The first steps, of which the first may compile; a second fills the caches."""
        self.first = self.step().seconds
        self.step()

    def close(self) -> None:
        """End its process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    @property
    def rates(self) -> list[float]:
        """Useful tokens a second, step by step."""
        return [took.tokens / took.seconds for took in self.took]


def in_turns(contenders: list[Contender], repeats: int, precision: str) -> list[float]:
    """Everyone's steps in turn; a large product's FLOP/s in each round."""
    peaks = []
    for contender in contenders:
        contender.warm()
    for _ in range(repeats):
        for contender in contenders:
            contender.took.append(contender.step())
        peaks.append(peak_flops(torch.device("cpu"), DTYPES[precision]))
        rates = ", ".join(f"{c.name} {c.rates[-1]:,.0f}" for c in contenders)
        print(f"  {rates} tokens/s; product {peaks[-1] / 1e9:,.0f} GFLOP/s", flush=True)
    for contender in contenders:
        contender.close()
    return peaks


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median over rounds, so that a machine that slows down for a while slows both."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def report(contenders: list[Contender], peaks: list[float], given: Given, precision: str) -> None:
    """Rates, ratios and MFU."""
    by_name = {contender.name: contender for contender in contenders}
    for contender in contenders:
        rates = contender.rates
        middle = statistics.median(rates)
        print(f"{contender.name:9} {middle:7,.0f} useful tokens/s ({min(rates):,.0f} to {max(rates):,.0f})")
    ours = by_name["ours"]
    for name in ("padded", "unpadded", "peer"):
        if name in by_name:
            print(f"ours / {name}: {ratio(ours.rates, by_name[name].rates):.2f}")
    config = architectures.family_config("gpt", given.shape)
    matrices = architectures.flops_per_token(config, 0)
    width = given.shape["num_hidden_layers"] * given.shape["hidden_size"]
    seen = statistics.mean(took.seen for took in ours.took)
    whole = matrices + 12 * width * seen
    peak, share = statistics.median(peaks), ratio(ours.rates, peaks)
    print(f"{precision} matrix product: {peak / 1e9:.0f} GFLOP/s; a token takes {matrices / 1e6:.0f} MFLOP in matrices")
    print(f"MFU: {share * matrices:.1%}, with attention inside documents {share * whole:.1%}")
    total = sum(took.seconds for took in ours.took)
    shares = {name: sum(getattr(t, name) for t in ours.took) / total for name in ("forward", "backward", "update")}
    print(", ".join(f"{name} {share:.0%}" for name, share in shares.items()) + " (update is AdamW alone)")
    if "bare" in by_name:
        print(f"engine over the bare loop: {ratio(by_name['bare'].rates, ours.rates) - 1:+.1%} (median of pairs)")
    if "compiled" in by_name:
        told_compile(ours, by_name["compiled"])
    print(
        f"chosen: {precision} ({'the CPU multiplies bf16' if precision == 'bf16' else 'no fast bf16 here'}), "
        f"{ours.threads} threads (one a core), rows of {given.seq_len}, micro-batches of {given.micro_batch} rows"
    )


def told_compile(ours: Contender, compiled: Contender) -> None:
    """What compiling costs, and when it pays."""
    per_step = [statistics.median(t.seconds for t in contender.took) for contender in (ours, compiled)]
    gain, cost = per_step[0] - per_step[1], compiled.first - per_step[1]
    pays = f"pays after {cost / gain:.0f} steps" if gain > 0 else "never pays"
    print(f"compiled layers: {ratio(compiled.rates, ours.rates):.2f} x ours; compiling took {cost:.0f} s, {pays}")


def main() -> None:
    """The whole measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seq-len", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--micro-batch", type=int, default=8)
    parser.add_argument("--plain-rows", type=int, default=32, help="texts in a batch of the plain loops")
    parser.add_argument("--folder", type=Path, help="keeps texts and tokenizer for the next time")
    parser.add_argument("--peer", default="", help="a minimind checkout, whose model and loop are timed as well")
    parser.add_argument("--overhead", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--only", nargs="+", help="these contenders; ours is always there")
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    if not asked.quick and not (DATA / "classics_bitext.parquet").is_file():
        print(f"{DATA} lacks classics_bitext.parquet: put it there, or give --quick for the bundled sample")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = (asked.folder or Path(name)).resolve()
        measure(asked, folder)


def measure(asked: argparse.Namespace, folder: Path) -> None:
    """Prepare the texts, start everyone, let them take turns, tell."""
    nowhere = Path("nowhere")
    texts = raw_texts(nowhere if asked.quick else DATA)
    prepared(folder, texts, QUICK_TEXTS if asked.quick else TEXTS)
    shape: dict[str, Any] = dict(QUICK_SHAPE if asked.quick else SHAPE)
    shape["vocab_size"] = Codec(folder / "tokenizer").vocab_size
    if not asked.quick:
        assert shape["vocab_size"] == VOCABULARY, shape
    given = Given(
        name="ours",
        folder=str(folder),
        shape=shape,
        seq_len=asked.seq_len,
        batch_size=4 if asked.quick else asked.batch_size,
        micro_batch=2 if asked.quick else asked.micro_batch,
        plain_rows=4 if asked.quick else asked.plain_rows,
        peer=asked.peer,
    )
    names = ["padded", "unpadded", "ours"]
    names += ["peer"] * bool(asked.peer) + ["bare"] * asked.overhead + ["compiled"] * asked.compile
    names = [name for name in names if not asked.only or name in (*asked.only, "ours")]
    precision = resolve_precision("auto")
    keep_freed()
    print(f"shape {shape}; plain loops: {ROW} tokens a row", flush=True)
    contenders = [Contender(replace(given, name=name)) for name in names]
    report(contenders, in_turns(contenders, asked.repeats, precision), given, precision)


if __name__ == "__main__":
    main()
