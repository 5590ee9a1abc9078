"""Contract 6: a checkpoint knows no engine.

`checkpoints/step-N/` holds the fp32 masters and each moment by parameter name (safetensors), `state.json`, and
a manifest that is written last. It appears under its name only when whole; a damaged one is skipped with a
message and the one before it is used. Nothing is ever unpickled.
"""

from __future__ import annotations

import dataclasses
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from safetensors.torch import load_file, save_file

from pipeline.train import lineage
from pipeline.train.engine import Weights
from utils.console import UserError, tell, warn
from utils.stage import Json, differences, discard, hash_file, manifest, read_json, sync, write_json, write_manifest

FOLDER = "checkpoints"
STATE, MASTERS = "state.json", "masters.safetensors"


@dataclass(frozen=True)
class State:
    """Where a run stands: with the weights, all that it needs to go on as if it had never stopped."""

    step: int = 0
    consumed: int = 0
    """Sequences: the feed's whole state."""
    tokens: int = 0
    """Trained tokens so far."""
    total: int = 0
    """Steps of the run as its horizon stood."""
    decay_start: int = 0
    """Where that horizon's decay began; a longer run goes on from no later step."""
    warm: int = 0
    """Steps of warm-up, as the run began."""
    seed: int = 0
    """Of the initial weights and the order; nothing else is drawn that is not seeded by `consumed`."""
    made_from: Json = field(default_factory=dict)
    """Fingerprints of recipe, tokenizer and shards: see lineage.py."""
    updates: int = 0
    """Optimizer steps: fewer than steps where a gradient was not finite."""
    loss_scale: float = 1.0
    since_overflow: int = 0
    cursors: Json = field(default_factory=dict)
    """A stream's lanes: this rank's while it trains, all in a checkpoint; empty for shards."""
    wandb_id: str = ""
    compiled: bool | None = None
    """Did the run compile its layers, where that was left to us? Compiled code rounds otherwise."""
    skipped: int = 0
    """Steps that changed nothing, because no gradient was finite."""
    best_step: int = 0
    """Where held-out text was best predicted; 0 until somebody looked."""
    best_bpb: float | None = None


def save(output: Path, state: State, weights: Weights) -> Path:
    """Write one checkpoint; called on rank 0 alone."""
    place = output / FOLDER / f"step-{state.step}"
    draft = place.with_name(f".{place.name}.part")
    discard(draft)
    draft.mkdir(parents=True)
    try:
        save_file(weights.masters, draft / MASTERS)
        for key, values in weights.moments.items():
            save_file(values, draft / f"{key}.safetensors")
        write_json(draft / STATE, dataclasses.asdict(state))
        write_manifest(draft, "checkpoint", {}, {}, {}, ("torch", "safetensors"))
        discard(place)
        os.replace(draft, place)
        sync(place.parent)
    finally:
        discard(draft)
    return place


def saved(output: Path) -> list[tuple[int, Path]]:
    """Checkpoints by step, newest first."""
    named = [(re.fullmatch("step-([0-9]+)", path.name), path) for path in (output / FOLDER).glob("step-*")]
    return sorted(((int(name[1]), path) for name, path in named if name and path.is_dir()), reverse=True)


def prune(output: Path, keep: int, every: int, state: State) -> None:
    """Keep the newest `keep`, those whose steps `every` divides, the best one, and where longer runs begin."""
    for step, place in saved(output)[keep:]:
        if _may_go(step, every, state):
            discard(place)


def drop_oldest(output: Path, every: int, state: State) -> bool:
    """Make room by one of those that `prune` may remove, but never by the newest: was there one?"""
    found = [place for step, place in saved(output)[1:] if _may_go(step, every, state)]
    if found:
        discard(found[-1])
    return bool(found)


def _may_go(step: int, every: int, state: State) -> bool:
    return step not in (state.decay_start, state.best_step) and not (every and step % every == 0)


def restore(output: Path, total: int, made_from: Json) -> tuple[State, Weights] | None:
    """The newest whole checkpoint that a run of `total` steps may go on from; None if there is none at all.

    Whole checkpoints of which none will do are not passed over: that is refused.
    """
    newest = 0
    for step, place in saved(output):
        problem = _damage(place, step)
        if problem:
            warn(tell(f"{place}: {problem}; skipped, on to the one before", f"{place}：{problem}；跳过，改看前一个"))
            continue
        state = _read_state(place)
        newest = max(newest, state.step)
        if total < newest:
            raise UserError(
                f"{output} is at step {newest} already, beyond the {total} asked for; "
                "ask for as many (max_steps, max_tokens, epochs, min_steps), or choose another workspace="
            )
        if not lineage.same_run(state.made_from, made_from):
            found = "; ".join(differences(state.made_from, made_from)[:4])
            raise UserError(f"{place}: of another run than the folder it lies in ({found}); move it away")
        if state.total != total and state.step > state.decay_start:
            continue  # it has begun to decay towards another end
        return state, _read_weights(place, state)
    if newest:
        raise UserError(
            f"{output}: no checkpoint from before the decay is left to go on from; {_beginning_anew(output)}"
        )
    if saved(output):  # to begin anew would remove them, and they may be mended
        raise UserError(f"{output / FOLDER}: no checkpoint is whole; restore one, or {_beginning_anew(output)}")
    return None


def _beginning_anew(output: Path) -> str:
    """What helps where nothing changed that `overwrite` alone would ask about."""
    return f"overwrite=True {output.name}.resume=False sets this run aside and trains anew, workspace= keeps both"


def adopt(output: Path) -> None:
    """A checkpoint that was whole when its process was killed, and had no name yet, gets it."""
    for draft in (output / FOLDER).glob(".step-*.part"):
        name = re.fullmatch(r"\.(step-([0-9]+))\.part", draft.name)
        if name and not draft.with_name(name[1]).exists() and not _damage(draft, int(name[2])):
            os.replace(draft, draft.with_name(name[1]))


def refuse_none(output: Path) -> None:
    """A model whose checkpoints were deleted cannot be trained further; beginning anew would write over it."""
    if (output / "model" / "model.safetensors").is_file() and not saved(output):
        raise UserError(
            f"{output}: its model is there, its checkpoints are not, so training cannot go on; put them back, or "
            f"{_beginning_anew(output)}"
        )


def forget_beyond(output: Path, step: int) -> None:
    """Remove what the run that goes on from `step` will write again: other lineages, and damaged ones."""
    for number, place in saved(output):
        if number > step:
            discard(place)
    for draft in (output / FOLDER).glob(".step-*.part"):  # of a process that was killed
        discard(draft)


def _read_state(place: Path) -> State:
    """An older version's lacks what came later; what this one does not know cannot be done without."""
    told = read_json(place / STATE)
    unknown = sorted(told.keys() - {f.name for f in dataclasses.fields(State)})
    if unknown:
        raise UserError(f"{place}: of a newer version of Yaya ({', '.join(unknown)}); update, or move it away")
    return State(**told)


def _damage(place: Path, step: int) -> str:
    try:
        known = manifest(place)
    except UserError:
        known = None
    if known is None or not {STATE, MASTERS} <= known["files"].keys():
        return "its manifest is missing or damaged"
    for name, entry in known["files"].items():
        path = place / name
        if not path.is_file() or path.stat().st_size != entry["size"] or hash_file(path) != entry["hash"]:
            return f"{name} is damaged"
    found = read_json(place / STATE).get("step")
    return "" if found == step else tell(f"holds step {found}", f"里面是第 {found} 步")


def _read_weights(place: Path, state: State) -> Weights:
    """The masters, and whatever the optimizer remembered: a file for each of its keys."""
    known = manifest(place)
    assert known is not None
    tensors = {Path(name).stem: load_file(place / name) for name in known["files"] if name.endswith(".safetensors")}
    masters = tensors.pop("masters")
    return Weights(masters, tensors, state.updates, state.loss_scale, state.since_overflow)
