"""What the earlier stages of a workspace wrote down comes in; the story of one model goes out.

Only files are read, each of them if it is there: a page of a model from elsewhere has fewer sections.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from utils.stage import Json, read_json

VERBS = ("pretrain", "finetune")


@dataclass(frozen=True)
class Life:
    """What was read, what became of it, and how training went."""

    clean: Json = field(default_factory=dict)
    """clean/report.json"""

    pack: Json = field(default_factory=dict)
    """pack/report.json"""

    training: dict[str, list[Json]] = field(default_factory=dict)
    """Verb -> the lines of its metrics.jsonl."""


def gather(workspace: Path) -> Life:
    """Whatever there is."""
    lines = {verb: read_lines(workspace / verb / "metrics.jsonl") for verb in VERBS}
    return Life(
        _if_there(workspace / "clean" / "report.json"),
        _if_there(workspace / "pack" / "report.json"),
        {verb: found for verb, found in lines.items() if found},
    )


def _if_there(path: Path) -> Json:
    return read_json(path) if path.is_file() else {}


def read_lines(path: Path) -> list[Json]:
    """A run's lines; a last one cut by a kill is not one."""
    found = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            found.append(json.loads(text))
        except ValueError:
            continue
    return found


def held_out(lines: list[Json]) -> dict[str, float]:
    """The last look at held-out text: source -> bits per byte, `all` among them; empty if there was none."""
    looks = [line["bpb"] for line in lines if line.get("bpb")]
    return looks[-1] if looks else {}
