"""Clean records and a tokenizer come in; token shards (contract 4) and a report go out.

    python -m pipeline.pack RECIPE

Text becomes `<|endoftext|>` and its tokens, for pretrain; a dialogue becomes its turns, for finetune, and for pretrain
too if the recipe says so or if there is no text. One clean shard is one task and makes the token shards of the same
number, so that the output does not depend on how many processes worked, and a killed run keeps its finished shards.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from pipeline.pack.config import PackConfig
from utils.chat import ROLES, Message, conversation
from utils.codec import Codec, Span
from utils.console import UserError, progress, say, tell
from utils.records import SPLITS, Record, kinds_in, read_records, record_shards
from utils.shards import ShardWriter, shard_writer
from utils.stage import Json, build, read_json, write_json
from utils.workers import run_tasks, worker_count

COLUMNS = ("id", "kind", "text", "messages", "tools")
PARTS = ".parts"
SMALL = 8 << 20
"""Below so many bytes of clean shards, starting processes takes longer than the work."""


def run(config: PackConfig, clean: Path, tokenizer: Path, output: Path) -> bool:
    """Make `pack/`; True if there was something to do."""
    inputs = {"clean": clean, "tokenizer": tokenizer}
    work = partial(pack, config, clean, tokenizer)
    return build("pack", config, inputs, output, work, ("pyarrow", "sentencepiece", "numpy"))


def pack(config: PackConfig, clean: Path, tokenizer: Path, folder: Path) -> Json:
    """Every clean shard into `folder`; returns the counters of the manifest."""
    codec = _codec(tokenizer)
    tasks = plan(config, clean, tokenizer, folder)
    size = sum(task.clean.stat().st_size for task in tasks)
    workers = worker_count(config.workers) if size >= SMALL else 1
    parts: dict[str, Json] = {}
    with progress(tell("pack", "打包"), len(tasks), tell("shards", "分片")) as meter:
        for part in run_tasks(pack_shard, tasks, workers):
            parts[part["name"]] = part
            meter.advance()
    report = summary([parts[task.name] for task in tasks])
    if not any(report["pretrain"].values()) and not any(report["finetune"].values()):
        raise UserError(
            f"{clean}: no record there that could be trained on; look at its report.json and at clean.inputs"
        )
    write_json(folder / "report.json", report)
    shutil.rmtree(folder / PARTS)
    _say_what_was_done(report)
    shards = {name: counts for part in parts.values() for name, counts in part["shards"].items()}
    return {"vocab_size": codec.vocab_size, "marks": codec.marks, "shards": dict(sorted(shards.items()))}


@dataclass(frozen=True)
class Task:
    """One clean shard, and where its tokens go."""

    clean: Path
    tokenizer: Path
    folder: Path
    split: str
    source: str
    chat_in_pretrain: bool

    @property
    def name(self) -> str:
        return f"{self.split}/{self.clean.stem}"


def plan(config: PackConfig, clean: Path, tokenizer: Path, folder: Path) -> list[Task]:
    """One task a clean shard, in the order of splits and names."""
    no_text = not kinds_in(clean).get("text")
    if no_text:
        say(tell("pack: no text records; pretrain reads the chat", "打包：没有纯文本，预训练改读对话"))
    chat = config.chat_in_pretrain or no_text
    return [
        Task(path, tokenizer, folder, split, source, chat)
        for split in SPLITS
        for source, paths in record_shards(clean, split).items()
        for path in paths
    ]


def pack_shard(task: Task) -> Json:
    """One task: its shards, then the note that they are finished, which is what it returns."""
    note = task.folder / PARTS / f"{task.name}.json"
    if note.is_file():
        return read_json(note)
    codec = _codec(task.tokenizer)
    left_out: Counter[str] = Counter()
    writers: dict[str, ShardWriter] = {}
    with ExitStack() as open_files:
        for record in read_records(task.clean, COLUMNS):
            for verb, tokens, spans, n_bytes in rows(record, codec, task.chat_in_pretrain, left_out.update):
                if verb not in writers:
                    path = task.folder / verb / task.split / f"{task.clean.stem}.arrow"
                    writers[verb] = open_files.enter_context(shard_writer(path, codec.vocab_size, codec.dtype))
                writers[verb].add(record["id"], tokens, spans, n_bytes)
    part = {
        "name": task.name,
        "split": task.split,
        "source": task.source,
        "shards": {f"{verb}/{task.name}.arrow": _counts(writer) for verb, writer in sorted(writers.items())},
        "left_out": dict(sorted(left_out.items())),
    }
    write_json(note, part)
    return part


@lru_cache(maxsize=1)
def _codec(tokenizer: Path) -> Codec:
    return Codec(tokenizer)


def _counts(writer: ShardWriter) -> Json:
    return {
        "documents": writer.documents,
        "tokens": writer.tokens,
        "trained": writer.trained,
        "bytes": writer.bytes,
    }


# ---------------------------------------------------------------- one record

Row = tuple[str, np.ndarray, list[Span] | None, int]


def rows(record: Record, codec: Codec, chat_in_pretrain: bool, leave_out: Callable[[list[str]], None]) -> Iterator[Row]:
    """A record's rows: (verb, tokens, trained spans, bytes of text)."""
    edge = np.array([codec.end_of_text], codec.dtype)
    reason = why_not(record)
    if reason:
        leave_out([reason])
    elif record["kind"] == "text":
        yield (
            "pretrain",
            np.concatenate([edge, codec.encode(record["text"])]),
            None,
            len(record["text"].encode()),
        )
    else:
        segments = conversation(record["messages"], record["tools"])
        n_bytes = sum(len(segment.text.encode()) for segment in segments if not segment.is_mark)
        tokens, spans = codec.encode_segments(segments)
        yield "finetune", tokens, spans, n_bytes
        if chat_in_pretrain:
            yield "pretrain", np.concatenate([edge, tokens]), None, n_bytes


def why_not(record: Record) -> str | None:
    """Why a record cannot be trained on, or None."""
    if record["kind"] == "text":
        return None if (record["text"] or "").strip() else "empty_text"
    if record["kind"] != "chat":
        return record["kind"]
    messages: list[Message] = record["messages"] or []
    replies = [message for message in messages if message["role"] == "assistant"]
    if any(message["role"] not in ROLES for message in messages):
        return "unknown_role"
    if not replies:
        return "no_trained_token"
    if any(not (reply["content"] or "").strip() and not reply["tool_calls"] for reply in replies):
        return "empty_reply"
    return None


# ---------------------------------------------------------------- the report


def summary(parts: list[Json]) -> Json:
    """verb -> split -> source -> counts, and what was left out: split -> source -> reason -> records."""
    report: Json = {"pretrain": {}, "finetune": {}, "left_out": {}}
    for part in parts:
        split, source = part["split"], part["source"]
        for name, counts in part["shards"].items():
            _add(report[name.partition("/")[0]].setdefault(split, {}).setdefault(source, {}), counts)
        if part["left_out"]:
            _add(report["left_out"].setdefault(split, {}).setdefault(source, {}), part["left_out"])
    return report


def _add(total: Json, counts: Json) -> None:
    for name, count in counts.items():
        total[name] = total.get(name, 0) + count


def _say_what_was_done(report: Json) -> None:
    for verb in ("pretrain", "finetune"):
        sources = list(report[verb].get("train", {}).values())
        documents, tokens, trained = (sum(s[name] for s in sources) for name in ("documents", "tokens", "trained"))
        en = f"pack: {verb} {documents:,} documents, {tokens:,} tokens, {trained:,} trained"
        say(tell(en, f"打包：{verb} {documents:,} 篇，{tokens:,} 个词元，训练 {trained:,} 个"))
    reasons: Json = {}
    for some in report["left_out"].values():
        for counts in some.values():
            _add(reasons, counts)
    if reasons:
        listed = ", ".join(f"{name} {count:,}" for name, count in sorted(reasons.items()))
        say(tell(f"pack: left out: {listed}", f"打包：未收入：{listed}"))
