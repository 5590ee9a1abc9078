"""Raw corpora in, clean records out: `clean/<split>/<source>-NNNNN.parquet`, report.json, quarantine.jsonl.

Every file is read and cleaned by a task of its own (`task.py`), in as many processes as it pays for; then the
parts are merged into shards (`merge.py`). Nothing is dropped uncounted. Alone:
`python -m pipeline.clean configs/demo.yaml clean.inputs=my.csv`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from pipeline.clean.config import CleanConfig
from pipeline.clean.inputs import Raw, expand
from pipeline.clean.merge import write_shards
from pipeline.clean.rules import DUPLICATE, RULES
from pipeline.clean.task import Task, clean_file
from utils.console import UserError, progress, say, tell, warn
from utils.records import SPLITS
from utils.stage import Json, build, read_json, whole, write_json
from utils.workers import run_tasks, worker_count

WORTH_A_POOL = 32_000_000
"""Bytes of raw text below which starting processes costs more than it saves."""


def run(config: CleanConfig, output: Path) -> bool:
    """Make the clean records, unless they are there already."""
    raws = expand(config.inputs)
    done: Json = {}

    def work(folder: Path) -> Json:
        done.update(_clean(config, raws, folder))
        return {name: done[name] for name in ("read", "kept", "quarantined", "dropped", "splits")}

    built = build("clean", config, {raw.name: raw.path for raw in raws}, output, work, ("pyarrow", "xxhash"))
    if built:
        say(closing_line(done, output))
    return built


def _clean(config: CleanConfig, raws: Sequence[Raw], folder: Path) -> Json:
    parts = folder / "parts"
    tasks = [Task(raw, config, parts / f"{number:05d}") for number, raw in enumerate(raws)]
    size = sum(raw.path.stat().st_size for raw in raws)
    workers = worker_count(config.workers) if size > WORTH_A_POOL else 1
    with progress(tell("clean", "清洗"), len(tasks), tell("files", "个文件")) as meter:
        for _ in run_tasks(clean_file, tasks, workers):
            meter.advance()
    accounts = [read_json(task.part.with_suffix(".json")) for task in tasks]
    _refuse_bad(accounts, config)
    for raw in raws:
        if not raw.reader:
            warn(tell(f"{raw.name}: empty file", f"{raw.name}：空文件"))
    splits = write_shards([task.part.with_suffix(".parquet") for task in tasks], raws, folder, config)
    report = account(raws, accounts, splits)
    if not report["kept"]:
        raise UserError(
            f"clean: empty corpus: nothing was kept of {_read(report)} from {_names(raws)}; name another input"
        )
    with whole(folder / "quarantine.jsonl") as draft:
        lines = [json.dumps(bad, ensure_ascii=False) + "\n" for one in accounts for bad in one["quarantined"]]
        draft.write_text("".join(lines), encoding="utf-8")
    write_json(folder / "report.json", report)
    shutil.rmtree(parts)
    return report


def _refuse_bad(accounts: Sequence[Json], config: CleanConfig) -> None:
    read = sum(one["read"] for one in accounts)
    bad = [line for one in accounts for line in one["quarantined"]]
    if len(bad) > config.max_bad_ratio * read:
        first = bad[0]
        raise UserError(
            f"clean: {len(bad)} of {read} records cannot be read (clean.max_bad_ratio = {config.max_bad_ratio:g}); "
            f"the first: {first['file']}, record {first['ordinal']}: {first['reason']}; "
            "mend the file, or raise clean.max_bad_ratio"
        )


def account(raws: Sequence[Raw], accounts: Sequence[Json], splits: dict[str, dict[str, int]]) -> Json:
    """report.json: what became of every record, in all and by source."""
    sources: dict[str, Json] = {}
    for raw, one in zip(raws, accounts, strict=True):
        total = sources.setdefault(raw.source, {"read": 0, "kept": 0, "quarantined": 0, "dropped": {}, "files": []})
        total["read"] += one["read"]
        total["kept"] += one["kept"]
        total["quarantined"] += len(one["quarantined"])
        total["files"].append({"file": raw.name, "reader": raw.reader or "empty", "read": one["read"]})
        for rule, count in one["dropped"].items():
            total["dropped"][rule] = total["dropped"].get(rule, 0) + count
    for source, total in sources.items():
        kept = sum(splits[source].values())
        if total["kept"] > kept:
            total["dropped"][DUPLICATE] = total["kept"] - kept
        total["kept"], total["splits"] = kept, splits[source]
    report = {name: sum(total[name] for total in sources.values()) for name in ("read", "kept", "quarantined")}
    dropped = {rule: sum(total["dropped"].get(rule, 0) for total in sources.values()) for rule in [*RULES, DUPLICATE]}
    everything: Json = {
        **report,
        "dropped": {rule: count for rule, count in dropped.items() if count},
        "splits": {split: sum(total["splits"][split] for total in sources.values()) for split in SPLITS},
        "empty_files": [raw.name for raw in raws if not raw.reader],
        "sources": sources,
    }
    for total in (everything, *sources.values()):
        assert total["read"] == total["kept"] + total["quarantined"] + sum(total["dropped"].values()), total
    return everything


def closing_line(report: Json, output: Path) -> str:
    """What a person wants to know of it, in one line."""
    lost = [f"{rule} {count}" for rule, count in report["dropped"].items()]
    if report["quarantined"]:
        lost.append(
            tell(
                f"unreadable {report['quarantined']} (quarantine.jsonl)",
                f"无法读取 {report['quarantined']}（见 quarantine.jsonl）",
            )
        )
    splits = ", ".join(f"{split} {report['splits'][split]:,}" for split in SPLITS if report["splits"][split])
    left = f"; {tell('left out', '未留')}: {', '.join(lost)}" if lost else ""
    return tell(
        f"clean: {report['kept']:,} of {report['read']:,} records kept ({splits}){left} -> {output}",
        f"清洗：读入 {report['read']:,} 条，保留 {report['kept']:,} 条（{splits}）{left} -> {output}",
    )


def _read(report: Json) -> str:
    why = [f"{rule} {count}" for rule, count in report["dropped"].items()]
    return f"{report['read']} records{' (' + ', '.join(why) + ')' if why else ''}"


def _names(raws: Sequence[Raw]) -> str:
    names = [raw.name for raw in raws]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
