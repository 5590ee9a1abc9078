"""A run's metrics.jsonl comes in, its report.html goes out: curves and figures, one page without outside assets."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from pipeline.train.checkpoints import State
from pipeline.train.log import METRICS, read_metrics
from utils.charts import curves
from utils.console import tell
from utils.page import Section, facts, page
from utils.stage import Json, whole

REPORT = "report.html"


def write(output: Path, verb: str, state: State) -> None:
    """Draw the page again, from the whole file."""
    lines = read_metrics(output / METRICS)
    steps = [line for line in lines if "loss" in line]
    looks = [line for line in lines if "bpb" in line]
    if not steps:
        return
    sections = [Section(tell("In short", "概览"), [facts(_facts(steps, looks, state))]), *_charts(steps, looks)]
    lead = str(output)
    with whole(output / REPORT) as draft:
        draft.write_text(page(f"{verb} · {output.parent.name}", sections, lead), encoding="utf-8")


def _facts(steps: list[Json], looks: list[Json], state: State) -> dict[str, object]:
    seconds = sum(line["seconds"] for line in steps)
    found: dict[str, object] = {
        tell("steps", "步数"): (state.step, tell(f"of {state.total}", f"共 {state.total}")),
        tell("last loss", "最终损失"): round(steps[-1]["loss"], 4),
        tell("tokens trained", "训练词元"): state.tokens,
        tell("tokens a second", "每秒词元"): round(median(line["tokens_per_second"] for line in steps)),
        tell("share of peak (MFU)", "算力利用率 MFU"): f"{median(line['mfu'] for line in steps):.0%}",
        tell("waiting for data", "等待数据"): f"{sum(s['wait'] * s['seconds'] for s in steps) / seconds:.1%}",
        tell("minutes", "分钟"): round(seconds / 60, 1),
        tell("peak memory, GB", "峰值内存 GB"): round(max(line["memory_gb"] for line in steps), 2),
    }
    if looks:
        found[tell("held-out bits per byte", "留出文本每字节比特")] = round(looks[-1]["bpb"]["all"], 3)
    return found


def _charts(steps: list[Json], looks: list[Json]) -> list[Section]:
    x = tell("step", "步")
    drawn = [
        Section(tell("Loss", "损失"), [curves({"loss": _points(steps, "loss")}, x=x, smooth=True)]),
        Section(tell("Learning rate", "学习率"), [curves({"lr": _points(steps, "lr")}, x=x)]),
        Section(tell("Gradient norm", "梯度范数"), [curves({"norm": _points(steps, "grad_norm")}, x=x, smooth=True)]),
    ]
    if looks:
        series = {name: [(line["step"], line["bpb"][name]) for line in looks] for name in looks[-1]["bpb"]}
        drawn.insert(1, Section(tell("Held-out bits per byte", "留出文本每字节比特"), [curves(series, x=x)]))
    return drawn


def _points(lines: list[Json], key: str) -> list[tuple[float, float]]:
    return [(line["step"], line[key]) for line in lines]
