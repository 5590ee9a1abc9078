"""What a run leaves to look at: metrics.jsonl always, wandb by choice, a progress bar, and report.html.

`metrics.jsonl` holds one line a step; lines beyond the checkpoint that a run resumes from are removed, so the
file tells the surviving lineage and nothing else.
"""

from __future__ import annotations

import json
import math
import netrc
import os
from pathlib import Path
from typing import Any

from pipeline.train.checkpoints import State
from pipeline.train.guards import survives_full_disk
from utils.console import Meter, say, speaks, tell, warn
from utils.stage import Json, whole

METRICS = "metrics.jsonl"


class Log:
    """Rank 0 writes; the others keep quiet."""

    def __init__(self, output: Path, verb: str, project: str, state: State, total: int, recipe: Json):
        self.path, self.verb, self.total = output / METRICS, verb, total
        self.wandb_id = state.wandb_id
        self._file: Any = None
        self._wandb: Any = None
        if not speaks():
            return
        forget_beyond(self.path, state.step)
        self._file = self.path.open("a", encoding="utf-8")
        self._wandb = open_wandb(project, verb, output, state.wandb_id, recipe)
        if self._wandb is not None:
            self.wandb_id = self._wandb.id
        self.meter = Meter(verb, total, tell("steps", "步"))
        self.meter.done = state.step

    def step(self, line: Json) -> None:
        """One step's line."""
        if self._file is None:
            return
        self._write(line)
        note = f"loss {line['loss']:.3f}  {line['tokens_per_second']:,.0f} {tell('tokens/s', '词元/秒')}"
        self.meter.advance(1, note)

    def held_out(self, step: int, bpb: dict[str, float]) -> None:
        """A look at held-out text."""
        if self._file is None:
            return
        self._write({"step": step, "bpb": bpb})
        figure = f"{bpb['all']:.3f}"
        say(
            tell(
                f"  {self.verb} step {step}: held-out bits per byte {figure}",
                f"  {self.verb} 第 {step} 步：留出文本每字节 {figure} 比特",
            )
        )

    def event(self, step: int, kind: str, **more: Any) -> None:
        """Something that a reader of the curve should know of."""
        if self._file is not None:
            self._write({"step": step, "event": kind, **more})

    def stalled(self, step: int, seconds: float, writing: float | None) -> None:
        """How long the run stood still for a checkpoint; and, if it waited for it, how long the writing took."""
        if self._file is not None:
            self._write({"step": step, "stall": seconds} | ({} if writing is None else {"writing": writing}))

    def go_back(self, step: int) -> None:
        """The steps beyond this one have never been."""
        if self._file is None:
            return
        self._file.close()
        forget_beyond(self.path, step)
        self._file = self.path.open("a", encoding="utf-8")
        self.meter.done = step

    def _write(self, line: Json) -> None:
        text = json.dumps({k: _finite(v) for k, v in line.items()}) + "\n"
        survives_full_disk(f"a line of {self.path}", lambda: print(text, end="", file=self._file, flush=True))
        if self._wandb is not None:
            flat = {k: v for k, v in line.items() if not isinstance(v, dict)}
            flat |= {f"bpb/{k}": v for k, v in line.get("bpb", {}).items()}
            self._wandb.log(flat, step=line["step"])

    def close(self) -> None:
        """Close what is open; a run's own errors matter more than those of closing."""
        if self._file is None:
            return
        self.meter.close()
        survives_full_disk(f"the end of {self.path}", self._file.close)
        if self._wandb is not None:
            self._wandb.finish()


def _finite(value: Any) -> Any:
    """JSON knows no infinity: fp16's overflowing gradients are written as null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def forget_beyond(path: Path, step: int) -> None:
    """Remove the lines of steps that no checkpoint holds."""
    kept = [line for line in read_metrics(path) if line["step"] <= step]
    with whole(path) as draft:
        draft.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")


def read_metrics(path: Path) -> list[Json]:
    """A run's lines; a last line cut by a kill is not one."""
    found = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            found.append(json.loads(text))
        except ValueError:
            continue
    return found


# ---------------------------------------------------------------- wandb, by choice


def wants_wandb() -> bool:
    """A key or WANDB_MODE says so; nothing else does."""
    if os.environ.get("WANDB_MODE"):
        return os.environ["WANDB_MODE"] != "disabled"
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (OSError, netrc.NetrcParseError):
        return False


def open_wandb(project: str, verb: str, output: Path, run_id: str, recipe: Json) -> Any:
    """A wandb run, or None. Never asks, never waits long: without a network it records offline."""
    if not wants_wandb():
        return None
    import wandb

    os.environ.setdefault("WANDB_SILENT", "true")
    name = f"{output.parent.name}/{verb}"
    modes: list[Any] = [os.environ.get("WANDB_MODE", "online"), "offline"]
    for mode in modes:
        settings = wandb.Settings(mode=mode, init_timeout=15, login_timeout=5)
        try:
            return wandb.init(
                project=project, name=name, id=run_id or None, resume="allow", dir=str(output), config=recipe,
                settings=settings,
            )  # fmt: skip
        except Exception as error:  # whatever keeps wandb from starting must not keep training from it
            first = str(error).splitlines()[0]
            instead = "off" if mode == "offline" else tell("recording offline", "改为离线记录")
            warn(f"wandb ({mode}): {first}; {instead}")
    return None
