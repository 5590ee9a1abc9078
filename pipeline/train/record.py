"""Which records each step has read: `ids-<rank>.jsonl`, a line a step, with a list of ids for each of this rank's rows.

As in metrics.jsonl, the lines tell the surviving lineage alone.
"""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.train import lines
from pipeline.train.guards import survives_full_disk


class Record:
    """One rank's file."""

    def __init__(self, output: Path, rank: int):
        self.path = output / f"ids-{rank}.jsonl"

    def step(self, step: int, ids: list[list[str]]) -> None:
        """What a step has read."""
        text = json.dumps({"step": step, "ids": ids}, ensure_ascii=False) + "\n"
        survives_full_disk(f"a line of {self.path}", lambda: lines.append(self.path, text))

    def go_back(self, step: int) -> None:
        """Forget what later steps have read."""
        lines.forget_beyond(self.path, step)


def forget_beyond(output: Path, step: int) -> None:
    """The same for the files of all ranks, of which an earlier launch may have had more."""
    for path in output.glob("ids-*.jsonl"):
        lines.forget_beyond(path, step)
