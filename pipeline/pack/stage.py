"""Clean records and a tokenizer come in; token shards (contract 4) and a report go out.

    python -m pipeline.pack RECIPE

Text becomes `<|endoftext|>` and its tokens, for pretrain; a dialogue becomes its turns, for finetune, and for pretrain
too if the recipe says so or if there is no text. One clean shard is one task and makes the token shards of the same
number (`shard.py`), so that the output does not depend on how many processes worked, and a killed run keeps its
finished shards.
"""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

from pipeline.pack.config import PackConfig
from pipeline.pack.page import counted, page_of
from pipeline.pack.shard import LENGTHS, NOTES, Task, opened, pack_shard
from pipeline.pack.validate import in_words
from utils.console import UserError, progress, say, tell
from utils.records import SPLITS, kinds_in, record_shards
from utils.stage import Json, build, identity, refuse_rewritten, write_json
from utils.workers import run_tasks, worker_count

SMALL = 8 << 20
"""Below so many bytes of clean shards, starting processes takes longer than the work."""
VERBS = ("pretrain", "finetune")


def run(config: PackConfig, clean: Path, tokenizer: Path, output: Path) -> bool:
    """Make `pack/`; True if there was something to do."""
    refuse_rewritten(tokenizer)
    inputs = {"clean": clean, "tokenizer": tokenizer}
    work = partial(pack, config, clean, tokenizer)
    return build("pack", config, inputs, output, work, ("pyarrow", "sentencepiece", "numpy"))


def pack(config: PackConfig, clean: Path, tokenizer: Path, folder: Path) -> Json:
    """Every clean shard into `folder`; returns the counters of the manifest."""
    codec = opened(tokenizer, identity(tokenizer))
    tasks = plan(config, clean, tokenizer, folder)
    sizes = {task.name: task.clean.stat().st_size for task in tasks}
    workers = worker_count(config.workers) if sum(sizes.values()) >= SMALL else 1
    largest_first = sorted(tasks, key=lambda task: -sizes[task.name])  # so that none is left alone at the end
    parts: dict[str, Json] = {}
    with progress(tell("pack", "打包"), len(tasks), tell("shards", "分片")) as meter:
        for part in run_tasks(pack_shard, largest_first, workers):
            parts[part["name"]] = part
            meter.advance()
    report = summary([parts[task.name] for task in tasks])
    if not any(report[verb] for verb in VERBS):
        raise UserError(
            f"{clean}: no record there that could be trained on; look at its report.json and at clean.inputs"
        )
    write_json(folder / "report.json", report)
    (folder / "report.html").write_text(page_of(report, folder, codec), encoding="utf-8")
    shutil.rmtree(folder / NOTES)
    _say_what_was_done(report)
    shards = {name: counts for part in parts.values() for name, counts in part["shards"].items()}
    whose = {"vocab_size": codec.vocab_size, "marks": codec.marks, "tokenizer": identity(tokenizer)}
    return whose | {"shards": dict(sorted(shards.items()))}


def plan(config: PackConfig, clean: Path, tokenizer: Path, folder: Path) -> list[Task]:
    """One task a clean shard, in the order of splits and names."""
    no_text = not kinds_in(clean).get("text")
    if no_text:
        say(tell("pack: no text records; pretrain reads the chat", "打包：没有纯文本，预训练改读对话"))
    chat, whose = config.chat_in_pretrain or no_text, identity(tokenizer)
    return [
        Task(path, tokenizer, whose, folder, split, source, chat)
        for split in SPLITS
        for source, paths in record_shards(clean, split).items()
        for path in paths
    ]


# ---------------------------------------------------------------- the report


def summary(parts: list[Json]) -> Json:
    """Counts by verb, split and source; records left out by split, source and reason; lengths in the train split."""
    lengths: Json = {"edges": list(LENGTHS), **{verb: {} for verb in VERBS}}
    report: Json = {**{verb: {} for verb in VERBS}, "left_out": {}, "lengths": lengths}
    for part in parts:
        split, source = part["split"], part["source"]
        for name, counts in part["shards"].items():
            _add(report[name.partition("/")[0]].setdefault(split, {}).setdefault(source, {}), counts)
        if part["left_out"]:
            _add(report["left_out"].setdefault(split, {}).setdefault(source, {}), part["left_out"])
        for verb, counts in part["lengths"].items() if split == "train" else ():
            held = lengths[verb].setdefault(source, [0] * len(counts))
            lengths[verb][source] = [a + b for a, b in zip(held, counts, strict=True)]
    return report


def _add(total: Json, counts: Json) -> None:
    for name, count in counts.items():
        total[name] = total.get(name, 0) + count


def _say_what_was_done(report: Json) -> None:
    for verb in VERBS:
        sources = list(report[verb].get("train", {}).values())
        if not sources:
            continue
        documents, tokens, trained = (sum(s[name] for s in sources) for name in ("documents", "tokens", "trained"))
        amount = counted(verb, documents)
        en = f"pack: {verb} {amount}, {tokens:,} tokens, {trained:,} trained"
        say(tell(en, f"打包：{verb} {amount}，{tokens:,} 个词元，{trained:,} 个参与训练"))
    reasons: Json = {}
    for some in report["left_out"].values():
        for counts in some.values():
            _add(reasons, counts)
    if reasons:
        named = [(in_words(name), f"{count:,}") for name, count in sorted(reasons.items())]
        listed = tell("; ", "；").join(tell(f"{why}: {count}", f"{why}：{count} 条") for why, count in named)
        say(tell(f"pack: left out: {listed}", f"打包：已略去：{listed}"))
