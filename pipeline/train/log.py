"""What a run leaves to look at: metrics.jsonl and report.html always, samples.jsonl and wandb by choice, and a line now
and then in the terminal.

`metrics.jsonl` holds one line a step, one a look at held-out text, one a checkpoint, and one for each thing that befell
the run; lines beyond the checkpoint that a run resumes from are removed, so the file tells the surviving lineage alone.
"""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from pipeline.train import lines, report
from pipeline.train.checkpoints import State
from pipeline.train.guards import survives_full_disk
from pipeline.train.story import Story
from pipeline.train.wandb_run import finish, open_wandb, sent
from utils.console import Meter, say, speaks, tell
from utils.stage import Json

METRICS, SAMPLES = "metrics.jsonl", "samples.jsonl"

DRAW_EVERY = 30.0
"""Seconds after which the page is drawn again."""

DRAW_SHARE = 1 / 500
"""Of a run's time no more than this goes into drawing: a page that took long is drawn less often."""

SHOWN = 100
"""Characters of a sample that the terminal shows."""


class Log:
    """Rank 0 writes; the others keep quiet."""

    def __init__(self, output: Path, verb: str, project: str, state: State, total: int, recipe: Json):
        self.output, self.verb, self.total = output, verb, total
        self.wandb_id = state.wandb_id
        self._file: Any = None
        self._wandb: Any = None
        if not speaks():
            return
        self.pace = Pace()
        self.path = output / METRICS
        self._open(state.step)
        self._wandb = open_wandb(project, verb, output, state.wandb_id, recipe)
        if self._wandb is not None:
            self.wandb_id = self._wandb.id
        self._drawn, self._drawing, self._wanted = -math.inf, 0.0, False
        self.meter = Meter(verb, total, long_notes=True)
        self.meter.done = state.step
        if state.step:
            self.event(state.step, "resumed")

    def _open(self, step: int) -> None:
        """The files as they stood at this step."""
        for name in (METRICS, SAMPLES):
            lines.forget_beyond(self.output / name, step)
        self._story = Story.of(lines.read(self.path), lines.read(self.output / SAMPLES))
        self._file = self.path.open("a", encoding="utf-8")

    def step(self, line: Json) -> None:
        """One step's line."""
        if self._file is None:
            return
        self.pace.step(line["seconds"], time.monotonic())
        left = self.pace.left(self.total - line["step"])
        self._write(line if left is None else line | {"eta_seconds": round(left, 1)})
        self.meter.advance(1, told(line, left))
        self._draw()

    def held_out(self, step: int, bpb: dict[str, float]) -> None:
        """A look at held-out text."""
        if self._file is None:
            return
        self._write({"step": step, "bpb": bpb})
        figures = ", ".join(f"{name} {value:.3f}" for name, value in bpb.items() if name != "all" and len(bpb) > 2)
        figures = f"{bpb['all']:.3f}" + (tell(f" ({figures})", f"（{figures}）") if figures else "")
        say(
            tell(
                f"  {self.verb} step {step}: held-out bits per byte {figures}",
                f"  {self.verb} 第 {step} 步：留出文本每字节比特数 {figures}",
            )
        )
        self._draw(wanted=True)

    def samples(self, step: int, said: Sequence[tuple[str, str]]) -> None:
        """How the model went on from each prompt."""
        if self._file is None:
            return
        path, added = self.output / SAMPLES, ""
        for prompt, text in said:
            line = {"step": step, "prompt": prompt, "text": text}
            added += json.dumps(line, ensure_ascii=False) + "\n"
            self._story.add_sample(line)
            say(f"  {self.verb} {step}{tell(': ', '：')}{shortened(prompt)} → {shortened(text)}")
        survives_full_disk(f"a line of {path}", lambda: lines.append(path, added))
        self._draw(wanted=True)

    def event(self, step: int, kind: str, **more: Any) -> None:
        """Something befell the run: a restart, a skipped step, a spike, a roll-back (`to` which step)."""
        assert not {"loss", "bpb"} & more.keys(), "by these a step's line is known, and a look's"
        if self._file is None:
            return
        self._write({"step": step, "event": kind, **more})
        self._draw(wanted=True)

    def go_back(self, step: int) -> None:
        """A run that goes on from an earlier step of its own forgets the later ones' lines."""
        if self._file is None:
            return
        self._file.close()
        self._open(step)
        self.meter.done = step

    def stalled(self, step: int, seconds: float, writing: float | None) -> None:
        """How long the run stood still for a checkpoint; and, if it waited for it, how long the writing took."""
        if self._file is not None:
            self._write({"step": step, "stall": seconds} | ({} if writing is None else {"writing": writing}))

    def _write(self, line: Json) -> None:
        line = {k: _finite(v) for k, v in line.items()}
        text = json.dumps(line, ensure_ascii=False) + "\n"
        survives_full_disk(f"a line of {self.path}", lambda: print(text, end="", file=self._file, flush=True))
        self._story.add(line)
        if self._wandb is not None and not sent(self._wandb, line):
            self._wandb = None

    def _draw(self, wanted: bool = False, ended: bool = False) -> None:
        """The page, if it is time; at once if there is something new to see, but see DRAW_SHARE."""
        self._wanted |= wanted
        began = time.monotonic()
        pause = max(self._drawing / DRAW_SHARE, 0.0 if self._wanted else DRAW_EVERY)
        if began - self._drawn < pause and not ended:
            return
        path = self.output / report.REPORT
        survives_full_disk(str(path), lambda: report.write(path, self.verb, self._story, self.total, ended))
        self._drawn, self._wanted = time.monotonic(), False
        self._drawing = self._drawn - began

    def close(self) -> None:
        """Close what is open; a run's own errors matter more than those of closing."""
        if self._file is None:
            return
        self.meter.close()
        self._draw(ended=True)
        survives_full_disk(f"the end of {self.path}", self._file.close)
        if self._wandb is not None:
            finish(self._wandb)


def _finite(value: Any) -> Any:
    """JSON knows no infinity: fp16's overflowing gradients are written as null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


# ---------------------------------------------------------------- what a person reads


class Pace:
    """How long the rest takes: the median of the last steps, and what lies between steps (looks, saves) on average."""

    RECENT, FIRST = 50, 5

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=self.RECENT)
        self._began: float | None = None
        self._steps, self._stepping, self._ended = 0, 0.0, 0.0

    def step(self, seconds: float, now: float) -> None:
        """A step of so many seconds has just ended."""
        if self._began is None:
            self._began = now - seconds
        self._steps, self._stepping, self._ended = self._steps + 1, self._stepping + seconds, now
        self._recent.append(seconds)

    def left(self, steps: int) -> float | None:
        """Seconds that so many steps will take; None before there is anything to tell it by."""
        if self._began is None or self._steps < self.FIRST:
            return None
        between = max(0.0, self._ended - self._began - self._stepping) / self._steps
        return steps * (median(self._recent) + between)


def told(line: Json, left: float | None) -> str:
    """A step in 90 columns; memory is the peak since the start, which on a CPU is the whole process's."""
    rate, lr = thousands(line["tokens_per_second"]), short_power(line["lr"])
    wait = line["wait"]
    shown = f"{wait:.0%}" if wait >= 0.0995 else f"{wait:.1%}"
    rest = "" if left is None else tell(f"  ETA {duration(left)}", f"  剩 {duration(left)}")
    mfu, memory = f"MFU {line['mfu']:.0%}", f"{line['memory_gb']:.1f} GB"
    return tell(
        f"loss {line['loss']:.3f} lr {lr} norm {line['grad_norm']:.2f}  "
        f"{rate} tok/s {mfu} wait {shown}  peak {memory}{rest}",
        f"损失 {line['loss']:.3f} lr {lr} 梯度 {line['grad_norm']:.2f}  "
        f"{rate} 词元/秒 {mfu} 等待 {shown}  峰值 {memory}{rest}",
    )


def thousands(value: float) -> str:
    """Three digits, as people say them: 734, 12.3k, 1.23M."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * size:
            return f"{value / size:#.3g}".rstrip(".") + unit
    return f"{value:.0f}"


def short_power(value: float) -> str:
    """1.0e-3, without the zero that Python puts before the 3."""
    digits, _, power = f"{value:.1e}".partition("e")
    return f"{digits}e{int(power)}"


def duration(seconds: float) -> str:
    """1:05, 3h25m, 2d07h."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d}"
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours < 24:
        return f"{hours}h{minutes:02d}m"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days}d{hours:02d}h"


def shortened(text: str) -> str:
    """A text in one line that is not too long."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else line[: SHOWN - 1] + "…"
