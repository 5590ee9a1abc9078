"""Training as a stage: what stands around the loop, from the folders that come in to the model that goes out.

`run()` decides whether there is anything to do, refuses what a run cannot follow before it writes anything,
restores the newest checkpoint, hands over to `loop.train`, and publishes. It is called once in every process of
a launch; rank 0 alone writes.
"""

from __future__ import annotations

import dataclasses
import math
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import PreTrainedModel

import model as architectures
from pipeline.train import checkpoints, compiling, guards, lineage, record
from pipeline.train.announce import announce, announce_choices, announce_optimizer, tell_empty_places
from pipeline.train.checkpoints import State
from pipeline.train.config import TrainConfig
from pipeline.train.dealing import even_share
from pipeline.train.engine import Engine, Weights, resolve_precision, start
from pipeline.train.feed import Feed, sequences_of
from pipeline.train.files import Files
from pipeline.train.fitting import fitted
from pipeline.train.hardware import DTYPES, peak_flops
from pipeline.train.held_out import look
from pipeline.train.horizon import horizon, steps
from pipeline.train.log import Log
from pipeline.train.loop import Run, train
from pipeline.train.objectives import OBJECTIVES
from pipeline.train.plan.rehearsal import same_batch
from pipeline.train.publish import published_step, template
from pipeline.train.samples import Samples
from pipeline.train.schedules import decay_start, warm_up
from pipeline.train.task import Task
from utils.codec import Codec
from utils.console import UserError, rank, say, tell
from utils.published import opened
from utils.shard_check import refuse_damaged_shards
from utils.stage import MANIFEST, Json, damaged_files, lock, manifest, whole, write_json, write_manifest

TOKENS_AT_ONCE = {"cpu": 8_192, "cuda": 32_768}
"""What micro_batch=auto works on at once, by device; on a GPU only where nothing can be tried (`fitting.py`)."""

RECIPE = "recipe.yaml"


def run(task: Task) -> bool:
    """Train, or go on training, or find that there is nothing to do (False)."""
    now = describe(task)
    found = lineage.changes(task.output, now)
    replaced = task.overwrite and task.output.exists() and (bool(found) or not task.config.resume)
    if found and not replaced:
        lineage.refuse(task.output, found)
    if not replaced and finished(task):
        return False
    if not replaced and not task.config.resume and checkpoints.saved(task.output):
        raise UserError(f"{task.output} holds a run and resume=false; choose another workspace=, or overwrite=True")
    known = {} if replaced else lineage.known_run(task.output) or {}
    precision = known.get("precision") or resolve_precision(task.config.precision)
    codec = Codec(task.tokenizer)
    with ExitStack() as stack:
        if rank() == 0:
            stack.enter_context(lock(task.output))
            if not replaced:
                checkpoints.adopt(task.output)
                checkpoints.refuse_none(task.output)
        model = new_model(task, codec)  # before an engine is there that would have a say in how models are built
        if rank() == 0:  # before other ranks could wait for this one, and before an earlier run is set aside
            if not task.config.streamed:
                refuse_damaged_shards(task.pack, task.verb, codec.vocab_size, task.plan)
            elif replaced:
                OBJECTIVES[task.verb].open_feed(task.config, task.pack, codec, task.plan)
        engine = start(task.config, precision)
        if engine.rank == 0 and replaced:
            lineage.keep_apart(task.output)
        engine.wait()  # nobody looks into the folder before it is the one we write
        _train(task, codec, model, engine, now | {"precision": precision})
        engine.close()
    return True


def describe(task: Task) -> Json:
    """What identifies this run: see `lineage`."""
    if not task.config.streamed:
        lineage.check_shards(task.pack, task.tokenizer)
    inputs = lineage.read_from(task.verb, task.tokenizer, None if task.config.streamed else task.pack, task.init)
    return {"recipe": lineage.settled(task.verb, task.config, task.model), "inputs": inputs}


def finished(task: Task) -> bool:
    """Is there a complete model of exactly this horizon?"""
    known = manifest(task.output)
    if known is None or known["counters"].get("horizon") != horizon(task.config):
        return False
    return not damaged_files(task.output, known)


# ---------------------------------------------------------------- one run


def _train(task: Task, codec: Codec, model: PreTrainedModel, engine: Engine, now: Json) -> None:
    config = task.config
    feed, windows = _open_data(task, codec, engine)
    total = steps(config, feed)
    samples = Samples(task.verb, config.samples, model, codec)
    state, weights = _begin(task, engine, total, now)
    feed.seek(state.cursors)
    announce(task.verb, config, engine, feed, model, state)
    flops = architectures.flops_per_token(model, 0), architectures.flops_per_pair(model)
    micro = fitted(config, model, engine, micro_batch_of(config, engine.world, engine.device.type))
    peak = peak_flops(engine.device, DTYPES[engine.precision]) if engine.rank == 0 else 1.0
    whole_run = total * config.batch_size * config.seq_len * flops[0] / engine.world
    choice = compiling.choose(config, engine.name, whole_run, peak, state.compiled)
    tell_empty_places(task.verb, config.batch_size, engine.world, micro.piece)
    announce_choices(task.verb, config, engine, micro.rows, choice)
    wanted = engine.sum([float(choice.wanted and engine.rank == 0)])[0] > 0  # rank 0 knows the peak
    state = dataclasses.replace(state, compiled=wanted)
    engine.prepare(model, weights, same_batch(engine.device, micro.rows, config.seq_len) if wanted else None)
    del weights  # the engine has them: they need not fill the memory of the whole run
    announce_optimizer(task.verb, engine)
    log = Log(task.output, task.verb, config.wandb, state, total, task.recipe)
    files = Files(task, engine, codec, template(model), now, log)

    def look_here(state: State) -> State:
        with engine.as_written():
            bpb = look(windows, engine, codec, micro.rows) if windows else {}
            return looked(state, config, log, bpb, samples.speak())

    run_ = Run(
        config=config,
        engine=engine,
        feed=feed,
        objective=OBJECTIVES[task.verb],
        log=log,
        total=total,
        micro_batch=micro,
        flops=flops,
        peak_flops=peak,
        save=files.save,
        look=look_here,
        back=lambda step: files.back(step, feed, total),
        dump=files.dump,
        record=files.record,
    )
    try:
        with guards.stop_request() as request:
            state = train(run_, state, lambda: request.signum)
            files.publish_last(state)
    finally:
        files.close()
        log.close()
    if engine.rank == 0:
        _finish(task, state, now, codec)


def _begin(task: Task, engine: Engine, total: int, now: Json) -> tuple[State, Weights | None]:
    """Where the run begins, or goes on; from here on the folder is its own."""
    config = task.config
    new = State(warm=warm_up(config, total), seed=config.seed, made_from=now)
    state, weights = checkpoints.restore(task.output, total, now) or (new, None)
    engine.wait()  # nothing is cleared away that another rank still reads
    state = dataclasses.replace(state, total=total, decay_start=decay_start(config, total))
    if engine.rank == 0:
        _claim(task, state, now)
    engine.wait()
    return state, weights


def looked(state: State, config: TrainConfig, log: Log, bpb: dict[str, float], said: list[tuple[str, str]]) -> State:
    """The state, which knows the best step so far, once held-out text was scored and the recipe's samples spoken."""
    if bpb:
        log.held_out(state.step, bpb)
    if said:
        log.samples(state.step, said)
    best = math.inf if state.best_bpb is None else state.best_bpb
    if not (config.keep_best and config.eval_every) or bpb.get("all", math.inf) >= best:
        return state
    return dataclasses.replace(state, best_step=state.step, best_bpb=bpb["all"])


def _open_data(task: Task, codec: Codec, engine: Engine) -> tuple[Feed, dict[str, Any]]:
    """The feed, and what is held out. Rank 0 goes first: it makes the plan that the others then read, and finds the
    stream (a revision of the hub) that they hold to."""

    def opened() -> tuple[Feed, dict[str, Any]]:
        feed = OBJECTIVES[task.verb].open_feed(task.config, task.pack, codec, task.plan)
        if task.config.streamed:
            return feed, {}
        return feed, sequences_of(task.pack, task.verb, "valid", task.config.seq_len, task.plan)

    if engine.rank == 0:
        feed, windows = opened()
    engine.wait()
    if engine.rank > 0:
        feed, windows = opened()
    first, *_ = engine.gather(feed.cursors())
    feed.seek(first)
    return feed, windows


def _claim(task: Task, state: State, now: Json) -> None:
    """From here on the folder is this run's: what it leaves out of an earlier one goes, and a damaged model."""
    known = manifest(task.output)
    if known and damaged_files(task.output, known):
        shutil.rmtree(task.output / "model", ignore_errors=True)  # written again from the last checkpoint
    (task.output / MANIFEST).unlink(missing_ok=True)  # until it is finished again
    checkpoints.forget_beyond(task.output, state.step)
    record.forget_beyond(task.output, state.step)
    write_json(task.output / lineage.RUN, now)
    with whole(task.output / RECIPE) as draft:
        draft.write_text(yaml.safe_dump(task.recipe, allow_unicode=True, sort_keys=False), encoding="utf-8")


def new_model(task: Task, codec: Codec) -> PreTrainedModel:
    """The model before its first step: random by the seed, or the one that a finetune begins with."""
    try:
        model = _known_model(task.init) if task.init else _random_model(task, codec)
    except ValueError as error:
        raise UserError(str(error)) from None
    room = model.config.max_position_embeddings
    if room < task.config.seq_len:
        raise UserError(
            f"{task.verb}.seq_len = {task.config.seq_len} is beyond the model's max_position_embeddings = {room}; "
            "give shorter rows, or train a model with more positions"
        )
    architectures.checkpoint_activations(model, task.config.gradient_checkpointing)
    return model


def _known_model(folder: Path) -> PreTrainedModel:
    """The weights a finetune begins with."""
    return opened(folder, lambda place: architectures.load(place, torch.float32))


def _random_model(task: Task, codec: Codec) -> PreTrainedModel:
    torch.manual_seed(task.config.seed)
    fields = task.model.completed(task.config.seq_len, codec.vocab_size)
    shape = architectures.family_config(task.model.family, fields)
    shape.eos_token_id, shape.pad_token_id, shape.bos_token_id = codec.end_of_turn, codec.pad, codec.end_of_text
    return architectures.build(shape)


def micro_batch_of(config: TrainConfig, world: int, device: str) -> int:
    """Rows at once: as given, or what is fast on a CPU and usually fits on a GPU."""
    share = even_share(config.batch_size, world)
    wanted = TOKENS_AT_ONCE[device] // config.seq_len if config.micro_batch == "auto" else config.micro_batch
    return max(1, min(share, wanted))


def _finish(task: Task, state: State, now: Json, codec: Codec) -> None:
    """The manifest comes last: it says that the model is complete."""
    if published_step(task.output / "model", codec) != state.step:
        raise UserError(
            f"{task.output}: the finished model could not be saved (a full disk, or ulimit -f); make room and run again"
        )
    counters = {"steps": state.total, "horizon": horizon(task.config), "tokens": state.tokens}
    packages = ("torch", "transformers", "accelerate", "safetensors")
    write_manifest(task.output, task.verb, now["recipe"], now["inputs"], counters, packages, among="model")
    where = task.output / "model"
    say(tell(f"{task.verb}: done, {where}", f"{task.verb}：完成，{where}"))
