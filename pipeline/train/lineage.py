"""What a training run was made from, and whether it may go on. No torch here: the runner asks before it rebuilds.

A training folder outlives changes of its recipe, so `run.json` records the settled part of the recipe and the
identities of what was read. A run goes on if only its horizon, micro-batch, logging or saving changed; any
other change is refused with the difference and the two ways out.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from pipeline.train.config import FinetuneConfig, ModelConfig, PretrainConfig, TrainConfig
from utils.console import UserError, say, tell
from utils.shards import PACK_AGAIN
from utils.stage import (
    MANIFEST,
    Json,
    damaged_files,
    differences,
    hash_file,
    identity_of,
    manifest,
    read_objects,
    refuse_rewritten,
    set_aside,
)

RUN = "run.json"

READ = ("config.json", "model.safetensors")
"""Of a model folder, what a finetune reads."""

CONFIGS: dict[str, type[TrainConfig]] = {"pretrain": PretrainConfig, "finetune": FinetuneConfig}


def settled(verb: str, config: TrainConfig, model: ModelConfig) -> Json:
    """The part of a recipe that a run cannot change on its way."""
    fixed = {k: v for k, v in dataclasses.asdict(config).items() if k not in config.GOES_ON}
    shape: Json = {} if verb == "finetune" else {"model": {"family": model.family, **model.fields}}
    return json.loads(json.dumps(shape | {verb: fixed}))  # type: ignore[no-any-return]


def read_from(verb: str, tokenizer: Path, pack: Path | None, init: Path | None) -> Json:
    """The identities of what a run reads: the tokenizer, its own shards, and the weights that it begins with."""
    refuse_rewritten(tokenizer)
    inputs = {"tokenizer": _identity(tokenizer, ""), "pack": _identity(pack, f"{verb}/") if pack else None}
    return inputs | {"init": _weights(init) if init else None}


def _weights(init: Path) -> str:
    """The hash of the weights to begin with, which must be what was finished there."""
    path = init / "model.safetensors"
    if not path.is_file():
        raise UserError(f"{path}: not there; `python -m pipeline` trains it, or writes it again from its checkpoint")
    found = hash_file(path)
    known = manifest(init.parent)
    if known:
        damaged = [name for name in damaged_files(init.parent, known) if Path(name).name in READ]
        if known["files"].get("model/model.safetensors", {}).get("hash", found) != found:
            damaged.insert(0, "model/model.safetensors")
        if damaged:
            mend = "`python -m pipeline` writes it again from its checkpoint"
            raise UserError(f"{init.parent / damaged[0]}: damaged or missing; move {init} away, and {mend}")
    return found


def _identity(folder: Path, prefix: str) -> str:
    known = manifest(folder)
    if known is None:
        raise UserError(f"{folder}: not finished (no {MANIFEST}); `python -m pipeline` makes it")
    return identity_of({"files": {k: v for k, v in known["files"].items() if k.startswith(prefix)}})


def check_shards(pack: Path, tokenizer: Path) -> None:
    """Shards packed with another tokenizer would train nonsense."""
    known = manifest(pack)
    if known and known["inputs"].get("tokenizer", {}).get("identity") != _identity(tokenizer, ""):
        raise UserError(f"{pack}: packed with another tokenizer than {tokenizer}; {PACK_AGAIN}")


def known_run(output: Path) -> Json | None:
    """What an earlier run in this folder recorded, or None."""
    path = output / RUN
    return read_objects(path, "recipe", "inputs") if path.is_file() else None


def holds_run(output: Path) -> bool:
    """Was anything learned here that a change could spoil?"""
    return known_run(output) is not None and any((output / name).is_dir() for name in ("checkpoints", "model"))


def changes(output: Path, now: Json) -> list[str]:
    """How what is asked for differs from what an earlier run in this folder was; empty if it may go on."""
    known = known_run(output)
    if known is None or not holds_run(output):
        return []
    found = differences(_completed(known["recipe"]), now["recipe"])
    if "inputs" in now:
        found += [
            f"{name} was made again and differs" for name, i in now["inputs"].items() if known["inputs"].get(name) != i
        ]
    return found


def same_run(then: Json, now: Json) -> bool:
    """Is what a checkpoint was made from what a run is made from now?"""
    return {**then, "recipe": _completed(then.get("recipe", {}))} == now


def _completed(recipe: Json) -> Json:
    """An earlier run's recipe, with the fields that it did not know yet, for an option that is new changes no old run;
    without those that a run may go on with another value of by now."""
    completed = dict(recipe)
    for verb, kind in CONFIGS.items():
        if verb in recipe:
            defaults = {f.name: f.default for f in dataclasses.fields(kind)}
            known = {name: value for name, value in defaults.items() if value is not dataclasses.MISSING} | recipe[verb]
            completed[verb] = {name: value for name, value in known.items() if name not in kind.GOES_ON}
    return completed


def refuse(output: Path, found: list[str]) -> None:
    """The two ways out of a change that a run cannot follow."""
    raise UserError(
        f"{output}: trained with another recipe ({'; '.join(found[:4])}); "
        "choose another workspace=, or overwrite=True to set this run aside and train anew"
    )


def keep_apart(output: Path) -> None:
    """A trained model is never deleted: it moves to the next free name."""
    kept = set_aside(output)
    say(tell(f"{output}: the earlier run is kept as {kept}", f"{output}：先前的训练保留在 {kept}"))
