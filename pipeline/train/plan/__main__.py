"""`python -m pipeline.train.plan [RECIPE] [--gpus 8] [--gpu h100] [--price 2.5] [--mfu 0.4] [section.key=value …]`

What a run would take, before anything is downloaded, packed or allocated: a recipe comes in; parameters, FLOPs, memory
by part on each engine, the largest micro-batch, hours and cost go to the terminal. Nothing is written. Where the
workspace holds a tokenizer, packed shards or an earlier run on such a device, their figures are used, and said.

`--gpu cpu` plans for this machine without a GPU. `--check` takes a few real steps of the model in one process, on
random tokens, and prints the memory predicted beside the memory used.
"""

from __future__ import annotations

import math
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import get_args

import yaml

from pipeline.recipe import HELP, Recipe, from_command_line, plain_words
from pipeline.train.config import Verb
from pipeline.train.plan.check import checked
from pipeline.train.plan.footprint import ROOM, Memory
from pipeline.train.plan.prospect import Asked, Planned, place, planned, vocabulary
from utils.console import UserError, progress, run_program, say, tell
from utils.recipe import is_flag

OPTIONS = ("gpus", "gpu", "price", "mfu", "document")
CHECK = "--check"

MOST = 10**6
"""Of GPUs, or of a document's tokens."""


# ---------------------------------------------------------------- what is asked


def asked(words: Sequence[str]) -> tuple[str, Asked]:
    """The recipe's path; what it says, and where it would run."""
    words = plain_words(words, OPTIONS)
    given = dict(word.partition("=")[::2] for word in words if word.partition("=")[0] in OPTIONS)
    path, flags, recipe = from_command_line([word for word in words if word.partition("=")[0] not in OPTIONS])
    count = _whole("gpus", given["gpus"]) if "gpus" in given else recipe.launch.num_processes
    return path, Asked(
        workspace=Path(recipe.workspace),
        vocab_size=recipe.tokenizer.vocab_size,
        model=recipe.model,
        configs={verb: getattr(recipe, verb) for verb in _verbs(path, flags, recipe)},
        launch=recipe.launch,
        place=place(given.get("gpu"), count),
        price=_number("price", given["price"]) if "price" in given else None,
        mfu=_share("mfu", given["mfu"]) if "mfu" in given else None,
        document=_whole("document", given.get("document", "256")),
    )


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise UserError(f"--{name} {text}: give a number above 0")
    return value


def _whole(name: str, text: str) -> int:
    value = _number(name, text)
    if value != int(value) or value > MOST:
        raise UserError(f"--{name} {text}: give a whole number of at most {MOST:,}")
    return int(value)


def _share(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise UserError(f"--{name} {text}: give a share above 0, at most 1, as 0.4")
    return value


def _verbs(path: str, flags: Sequence[str], recipe: Recipe) -> list[Verb]:
    """Those that the recipe or a flag names, or that have packed data; both if none does."""
    named = set(yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {})
    named |= {flag.lstrip("-").partition(".")[0] for flag in flags if is_flag(flag)}
    verbs = get_args(Verb)
    return [v for v in verbs if v in named or (recipe.folder("pack") / v / "train").is_dir()] or list(verbs)


# ---------------------------------------------------------------- what is told


def told(path: str, question: Asked) -> Iterator[str]:
    """Every line, as soon as it is known."""
    place, (pieces, source) = question.place, vocabulary(question)
    yield f"{path}: {place.count} x {place.name}, {place.memory / 1e9:.0f} GB"
    yield tell(f"vocabulary: {pieces:,} ({source})", f"词表：{pieces:,}（{source}）")
    for verb in question.configs:
        title = tell(f"{verb}: micro-batches looked at", f"{verb}：已试算的微批")
        with progress(title) as meter:
            plan = planned(question, verb, pieces, meter.advance)
        yield from ("", *_told_verb(question, plan))


def _told_verb(question: Asked, plan: Planned) -> list[str]:
    sizes, config, length = plan.sizes, plan.config, plan.length
    total = None if length.tokens is None else length.tokens * sizes.flops_per_token
    held = [_millions(count) for count in (sizes.parameters, sizes.multiplied, sizes.embedding)]
    english, chinese = "{}, {} of them in products; the embedding is {}", "{}，其中 {} 参与矩阵乘法；词嵌入 {}"
    batch = f"{config.batch_size} x {config.seq_len} = {config.batch_size * config.seq_len:,} {tell('tokens', '词元')}"
    flops = f"{sizes.flops_per_token / 1e9:.3g} G {tell('a token', '每词元')}"
    yardstick = f"{question.place.peaks[plan.precision] / 1e12:,.3g} TFLOP/s"
    rows = [
        (tell("parameters", "参数"), tell(english, chinese).format(*held)),
        (tell("a step", "每步"), f"{batch}, {config.optimizer}, {plan.precision}"),
        (tell("steps", "步数"), f"{length.steps:,} {length.told}" if length.steps else length.told),
        (tell("tokens", "词元"), f"{length.tokens:,}" if length.tokens else "–"),
        (tell("FLOPs", "浮点运算"), flops + (f", {total:.3g} {tell('in all', '总计')}" if total else "")),
        ("MFU", f"{plan.mfu:.0%} x {yardstick} ({plan.mfu_told})"),
        (tell("time", "时间"), _duration(plan.hours)),
        (tell("cost", "费用"), _cost(question, plan)),
    ]
    return [plan.verb, *_aligned([[f"  {name}", value] for name, value in rows]), "", *_told_memory(question, plan)]


def _millions(count: float) -> str:
    return f"{count / 1e9:.2f} B" if count >= 1e9 else f"{count / 1e6:.1f} M"


def _duration(hours: float | None) -> str:
    if hours is None:
        return "–"
    if hours >= 1:
        return f"{hours:,.1f} {tell('hours', '小时')}"
    minutes = hours * 60
    return f"{minutes:.1f} {tell('minutes', '分钟')}" if minutes >= 1 else f"{hours * 3600:.0f} {tell('seconds', '秒')}"


def _cost(question: Asked, plan: Planned) -> str:
    if question.price is None:
        return tell("give --price, of one GPU for an hour", "请用 --price 给出每卡每小时的价格")
    if plan.hours is None:
        return "–"
    cost = plan.hours * question.place.count * question.price
    return f"{cost:,.2f} ({question.price:g} {tell('a GPU hour', '每卡时')})"


def _told_memory(question: Asked, plan: Planned) -> list[str]:
    """A column an engine; gigabytes."""
    place, chosen = question.place, question.launch.engine
    title = tell("memory of a GPU, GB", "每卡显存（GB）")
    if place.device == "cpu":
        title = tell("memory of a process, GB", "每进程内存（GB）")
    table = [[f"  {title}", *(f"{engine}*" if engine == chosen else engine for engine in plan.columns)]]
    parts: list[tuple[str, Callable[[Memory], float]]] = [
        (tell("weights", "权重"), lambda m: m.lasting.weights),
        (tell("masters", "主权重"), lambda m: m.lasting.masters),
        (tell("moments", "优化器状态"), lambda m: m.lasting.moments),
        (tell("gradients", "梯度"), lambda m: m.gradients),
        (tell("buffers", "缓冲区"), lambda m: m.lasting.buffers),
        (tell("activations", "激活"), lambda m: m.activations),
        (tell("head", "输出头"), lambda m: m.head),
        (tell("backward pass", "反向传播"), lambda m: m.passing),
        (tell("peak", "峰值"), lambda m: m.peak),
        (tell("in the CPU's memory", "另占主机内存"), lambda m: m.lasting.host),
    ]
    for name, part in parts:
        cells = [part(memory) if memory else None for memory in plan.columns.values()]
        if any(cells):
            table.append([f"  {name}", *("–" if cell is None else f"{cell / 1e9:.2f}" for cell in cells)])
    micro = [str(memory.rows) if memory else tell("does not fit", "放不下") for memory in plan.columns.values()]
    table.append(["  micro_batch", *micro])
    return [*_aligned(table, right=True), *_told_room(place.memory, plan)]


def _told_room(memory: float, plan: Planned) -> list[str]:
    """What the micro-batches follow from, and which of them are too large."""
    how = f"gradient_checkpointing={plan.config.gradient_checkpointing}"
    if plan.config.micro_batch == "auto":
        english = f"  micro_batch: all of a GPU's share of batch_size, or what {ROOM:.0%} of the memory holds; {how}"
        chinese = f"  micro_batch：batch_size 在每卡上的全部份额，或 {ROOM:.0%} 的容量所能容纳的行数；{how}"
        return [tell(english, chinese)]
    over = [engine for engine, m in plan.columns.items() if m and m.peak > memory * ROOM]
    if not over:
        return [f"  {how}"]
    english = f"  {how}; beyond {ROOM:.0%} of the memory: {', '.join(over)}"
    return [tell(english, f"  {how}；超过容量的 {ROOM:.0%}：{', '.join(over)}")]


def _aligned(rows: Sequence[Sequence[str]], right: bool = False) -> list[str]:
    """Columns of equal width; a Chinese character is two wide."""
    widths = [max(_width(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0] + " " * (widths[0] - _width(row[0]))]
        for cell, width in zip(row[1:], widths[1:], strict=True):
            room = " " * (width - _width(cell))
            cells.append(room + cell if right else cell + room)
        lines.append("  ".join(cells).rstrip())
    return lines


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def main() -> None:
    """Print the plan, or check it."""
    words = sys.argv[1:]
    if set(HELP) & set(words):
        print(__doc__)
        return
    path, question = asked([word for word in words if word != CHECK])
    for line in checked(question) if CHECK in words else told(path, question):
        say(line)


if __name__ == "__main__":
    run_program(main)
