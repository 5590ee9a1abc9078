"""A recipe's stages in order: `python -m pipeline RECIPE`; and one training verb inside a launch: `train.py`.

Cheap stages run here, training runs as a child under `accelerate launch`, so one command uses all the GPUs
there are. Finished stages are skipped; a change that a trained model cannot follow is refused before anything
is rebuilt.
"""

from __future__ import annotations

import functools
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from pipeline import ranks
from pipeline.children import ROOT, run_child
from pipeline.recipe import Recipe, refuse_while_training
from pipeline.train import guards, lineage, restarts
from pipeline.train.config import Verb
from pipeline.train.stream_names import how_to_open
from pipeline.watch import watched
from utils.console import UserError, say, tell, warn
from utils.memory import kept_for_good
from utils.stage import MANIFEST, Json, config_json, damaged_files, manifest, why_stale

CHEAP = ("clean", "tokenizer", "pack")
"""What comes before training, and is made again when something changed."""

STAGES = (*CHEAP, "pretrain", "finetune", "evaluate")
TRAINING: tuple[Verb, ...] = ("pretrain", "finetune")


def run_recipe(path: str, flags: Sequence[str], recipe: Recipe, until: str = STAGES[-1]) -> None:
    """All stages up to `until`; what is finished is skipped."""
    _refuse_missing(recipe)
    wanted = STAGES[: STAGES.index(until) + 1]
    stale = _stale_stages(recipe)
    if not recipe.overwrite:
        _refuse_changes(recipe, TRAINING, stale)
    if any(stage in stale or manifest(recipe.folder(stage)) is None for stage in CHEAP if stage in wanted):
        refuse_while_training(recipe)
    if manifest(recipe.folder("pretrain")) is None:
        _check_model(recipe)  # before hours of cleaning
    for stage in wanted:
        began = time.monotonic()
        if _run_stage(stage, path, flags, recipe):
            say(tell(f"{stage}: {time.monotonic() - began:.1f} s", f"{stage}：{time.monotonic() - began:.1f} 秒"))


def _run_stage(stage: str, path: str, flags: Sequence[str], recipe: Recipe) -> bool:
    """One stage; True if there was something to do. Each stage is imported only when it runs."""
    folder = recipe.folder
    if stage == "clean":
        from pipeline.clean.stage import run as clean

        return clean(recipe.clean, folder("clean"))
    if stage == "tokenizer":
        from pipeline.tokenizer.stage import run as tokenizer

        return tokenizer(recipe.tokenizer, folder("clean"), folder("tokenizer"))
    if stage == "pack":
        from pipeline.pack.stage import run as pack

        return pack(recipe.pack, folder("clean"), folder("tokenizer"), folder("pack"))
    if stage in TRAINING:
        return _train_as_child(stage, path, flags, recipe)
    from pipeline.evaluate.stage import run_workspace, show

    if run_workspace(recipe.evaluate, Path(recipe.workspace)):
        return True
    show(folder("evaluate"))
    return False


# ---------------------------------------------------------------- training


def _train_as_child(verb: str, path: str, flags: Sequence[str], recipe: Recipe) -> bool:
    if not has_data(verb, recipe):
        say(tell(f"{verb}: no dialogues to learn from; skipped", f"{verb}：没有对话数据，跳过"))
        return False
    if _is_stale(verb, recipe):
        return False
    before = _when(recipe.folder(verb) / MANIFEST)
    run_child(launch_words(verb, path, flags, recipe))
    return _when(recipe.folder(verb) / MANIFEST) != before


def has_data(verb: str, recipe: Recipe) -> bool:
    """Has packing left anything for this verb?"""
    streamed = verb == "pretrain" and recipe.pretrain.streamed
    return streamed or any((recipe.folder("pack") / verb / "train").glob("*.arrow"))


def _is_stale(verb: str, recipe: Recipe) -> bool:
    """A finetune made from an older pretrain is kept and named, never redone or deleted unasked."""
    known = lineage.known_run(recipe.folder(verb))
    if verb != "finetune" or known is None or recipe.overwrite:
        return False
    weights = recipe.folder("pretrain") / "model" / "model.safetensors"
    if known["inputs"]["init"] == lineage.read_from(verb, recipe.folder("tokenizer"), None, weights.parent)["init"]:
        return False
    warn(
        tell(
            f"{recipe.folder(verb)} is stale: it was made from an older pretrain; "
            "overwrite=True sets it aside and trains anew, workspace= keeps both",
            f"{recipe.folder(verb)} 已过时：它来自旧的 pretrain；"
            "overwrite=True 将其移到一旁并重新训练，另选 workspace= 则两者都保留",
        )
    )
    return True


def _when(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def launch_words(verb: str, path: str, flags: Sequence[str], recipe: Recipe) -> list[str]:
    """The child that trains: `python train.py …` for one process, else `accelerate launch … train.py …`.

    One process needs no launcher, which would only stand between it and the signals meant for it.
    """
    processes = recipe.launch.num_processes or _gpus() or 1
    engine = recipe.launch.engine
    if engine == "single" and processes > 1:
        raise UserError(f"launch.engine=single with launch.num_processes={processes}; one process, or engine ddp")
    name = "finetune" if verb == "finetune" else "train"
    command = [str(ROOT / "train.py"), name, path, *flags]
    if processes == 1 and engine in ("auto", "single", "ddp"):
        return command
    launcher = ["-m", "accelerate.commands.launch", "--num_machines", "1", "--num_processes", str(processes)]
    launcher += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    launcher += ["--main_process_port", "0"]  # a free one, so that two runs on one machine do not collide
    launcher += ["--max_restarts", str(recipe.launch.max_restarts)]
    if engine.startswith("zero"):
        launcher += ["--use_deepspeed", "--zero_stage", engine[-1]]
        if recipe.launch.offload != "none":
            launcher += ["--offload_optimizer_device", "cpu"]
        if recipe.launch.offload == "all":
            launcher += ["--offload_param_device", "cpu"]
        return [*launcher, *command]
    return [*launcher, "--multi_gpu", *command]


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


def train_here(verb: Verb, path: str, flags: Sequence[str], recipe: Recipe) -> None:
    """One verb in a process of a launch: earlier stages first, then train as part of whatever launched us."""
    guards.die_with_launcher()
    restarts.forget_the_dead()
    earlier = functools.partial(_earlier_stages, verb, path, flags, recipe)
    with restarts.only_after_crashes(), watched() as watch, ranks.prepared(Path(recipe.workspace), earlier, watch):
        if not has_data(verb, recipe):
            raise UserError(
                f"{recipe.folder('pack') / verb}: nothing to train on; clean.inputs holds no records for {verb}"
            )
        _train(verb, recipe)


def _train(verb: Verb, recipe: Recipe) -> None:
    with kept_for_good():
        from pipeline.train.stage import run
        from pipeline.train.task import Task

    folder = recipe.folder
    task = Task(
        verb=verb,
        config=recipe.finetune if verb == "finetune" else recipe.pretrain,
        model=recipe.model,
        tokenizer=folder("tokenizer"),
        pack=folder("pack"),
        init=folder("pretrain") / "model" if verb == "finetune" else None,
        output=folder(verb),
        overwrite=recipe.overwrite,
        recipe=recipe.resolved(),
    )
    if not run(task):
        say(tell(f"{verb}: finished already, {folder(verb) / 'model'}", f"{verb}：已完成，{folder(verb) / 'model'}"))


def _earlier_stages(verb: str, path: str, flags: Sequence[str], recipe: Recipe) -> None:
    """What a verb builds upon: what is missing is made, what is stale only with overwrite=True."""
    _refuse_missing(recipe)
    needed = STAGES[: STAGES.index(verb)]
    verbs = TRAINING[: TRAINING.index(verb) + 1]
    missing: list[str] = [stage for stage in needed if manifest(recipe.folder(stage)) is None]
    stale = _stale_stages(recipe)
    again = [*missing, *stale]
    if recipe.overwrite:
        again += [earlier for earlier in verbs[:-1] if _changes(recipe, earlier)]
    else:
        _refuse_changes(recipe, verbs, stale)
    if not again:
        return
    words = ["-m", "pipeline", path, *flags, f"--until={needed[-1]}"]
    if not missing and not recipe.overwrite:
        stage, why = next(iter(stale.items()))
        raise UserError(f"{recipe.folder(stage)}: {why}; `python {shlex.join(words)}` makes it again")
    say(tell(f"{verb}: running {', '.join(again)} first", f"{verb}：先运行 {', '.join(again)}"))
    run_child(words)


# ---------------------------------------------------------------- what cannot be followed


def _refuse_missing(recipe: Recipe) -> None:
    """What a later stage would miss is told before hours of an earlier one; what is finished misses nothing."""
    from pipeline.tokenizer.stage import refuse_missing

    if manifest(recipe.folder("tokenizer")) is None:
        refuse_missing(recipe.tokenizer)
    if recipe.pretrain.streamed and manifest(recipe.folder("pretrain")) is None:
        how_to_open(recipe.pretrain.stream)


def _stale_stages(recipe: Recipe) -> dict[str, str]:
    """Finished cheap stages that the recipe, or what they read, has left behind, and why."""
    found = {}
    for stage in CHEAP:
        folder = recipe.folder(stage)
        inputs = _inputs_of(stage, recipe)
        before = [recipe.folder(name) for name in CHEAP[: CHEAP.index(stage)]]
        if any(manifest(one) is None for one in (folder, *before)):
            continue  # made again in any case; whether that changes anything shows then
        reasons = why_stale(folder, config_json(getattr(recipe, stage)), inputs)
        if reasons:
            found[stage] = "; ".join(reasons[:3])
    return found


def _inputs_of(stage: str, recipe: Recipe) -> dict[str, Path | Json]:
    if stage == "clean":
        from pipeline.clean.stage import inputs_of

        return inputs_of(recipe.clean)
    if stage == "tokenizer":
        from pipeline.tokenizer.stage import inputs_of as read_by_tokenizer

        return read_by_tokenizer(recipe.tokenizer, recipe.folder("clean"))
    return {"clean": recipe.folder("clean"), "tokenizer": recipe.folder("tokenizer")}


def _refuse_changes(recipe: Recipe, verbs: Sequence[Verb], stale: dict[str, str]) -> None:
    """A change that a trained model cannot follow is refused before anything is rebuilt."""
    for verb in verbs:
        folder = recipe.folder(verb)
        if not lineage.holds_run(folder):
            continue
        found = _changes(recipe, verb)
        if not found:
            _refuse_damage(recipe, stale)
        found += [f"{recipe.folder(stage)}: {why}" for stage, why in stale.items()]
        if found:
            lineage.refuse(folder, found)


def _refuse_damage(recipe: Recipe, stale: dict[str, str]) -> None:
    """Files that are gone, and nothing else, are no other recipe: made again they are the same, and the run goes on."""
    lost = []
    for stage in stale:
        folder = recipe.folder(stage)
        damaged = damaged_files(folder, manifest(folder) or {"files": {}})
        if len(why_stale(folder, config_json(getattr(recipe, stage)), _inputs_of(stage, recipe))) > len(damaged):
            return
        lost += [folder / name for name in damaged]
    if lost:
        folder = next(recipe.folder(stage) for stage in stale)
        raise UserError(
            f"{lost[0]}: missing or damaged; restore it, or move {folder} away: "
            "the same command makes it again, and training goes on"
        )


def _changes(recipe: Recipe, verb: Verb) -> list[str]:
    """How a verb's run differs from what the recipe asks for, and a pretrain from what it would read now.

    That a finetune was made from an older pretrain is told elsewhere (`_is_stale`): it is no change of the recipe.
    """
    config, tokenizer, pack = getattr(recipe, verb), recipe.folder("tokenizer"), recipe.folder("pack")
    now: Json = {"recipe": lineage.settled(verb, config, recipe.model)}
    if verb == "pretrain" and manifest(tokenizer) and manifest(pack):
        now["inputs"] = lineage.read_from(verb, tokenizer, None if config.streamed else pack, None)
    return lineage.changes(recipe.folder(verb), now)


def _check_model(recipe: Recipe) -> None:
    with kept_for_good():
        import model

    try:
        model.family_config(recipe.model.family, recipe.model.fields)
    except ValueError as error:
        raise UserError(f"model: {error}") from None
