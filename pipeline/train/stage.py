"""Training as a stage: what stands around the loop, from the folders that come in to the model that goes out.

`run()` decides whether there is anything to do, refuses what a run cannot follow, restores the newest
checkpoint, hands over to `loop.train`, and publishes. It is called once in every process of a launch; rank 0
alone writes.
"""

from __future__ import annotations

import dataclasses
import math
import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

import model as architectures
from pipeline.train import checkpoints, guards, lineage, report
from pipeline.train.checkpoints import State
from pipeline.train.config import ModelConfig, TrainConfig, Verb
from pipeline.train.engine import DTYPES, Engine, Weights, resolve_precision, start
from pipeline.train.feed import Feed, Sequences, ShardFeed, batches, held_out
from pipeline.train.log import Log, peak_flops
from pipeline.train.loop import Run, idle, on, train
from pipeline.train.objectives import OBJECTIVES
from pipeline.train.publish import publish
from pipeline.train.schedules import decay_start
from utils.codec import Codec
from utils.console import UserError, say, tell, warn
from utils.scoring import Tally
from utils.stage import MANIFEST, Json, lock, manifest, write_json, write_manifest

TOKENS_AT_ONCE = {"cpu": 8_192, "cuda": 32_768}
"""What micro_batch=auto works on at once, by device."""


@dataclass(frozen=True)
class Task:
    """One verb of one recipe, with the folders it reads and the one it writes."""

    verb: Verb
    config: TrainConfig
    model: ModelConfig
    tokenizer: Path
    pack: Path
    init: Path | None
    """The model folder that a finetune begins with; None begins with random weights."""
    output: Path
    overwrite: bool = False


def run(task: Task) -> bool:
    """Train, or go on training, or find that there is nothing to do (False)."""
    precision_of_run = (lineage.known_run(task.output) or {}).get("precision")
    now = describe(task)
    if task.overwrite and lineage.changes(task.output, now):
        _set_aside_once(task.output)
        precision_of_run = None
    elif found := lineage.changes(task.output, now):
        lineage.refuse(task.output, found)
    codec = Codec(task.tokenizer)
    precision = precision_of_run or resolve_precision(task.config.precision)
    feed = OBJECTIVES[task.verb].open_feed(task.config, task.pack, codec, task.output / "plan")
    total = horizon(task, feed)
    if finished(task.output, total):
        return False
    guards.die_with_launcher()
    model = new_model(task, codec)  # before an engine is there that would have a say in how models are built
    engine = start(task.config, precision)
    with ExitStack() as stack:
        if engine.rank == 0:
            stack.enter_context(lock(task.output))
            (task.output / MANIFEST).unlink(missing_ok=True)  # until it is finished again
            write_json(task.output / lineage.RUN, now | {"precision": precision})
        _train(task, codec, model, feed, engine, total, now)
        engine.close()
    return True


def describe(task: Task) -> Json:
    """What identifies this run: see `lineage`."""
    streamed = bool(getattr(task.config, "stream", ""))
    if not streamed:
        lineage.check_shards(task.pack, task.tokenizer)
    inputs = lineage.read_from(task.verb, task.tokenizer, None if streamed else task.pack, task.init)
    return {"recipe": lineage.settled(task.verb, task.config, task.model), "inputs": inputs}


def _set_aside_once(output: Path) -> None:
    """Every process of a launch comes by; the first one moves the folder."""
    if int(os.environ.get("RANK", "0")) == 0:
        lineage.set_aside(output)


def horizon(task: Task, feed: Feed) -> int:
    """How many steps the run has in all."""
    config = task.config
    if config.max_steps is not None:
        return config.max_steps
    if config.max_tokens is not None:
        return math.ceil(config.max_tokens / (config.batch_size * config.seq_len))
    assert config.epochs is not None
    return math.ceil(config.epochs * feed.sequences / config.batch_size)


def finished(output: Path, total: int) -> bool:
    """Is there a complete model of exactly this horizon?"""
    known = manifest(output)
    return known is not None and known["counters"]["steps"] == total


# ---------------------------------------------------------------- one run


def _train(task: Task, codec: Codec, model: PreTrainedModel, feed: Feed, engine: Engine, total: int, now: Json) -> None:
    config = task.config
    restored = _restore(task, total)
    state, weights = restored or (State(), None)
    state = dataclasses.replace(state, total=total, decay_start=decay_start(config, total))
    feed.seek(state.cursors)
    _announce(task, engine, feed, model, state)
    flops = architectures.flops_per_token(model, config.seq_len)
    engine.prepare(model, weights)
    log = Log(task.output, task.verb, config.wandb, state, total, now["recipe"])
    streamed = bool(getattr(config, "stream", ""))
    windows = {} if streamed else held_out(task.pack, task.verb, config.seq_len, task.output / "plan")
    micro = micro_batch_of(config, engine.world, engine.device.type)
    run_ = Run(
        config=config,
        engine=engine,
        feed=feed,
        objective=OBJECTIVES[task.verb],
        log=log,
        total=total,
        micro_batch=micro,
        flops_per_token=flops,
        peak_flops=peak_flops(engine.device, DTYPES[engine.precision]) if engine.rank == 0 else 1.0,
        save=lambda s: _save(task, s, engine, feed, model, codec, now),
        look=lambda s: log.held_out(s.step, look(windows, engine, codec, micro)) if windows else None,
    )
    try:
        with guards.stop_request() as request:
            state = train(run_, state, lambda: request.signum)
            run_.look(state)
    finally:
        log.close()
    if engine.rank == 0:
        _finish(task, state, now)


def new_model(task: Task, codec: Codec) -> PreTrainedModel:
    """The model before its first step: random by the seed, or the one that a finetune begins with."""
    if task.init:
        try:
            model = architectures.load(task.init, torch.float32)
        except ValueError as error:
            raise UserError(str(error)) from None
    else:
        torch.manual_seed(task.config.seed)
        fields = {"max_position_embeddings": max(task.config.seq_len, 1024), **task.model.fields}
        marks = {"eos_token_id": codec.end_of_turn, "pad_token_id": codec.pad, "bos_token_id": codec.end_of_text}
        try:
            shape = architectures.family_config(task.model.family, fields | {"vocab_size": codec.vocab_size})
            for name, value in marks.items():
                setattr(shape, name, value)
            model = architectures.build(shape)
        except ValueError as error:
            raise UserError(f"model: {error}") from None
    room = model.config.max_position_embeddings
    if room < task.config.seq_len:
        raise UserError(
            f"{task.verb}.seq_len = {task.config.seq_len} is beyond the model's max_position_embeddings = {room}"
        )
    if task.config.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    return model


def micro_batch_of(config: TrainConfig, world: int, device: str) -> int:
    """Rows at once: as given, or what fits comfortably."""
    share = math.ceil(config.batch_size / world)
    wanted = TOKENS_AT_ONCE[device] // config.seq_len if config.micro_batch == "auto" else config.micro_batch
    return max(1, min(share, wanted))


def _restore(task: Task, total: int) -> tuple[State, Weights] | None:
    found = checkpoints.saved(task.output)
    if found and not task.config.resume:
        raise UserError(f"{task.output} holds a run and resume=false; choose another workspace=, or overwrite=True")
    restored = checkpoints.restore(task.output, total) if found else None
    if restored and restored[0].step > total:
        raise UserError(
            f"{task.output} is at step {restored[0].step} already, beyond the {total} asked for; ask for more steps"
        )
    if found and restored is None:
        say(
            tell(
                f"{task.verb}: no checkpoint to go on from; beginning again", f"{task.verb}：没有可用的检查点，从头开始"
            )
        )
    return restored


def _announce(task: Task, engine: Engine, feed: Feed, model: PreTrainedModel, state: State) -> None:
    size = sum(p.numel() for p in model.parameters()) / 1e6
    share = math.ceil(task.config.batch_size / engine.world) * engine.world - task.config.batch_size
    if share:
        warn(f"{task.verb}.batch_size = {task.config.batch_size} does not divide by {engine.world} processes: "
             f"{share} idle rows a step")  # fmt: skip
    say(
        tell(
            f"{task.verb}: {size:.1f} M parameters, {state.total} steps of {task.config.batch_size} x "
            f"{task.config.seq_len} tokens, {engine.name} x {engine.world} on {engine.device.type}, {engine.precision}",
            f"{task.verb}：{size:.1f} M 参数，{state.total} 步，每步 {task.config.batch_size} x "
            f"{task.config.seq_len} 词元，{engine.name} x {engine.world}（{engine.device.type}，{engine.precision}）",
        )
    )
    if isinstance(feed, ShardFeed):
        _tell_left_out(task, feed)
    if state.step:
        say(tell(f"{task.verb}: going on from step {state.step}", f"{task.verb}：从第 {state.step} 步继续"))


def _tell_left_out(task: Task, feed: ShardFeed) -> None:
    """What binning cut or left out, and sources that the mix gives no share."""
    notes = [f"{name} {count:,}" for name, count in feed.counts.items() if count and name in ("cut", "left_out")]
    if feed.left_aside:
        notes.append(tell(f"not in the mix: {', '.join(feed.left_aside)}", f"未列入配比：{', '.join(feed.left_aside)}"))
    if notes:
        say(f"{task.verb}: {'; '.join(notes)}")


def _save(
    task: Task, state: State, engine: Engine, feed: Feed, model: PreTrainedModel, codec: Codec, now: Json
) -> None:
    """A checkpoint and a model that can be talked to. All ranks take part; a full disk costs this one only."""
    state = dataclasses.replace(state, cursors=_all_cursors(feed, engine))
    weights = engine.weights()
    if weights is None:
        return
    with guards.survive_full_disk(f"step {state.step}"):
        checkpoints.save(task.output, state, weights)
        checkpoints.prune(task.output, task.config.keep, state.decay_start)
    training = {"verb": task.verb, "step": state.step, "of": state.total, "tokens": state.tokens, **now}
    with guards.survive_full_disk(f"model/ of step {state.step}"):
        publish(model, weights.masters, codec, training, task.output / "model")


def _all_cursors(feed: Feed, engine: Engine) -> Json:
    """Every rank's lanes of a stream, together; a rank may have none, and takes part all the same."""
    mine = feed.cursors()
    if engine.world == 1 or isinstance(feed, ShardFeed):
        return mine
    parts: list[Any] = [None] * engine.world
    torch.distributed.all_gather_object(parts, mine)
    return {lane: cursor for part in parts for lane, cursor in part.items()}


def look(windows: dict[str, Sequences], engine: Engine, codec: Codec, rows: int) -> dict[str, float]:
    """Held-out bits per byte by source, the windows shared out; every rank scores as often, as ZeRO-3 needs."""
    lengths = codec.text_bytes(np.arange(codec.vocab_size))
    tally = Tally(list(windows))
    for source, sequences in windows.items():
        calls = math.ceil(math.ceil(len(sequences) / rows) / engine.world)
        mine = iter(batches(sequences, rows, engine.rank, engine.world))
        for _ in range(calls):
            window = next(mine, None)
            nats_NL = engine.score(on(engine.device, window or idle(engine.config.seq_len))).float().cpu().numpy()
            if window is not None:
                tally.add(source, nats_NL, window.targets, lengths)
    tally.sums_S3[:] = np.reshape(engine.sum(tally.sums_S3.ravel().tolist()), tally.sums_S3.shape)
    return tally.bits_per_byte()


def _finish(task: Task, state: State, now: Json) -> None:
    """The manifest comes last: it says that the model is complete."""
    training = task.output / "model" / "training.json"
    if not training.is_file() or f'"step": {state.step}' not in training.read_text(encoding="utf-8"):
        raise UserError(
            f"disk full: the finished model could not be saved in {task.output}; free some space and run again"
        )
    report.write(task.output, task.verb, state)
    counters = {"steps": state.total, "tokens": state.tokens, "sequences": state.consumed}
    packages = ("torch", "transformers", "accelerate", "safetensors")
    write_manifest(task.output, task.verb, now["recipe"], now["inputs"], counters, packages, among="model")
    say(tell(f"{task.verb}: done, {task.output / 'model'}", f"{task.verb}：完成，{task.output / 'model'}"))
