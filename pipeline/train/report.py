"""A run's story comes in, its report.html goes out: curves and figures, one page without outside assets.

While the run goes on the page is drawn again and again, and loads itself anew.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from statistics import median

from pipeline.train.story import Curve, Story, spread
from utils.charts import Mark, curves
from utils.console import tell
from utils.page import Section, facts, page, percent, table
from utils.stage import Json

REPORT = "report.html"

RELOAD = 30
"""Seconds after which the page of a run that goes on loads itself anew."""

MOST_EVENTS = 30
"""Of what befell the run, so much is listed, the newest first."""

MOST_IDS = 8


def write(path: Path, verb: str, story: Story, total: int, ended: bool) -> None:
    """Draw the page: it is there whole, or as it was before. It is not asked to survive a power cut."""
    if not story.last:
        return
    sections = [Section(tell("In short", "概览"), [facts(_facts(story, total))]), *_charts(story)]
    sections += _samples(story)
    title = f"{verb} · {path.parent.parent.name}"
    text = page(title, sections, _lead(story, total, ended), reload=0 if ended else RELOAD)
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _lead(story: Story, total: int, ended: bool) -> str:
    step, now = story.last["step"], time.strftime("%Y-%m-%d %H:%M:%S")
    if ended and step >= total:
        return tell(f"Finished at step {total:,} on {now}.", f"已完成，共 {total:,} 步，{now}。")
    if ended:
        return tell(
            f"Stopped at step {step:,} of {total:,} on {now}; the same command goes on.",
            f"停在第 {step:,} 步（共 {total:,} 步），{now}；再次运行同一命令即可继续。",
        )
    return tell(
        f"Step {step:,} of {total:,}, as of {now}; this page loads itself anew every {RELOAD} seconds.",
        f"第 {step:,} 步（共 {total:,} 步），截至 {now}；本页每 {RELOAD} 秒自动刷新。",
    )


def _facts(story: Story, total: int) -> dict[str, object]:
    last = story.last
    found: dict[str, object] = {
        tell("step", "步"): (last["step"], tell(f"of {total:,}", f"共 {total:,}")),
        tell("last loss", "最近损失"): _rounded(last["loss"], 4),
    }
    if story.look:
        step = story.look["step"]
        small = tell(f"bits per byte, step {step:,}", f"比特 / 字节，第 {step:,} 步")
        found[tell("held-out text", "留出文本")] = (_rounded(story.look["bpb"].get("all"), 3), small)
    found |= {
        tell("tokens trained", "训练词元"): _millions(last["tokens"]),
        tell("tokens a second", "每秒词元"): round(_middle(story.curves["tokens_per_second"])),
        tell("share of peak (MFU)", "算力利用率 MFU"): percent(_middle(story.curves["mfu"])),
        tell("waiting for data", "等待数据"): percent(story.waited, story.seconds),
        tell("minutes of steps", "各步用时（分钟）"): round(story.seconds / 60, 1),
        tell("peak memory, GB", "峰值内存 GB"): (
            round(story.memory_gb, 2),
            tell("since the start; on a CPU, the process", "自启动以来；CPU 上为整个进程"),
        ),
    }
    if (eta := last.get("eta_seconds")) and last["step"] < total:
        found[tell("minutes left", "预计剩余（分钟）")] = round(eta / 60, 1)
    return found


def _millions(tokens: int) -> str:
    return f"{tokens / 1e6:,.0f} M" if tokens >= 1e7 else f"{tokens:,}"


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _middle(curve: Curve) -> float:
    return median(y for _, y in curve.means()) if curve.means() else 0.0


def _charts(story: Story) -> list[Section]:
    x = tell("step", "步")

    def chart(title: str, name: str, note: str = "", smooth: bool = True, share: float = 1.0) -> Section:
        curve = story.curves[name]
        outline, means = ([(at, y * share) for at, y in points] for points in (curve.outline(), curve.means()))
        marks = _marks(story.events) if name == "loss" else []
        drawn = curves({title: means}, x=x, smooth=smooth, behind={title: outline} if smooth else {}, marks=marks)
        return Section(title, [drawn], note)

    loss = chart(tell("Loss", "损失"), "loss", tell("Nats a trained token.", "每个训练词元的纳特数。"))
    sections = [loss]
    if story.events:
        sections.append(Section(tell("What befell the run", "运行中的事件"), [_events(story.events)]))
    if story.bpb:
        alone = len(story.bpb) == 2  # then `all` is that one source
        series = {name: curve.means() for name, curve in story.bpb.items() if name != "all" or not alone}
        sections.append(Section(tell("Held-out bits per byte", "留出文本每字节比特"), [curves(series, x=x)]))
    return [
        *sections,
        chart(tell("Learning rate", "学习率"), "lr", smooth=False),
        chart(tell("Gradient norm", "梯度范数"), "grad_norm", tell("Before clipping.", "裁剪之前。")),
        chart(tell("Tokens a second", "每秒词元"), "tokens_per_second"),
        chart(
            tell("Share of peak (MFU), %", "算力利用率 MFU（%）"),
            "mfu",
            tell(
                "Of a known GPU's peak; else of a matrix product, timed at the start.",
                "相对于已知 GPU 的峰值；否则相对于启动时实测的矩阵乘法速度。",
            ),
            share=100,
        ),
        chart(tell("Waiting for data, %", "等待数据（%）"), "wait", share=100),
    ]


def _samples(story: Story) -> list[Section]:
    if not story.samples:
        return []
    head = [tell("step", "步"), tell("how it went on", "续写 / 回答")]
    tables = [table(head, [list(pair) for pair in spread(said)], prompt) for prompt, said in story.samples.items()]
    note = tell("The likeliest token each time, from the same beginnings.", "从同样的开头出发，逐个取最可能的词元。")
    return [Section(tell("Samples", "样例"), tables, note)]


# ---------------------------------------------------------------- events


def _told(event: Json) -> str:
    names = {
        "resumed": tell("resumed", "从检查点继续"),
        "skipped": tell("step skipped", "跳过一步"),
        "spike": tell("loss spike", "损失突增"),
        "rolled_back": tell("went back", "回退"),
    }
    return names.get(event["event"], str(event["event"]))


COLOURS = {"resumed": "c7", "skipped": "c1"}
"""Of marks; what is not here is as bad as red."""


def _marks(events: list[Json]) -> list[Mark]:
    return [
        Mark(event["step"], f"{event['step']:,}: {_told(event)}", COLOURS.get(event["event"], "c6")) for event in events
    ]


def _events(events: list[Json]) -> str:
    head = [tell("step", "步"), tell("what", "事件"), ""]
    shown = [[event["step"], _told(event), _more(event)] for event in events[: -MOST_EVENTS - 1 : -1]]
    caption = ""
    if len(events) > MOST_EVENTS:
        count = f"{len(events):,}"
        caption = tell(f"the newest {MOST_EVENTS} of {count}", f"共 {count} 件，列出最近 {MOST_EVENTS} 件")
    return table(head, shown, caption)


def _more(event: Json) -> str:
    parts = []
    for name, value in event.items():
        if name == "to":
            parts.append(tell(f"to step {value:,}", f"回到第 {value:,} 步"))
        elif name == "ids":
            found = list(dict.fromkeys(one for row in value for one in row))
            rest = f" … ({len(found):,})" if len(found) > MOST_IDS else ""
            parts.append(tell("records: ", "记录：") + ", ".join(found[:MOST_IDS]) + rest)
        elif name not in ("step", "event"):
            parts.append(f"{name}: {value:.3f}" if isinstance(value, float) else f"{name}: {value}")
    return "; ".join(parts)
