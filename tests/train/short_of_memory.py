"""A machine that runs out of memory when a rank works on too many rows at once: what `test_fitting.py` runs.

    short_of_memory.py LIMIT FROM_CALL train RECIPE [section.key=value …]   # a whole run
    short_of_memory.py LIMIT,FROM_CALL,PRECISION,MICRO_BATCH …              # steps of one engine, and their losses

The exception is the one that CUDA's allocator raises, out of the model's own forward pass; with several ranks only the
last one runs out.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from typing import Any

import torch

import model as architectures
from model.gpt import YayaGPTForCausalLM
from pipeline.train.config import PretrainConfig
from pipeline.train.dealing import micro_batches, on, rounds, share
from pipeline.train.engine import start
from pipeline.train.fitting import MicroBatch
from pipeline.train.objectives.base import next_token_loss
from pipeline.train.rows import Rows
from utils.console import run_program, say

ROWS, LENGTH, STEPS = 16, 32, 6


@dataclass
class Room:
    """From that call of the model on, more rows than `limit` do not fit."""

    limit: int
    from_call: int
    calls: int = 0


def run_short(room: Room) -> None:
    """Let the model run out of it."""
    forward = YayaGPTForCausalLM.forward
    last = os.environ.get("RANK", "0") == str(int(os.environ.get("WORLD_SIZE", "1")) - 1)

    def short(self: Any, input_ids: torch.Tensor, **rest: Any) -> Any:
        room.calls += 1
        found = forward(self, input_ids=input_ids, **rest)
        if last and room.calls >= room.from_call and len(input_ids) > room.limit:
            raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {len(input_ids)} rows")
        return found

    YayaGPTForCausalLM.forward = short  # type: ignore[method-assign]


def rows_of(step: int, mine: range) -> Rows:
    """A batch of noise, the same for any number of ranks; this rank's rows of it."""
    generator = torch.Generator().manual_seed(step)
    ids = torch.randint(0, 100, (ROWS, LENGTH + 1), generator=generator, dtype=torch.int32).numpy()
    places = torch.arange(LENGTH, dtype=torch.int32).expand(ROWS, -1).numpy()
    kept = slice(mine.start, mine.stop)
    return Rows(ids[kept, :-1], ids[kept, 1:], places[kept])


def losses(precision: str, micro_batch: str) -> list[float]:
    """Of a few steps; `auto` begins with all of a rank's rows, `auto8` with 8 of them."""
    auto = micro_batch.startswith("auto")
    given: Any = "auto" if auto else int(micro_batch)
    config = PretrainConfig(batch_size=ROWS, seq_len=LENGTH, max_steps=STEPS, micro_batch=given, clip=0.5)
    torch.manual_seed(0)
    fields = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    model = architectures.build(architectures.family_config("gpt", {**fields, "vocab_size": 100}))
    engine = start(config, precision)
    engine.prepare(model, None)
    mine = share(ROWS, engine.rank, engine.world)
    first = int(micro_batch.removeprefix("auto") or len(mine))
    micro, found = MicroBatch(first, len(mine), config), []
    for number in range(STEPS):
        rows = rows_of(number, mine)

        def step(size: int, rows: Rows = rows) -> float:
            batches = micro_batches(rows, rounds(ROWS, engine.world, size), size)
            on_device = [on(engine.device, batch) for batch in batches]
            return engine.step(next_token_loss, on_device, ROWS * LENGTH, 1e-2).loss

        found.append(micro.take(step))
    return found


def main() -> None:
    """See the module's first paragraph."""
    room, words = Room(0, 0), sys.argv[1:]
    run_short(room)
    if "train" in words:
        from pipeline.verbs import dispatch

        room.limit, room.from_call = int(words[0]), int(words[1])
        dispatch(words[2:])
        return
    for word in words:
        limit, from_call, precision, micro_batch = word.split(",")
        room.limit, room.from_call, room.calls = int(limit), int(from_call), 0
        say(word + " " + json.dumps(losses(precision, micro_batch)))


if __name__ == "__main__":
    run_program(main)
