"""Those who are timed, each in a process of its own: `python -m bench.train_loops '{"name": …}'`.

A line on stdin asks for one step; a line of JSON on stdout says what it took. In between the process sleeps, so that
several can take turns on one machine, each with the threads, the allocator and the warm caches that are its own.

    padded      Qwen3 of transformers, fp32, every text padded to 340 or cut there, as many people write it
    unpadded    the same loop, the texts end to end in rows of 340 without padding (and without regard to their edges)
    ours        the product: its feed, its model and its engine's step
    compiled    the same, with layers compiled
    bare        our model and our micro-batches in the shortest loop that trains them in the precision that ours takes
    peer        a minimind checkout's own model and loop: fp32 on a CPU, texts padded to 340, 8 batches a step
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import module_from_spec, spec_from_file_location
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch

import model as architectures
from bench.train_texts import documents
from pipeline.train import dealing
from pipeline.train.config import PretrainConfig
from pipeline.train.engine import Engine, resolve_precision, start
from pipeline.train.feed import ShardFeed
from pipeline.train.objectives.base import Batch, next_token_loss, trained_tokens
from pipeline.train.rows import Rows

ROW = 340
"""What a peer pads every text to."""


@dataclass
class Took:
    """A step: useful tokens, and seconds."""

    tokens: int
    seconds: float
    forward: float = 0.0
    backward: float = 0.0
    update: float = 0.0
    seen: float = 0.0
    """Positions that a token attends to, on average."""


Step = Callable[[], Took]


@dataclass(frozen=True)
class Given:
    """What is to be timed, and how large it is."""

    name: str
    folder: str
    shape: dict[str, int]
    seq_len: int = 512
    batch_size: int = 32
    micro_batch: int = 8
    plain_rows: int = 32
    """Texts in a batch of the plain loops: what the peer's trainer has by default."""
    peer: str = ""


def make(given: Given) -> Step:
    """The step of one contender, prepared up to its first call."""
    torch.manual_seed(0)
    if given.name in ("padded", "unpadded"):
        return plain(given)
    if given.name == "peer":
        return peer(given)
    return bare(given) if given.name == "bare" else ours(given)


# ---------------------------------------------------------------- the loop that everyone writes


def padded_batches(folder: Path, rows: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The texts in order, so many at once, for ever."""
    texts = cycle(documents(folder))
    while True:
        yield padded([next(texts) for _ in range(rows)])


def padded(texts: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and labels (-100 on padding) of [texts, 340], a text a row, cut there if it is longer."""
    inputs = torch.zeros(len(texts), ROW, dtype=torch.long)
    labels = torch.full_like(inputs, -100)
    for row, text in enumerate(texts):
        tokens = torch.tensor(text[:ROW])
        inputs[row, : len(tokens)] = labels[row, : len(tokens)] = tokens
    return inputs, labels


def full_batches(folder: Path, rows: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The same texts end to end in rows that are full."""
    stream = torch.tensor([token for tokens in documents(folder) for token in tokens])
    size = rows * ROW
    for number in cycle(range(len(stream) // size)):
        batch = stream[number * size : (number + 1) * size].view(rows, ROW)
        yield batch, batch


def qwen3(shape: dict[str, Any]) -> Any:
    """transformers' own model of this shape, fp32."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(**shape, tie_word_embeddings=True)
    config._attn_implementation = "sdpa"
    return Qwen3ForCausalLM(config).float().train()


def plain(given: Given) -> Step:
    """transformers' Qwen3, AdamW, cross-entropy over all logits, fp32."""
    net = qwen3(given.shape)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, fused=True)
    batches = (padded_batches if given.name == "padded" else full_batches)(Path(given.folder), given.plain_rows)

    def step() -> Took:
        inputs, labels = next(batches)
        mask = (labels != -100).long() if given.name == "padded" else None
        began = time.perf_counter()
        loss = net(inputs, attention_mask=mask, labels=labels, use_cache=False).loss
        forward = time.perf_counter()
        loss.backward()
        backward = time.perf_counter()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        done = time.perf_counter()
        useful = int((labels[:, 1:] != -100).sum())
        return Took(useful, done - began, forward - began, backward - forward, done - backward)

    return step


def peer(given: Given) -> Step:
    """A minimind checkout: its model, and its pretraining loop as it runs on a CPU."""
    spec = spec_from_file_location("peer_model", Path(given.peer) / "model" / "model_minimind.py")
    assert spec
    assert spec.loader
    theirs = module_from_spec(spec)  # their package is called `model`, as ours is
    sys.modules[spec.name] = theirs
    spec.loader.exec_module(theirs)
    net = theirs.MiniMindForCausalLM(theirs.MiniMindConfig(**given.shape)).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-4)
    batches, accumulation = padded_batches(Path(given.folder), given.plain_rows), 8
    turn = 0

    def step() -> Took:
        nonlocal turn
        inputs, labels = next(batches)
        began = time.perf_counter()
        result = net(inputs, labels=labels)
        ((result.loss + result.aux_loss) / accumulation).backward()
        turn += 1
        if turn % accumulation == 0:
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return Took(int((labels[:, 1:] != -100).sum()), time.perf_counter() - began)

    return step


# ---------------------------------------------------------------- ours


def our_config(given: Given) -> PretrainConfig:
    return PretrainConfig(
        max_steps=1000, batch_size=given.batch_size, seq_len=given.seq_len, micro_batch=given.micro_batch, lr=1e-4
    )


def our_batches(given: Given, config: PretrainConfig) -> Iterator[tuple[list[Rows], int]]:
    """A step's micro-batches, and how many tokens they train."""
    feed = ShardFeed(Path(given.folder) / "pack", "pretrain", config.seq_len, 0, {}, Path(given.folder) / "plan")
    number = dealing.rounds(config.batch_size, 1, given.micro_batch)
    for turn in cycle(range(feed.sequences // config.batch_size)):
        rows = feed.rows(turn * config.batch_size, range(config.batch_size))
        yield dealing.micro_batches(rows, number, given.micro_batch), trained_tokens(rows)


def our_model(given: Given) -> Any:
    torch.manual_seed(0)
    net = architectures.build(architectures.family_config("gpt", given.shape))
    for name, weight in net.named_parameters():  # a fresh model's are zero, and zeros may be multiplied faster
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            torch.nn.init.normal_(weight, std=0.02)
    return net


def ours(given: Given) -> Step:
    """Feed, model and engine, as `loop.train` puts them together."""
    config = our_config(given)
    engine = start(config, resolve_precision(config.precision))
    net = our_model(given)
    engine.prepare(net, None)
    if given.name == "compiled":
        architectures.compile_layers(net)
    batches = our_batches(given, config)
    clock = Clock(engine)

    def step() -> Took:
        began = time.perf_counter()
        micro, count = next(batches)
        clock.forward = clock.update = 0.0
        engine.step(clock.loss, [dealing.on(engine.device, rows) for rows in micro], count, config.lr)
        took = time.perf_counter() - began
        seen = float(np.mean([rows.position_ids.mean() + 1 for rows in micro]))
        return Took(count, took, clock.forward, took - clock.forward - clock.update, clock.update, seen)

    return step


class Clock:
    """Time in the forward pass, and in the optimizer."""

    def __init__(self, engine: Engine):
        self.forward = self.update = self._began = 0.0
        optimizer: Any = engine.optimizer
        optimizer.inner.register_step_pre_hook(self._start)
        optimizer.inner.register_step_post_hook(self._stop)

    def loss(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        began = time.perf_counter()
        loss = next_token_loss(model, batch)
        self.forward += time.perf_counter() - began
        return loss

    def _start(self, *_: Any) -> None:
        self._began = time.perf_counter()

    def _stop(self, *_: Any) -> None:
        self.update += time.perf_counter() - self._began


def bare(given: Given) -> Step:
    """What has to be done, and nothing else: forward, backward, clipping, AdamW; in bf16 also fp32 sums of the
    gradients, and the copy back from the masters."""
    config = our_config(given)
    net = our_model(given).train()
    masters, copies = list(net.parameters()), []
    if resolve_precision(config.precision) == "bf16":
        copies = [(weight, weight.detach().clone().requires_grad_()) for weight in masters]
        masters = [master for _, master in copies]
        net.to(torch.bfloat16)
    matrices = [master for master in masters if master.dim() > 1]
    gains = [master for master in masters if master.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": gains, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.lr, fused=True)
    batches = our_batches(given, config)

    def step() -> Took:
        began = time.perf_counter()
        micro, count = next(batches)
        for rows in micro:
            (net(**dealing.on(torch.device("cpu"), rows)).loss_sum / count).backward()
            for weight, master in copies:
                assert weight.grad is not None
                master.grad = weight.grad.float() if master.grad is None else master.grad.add_(weight.grad)
                weight.grad = None
        torch.nn.utils.clip_grad_norm_(masters, 1.0, foreach=True)
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            for weight, master in copies:
                weight.copy_(master)
        return Took(count, time.perf_counter() - began)

    return step


def main() -> None:
    """Serve steps until stdin ends. Only JSON goes to stdout."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    given = Given(**json.loads(sys.argv[1]))
    step = make(given)
    for _ in sys.stdin:
        took = asdict(step()) | {"threads": torch.get_num_threads()}
        print(json.dumps(took), file=answers, flush=True)


if __name__ == "__main__":
    main()
