"""What became of every record: counted by source and rule, and asserted to add up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.clean.choose import Choice
from pipeline.clean.config import RULE_NAMES, CleanConfig, Rules
from pipeline.clean.duplicates.corpus import Corpus
from pipeline.clean.inputs import Raw
from pipeline.clean.read import Piece
from pipeline.clean.rules import ALL, first_hits
from utils.console import UserError, tell
from utils.records import SPLITS
from utils.stage import Json


def refuse_bad(accounts: Sequence[Json], config: CleanConfig) -> None:
    """Stop when too many records cannot be read."""
    read = sum(one["read"] for one in accounts)
    count = sum(one["quarantined"] for one in accounts)
    if count > config.max_bad_ratio * read:
        first = next(line for one in accounts for line in one["first_bad"])
        raise UserError(
            f"clean: {count} of {read} records cannot be read (clean.max_bad_ratio = {config.max_bad_ratio:g}); "
            f"the first: {first['file']}, record {first['ordinal']}: {first['reason']}; "
            "mend the file, or raise clean.max_bad_ratio"
        )


def refuse_empty(report: Json, raws: Sequence[Raw]) -> None:
    """Stop when nothing is left."""
    if not report["kept"]:
        why = [f"{rule} {count}" for rule, count in report["dropped"].items()]
        why += [f"unreadable {report['quarantined']}"] if report["quarantined"] else []
        read = f"{report['read']} records{' (' + ', '.join(why) + ')' if why else ''}"
        most = max(report["dropped"], key=report["dropped"].__getitem__, default="")
        looser = f"loosen clean.{most}, or " if most in RULE_NAMES else ""
        mend = f"{looser}name another input"
        raise UserError(f"clean: empty corpus: nothing was kept of {read} from {_names(raws)}; {mend}")


def account(
    raws: Sequence[Raw],
    rules: Mapping[str, Rules],
    pieces: Sequence[Piece],
    accounts: Sequence[Json],
    corpus: Corpus,
    choice: Choice,
) -> Json:
    """report.json: what became of every record, in all and by source."""
    sources: dict[str, Json] = {}
    for raw in raws:
        sources.setdefault(raw.source, {"read": 0, "kept": 0, "quarantined": 0, "dropped": {}, "files": []})
        file = {"file": raw.name, "reader": raw.reader or ("unreadable" if raw.problem else "empty"), "read": 0}
        sources[raw.source]["files"].append(file)
        asked = {name: getattr(rules[raw.name], name) for name in RULE_NAMES}
        sources[raw.source]["thresholds"] = {n: value for n, value in asked.items() if value not in (None, "off")}
    files = {file["file"]: file for total in sources.values() for file in total["files"]}
    for piece, one in zip(pieces, accounts, strict=True):
        total = sources[piece.raw.source]
        total["read"] += one["read"]
        total["quarantined"] += one["quarantined"]
        files[piece.raw.name]["read"] += one["read"]
    rows_of = _rows_by_source(pieces, corpus)
    for source, total in sources.items():
        rows = rows_of.get(source, np.zeros(0, np.int64))
        bits, split = choice.bits[rows], choice.split[rows]
        total["rules"] = funnel(bits)
        total["dropped"] = {rule: counts["first"] for rule, counts in total["rules"].items() if counts["first"]}
        total["splits"] = {name: int((split == number).sum()) for number, name in enumerate(SPLITS)}
        total["kept"] = sum(total["splits"].values())
    report: Json = {name: sum(total[name] for total in sources.values()) for name in ("read", "kept", "quarantined")}
    everything = funnel(choice.bits)
    report |= {
        "dropped": {rule: counts["first"] for rule, counts in everything.items() if counts["first"]},
        "splits": {split: sum(total["splits"][split] for total in sources.values()) for split in SPLITS},
        "empty_files": [raw.name for raw in raws if not raw.reader and not raw.problem],
        "rules": everything,
        "sources": sources,
    }
    for total in (report, *sources.values()):
        assert total["read"] == total["kept"] + total["quarantined"] + sum(total["dropped"].values()), total
    return report


def funnel(bits: np.ndarray) -> dict[str, dict[str, int]]:
    """For each rule that hit: how many records it hit first, at all, and alone."""
    first = first_hits(bits)
    alone = (bits & (bits - np.uint32(1))) == 0
    counts = {}
    for number, rule in enumerate(ALL):
        hit = (bits >> np.uint32(number)) & np.uint32(1) == 1
        if hit.any():
            sole = int((hit & alone).sum())
            counts[rule] = {"first": int((first == number).sum()), "any": int(hit.sum()), "sole": sole}
    return counts


def closing_line(report: Json, output: Any) -> str:
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
    left = tell(f"; left out: {', '.join(lost)}", f"；未留：{'，'.join(lost)}") if lost else ""
    return tell(
        f"clean: {report['kept']:,} of {report['read']:,} records kept ({splits}){left} -> {output}",
        f"清洗：读入 {report['read']:,} 条，保留 {report['kept']:,} 条（{splits}）{left} -> {output}",
    )


def _rows_by_source(pieces: Sequence[Piece], corpus: Corpus) -> dict[str, np.ndarray]:
    first = corpus.first_rows()
    found: dict[str, list[np.ndarray]] = {}
    for number, part in enumerate(corpus.parts):
        found.setdefault(pieces[part.task].raw.source, []).append(np.arange(first[number], first[number + 1]))
    return {source: np.concatenate(rows) for source, rows in found.items()}


def _names(raws: Sequence[Raw]) -> str:
    names = [raw.name for raw in raws]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
