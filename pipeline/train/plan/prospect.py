"""What a run would take: a recipe and a place to run it come in; its sizes, length, memory and hours go out as figures.

Everything is counted on the meta device. Where the workspace holds a tokenizer, packed shards or an earlier run on such
a device, their figures are used. Nothing is written.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from transformers import PreTrainedConfig

import model as architectures
from pipeline.train import lines
from pipeline.train.cards import CARDS, card, recognised
from pipeline.train.config import LaunchConfig, ModelConfig, TrainConfig, Verb
from pipeline.train.dealing import even_share
from pipeline.train.engine import resolve_precision
from pipeline.train.hardware import DTYPES, peak_flops
from pipeline.train.horizon import steps
from pipeline.train.lineage import known_run
from pipeline.train.log import METRICS
from pipeline.train.objectives import OBJECTIVES
from pipeline.train.plan.footprint import BUCKET, ENGINES, ROOM, EngineName, Footprint, Memory, Setting, Sizes
from pipeline.train.zero import DEFAULT_CONFIG
from utils.codec import Codec
from utils.console import UserError, tell
from utils.memory import available
from utils.stage import manifest

ASSUMED_MFU = {"cuda": 0.4, "cpu": 0.6}
"""Share of the peak that a run is taken to reach where none was measured."""


ENOUGH = 10
"""Steps of an earlier run that say how fast runs are."""


@dataclass(frozen=True)
class Place:
    """Where it would run."""

    name: str
    count: int
    device: str
    memory: float
    peaks: dict[str, float]
    here: bool
    """Is it this machine's own device, so that what was measured here holds?"""
    bf16: bool = True

    def precision(self, wanted: str) -> str:
        """`auto` as the engine would resolve it there."""
        if wanted != "auto" or self.device == "cpu":
            return resolve_precision(wanted)
        return "bf16" if self.bf16 else "fp16"


@dataclass(frozen=True)
class Asked:
    """What is to be planned: the sections of a recipe that matter, and where it would run."""

    workspace: Path
    vocab_size: int
    """That the tokenizer will have."""
    model: ModelConfig
    configs: dict[Verb, TrainConfig]
    launch: LaunchConfig
    place: Place
    price: float | None = None
    """Of one GPU for an hour."""
    mfu: float | None = None
    document: int = 256
    """Tokens of a document, where kernels ask."""

    def folder(self, stage: str) -> Path:
        """Where a stage leaves its output."""
        return self.workspace / stage


@dataclass(frozen=True)
class Length:
    """How long a verb runs."""

    steps: int | None
    tokens: int | None
    told: str


@dataclass
class Planned:
    """One verb's figures."""

    verb: Verb
    config: TrainConfig
    precision: str
    length: Length
    sizes: Sizes
    columns: dict[EngineName, Memory | None] = field(default_factory=dict)
    """By engine; None where not even one row fits."""
    mfu: float = 0.0
    mfu_told: str = ""
    hours: float | None = None


# ---------------------------------------------------------------- where


def place(name: str | None, count: int) -> Place:
    """The device of that name; without one this machine's. `count` is 0 for as many as there are."""
    gpu_here = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    if name is None and gpu_here:
        known, device = recognised(gpu_here), torch.device("cuda")
        return Place(
            name=known.name if known else gpu_here,
            count=count or torch.cuda.device_count(),
            device="cuda",
            memory=torch.cuda.mem_get_info()[1],
            peaks={kind: peak_flops(device, dtype) for kind, dtype in DTYPES.items()},
            here=True,
            bf16=torch.cuda.get_device_capability()[0] >= 8,
        )
    if name is None or name == "cpu":
        peaks = {kind: peak_flops(torch.device("cpu"), DTYPES[kind]) for kind in ("fp32", "bf16")}
        return Place("cpu", max(1, count), "cpu", available() or 0, peaks, True)
    known = card(name)
    if known is None:
        raise UserError(f"--gpu {name}: not known; there are {', '.join(c.name for c in CARDS)}, cpu")
    peaks = {kind: known.peak(kind) for kind in DTYPES}
    return Place(known.name, max(1, count), "cuda", known.memory, peaks, recognised(gpu_here) == known, known.bf16)


# ---------------------------------------------------------------- what


def vocabulary(asked: Asked) -> tuple[int, str]:
    """Pieces of the tokenizer that is there, or that will be, and which of the two."""
    folder = asked.folder("tokenizer")
    if manifest(folder) is not None:
        return Codec(folder).vocab_size, str(folder)
    return asked.vocab_size, tell("as the recipe says; no tokenizer yet", "按配方；尚无分词器")


def planned(asked: Asked, verb: Verb, pieces: int, tried: Callable[[], None] = lambda: None) -> Planned:
    """All figures of one verb; `tried` is called for each micro-batch that was looked at."""
    config, place = asked.configs[verb], asked.place
    shape = shape_of(asked.model, config, pieces)
    sizes = Sizes.of(shape, config.seq_len)
    plan = Planned(verb, config, place.precision(config.precision), length(asked, verb), sizes)
    footprint = Footprint(config, shape, sizes, asked.document, tried)
    for setting in settings(asked, config, plan.precision):
        if not setting.refused:
            plan.columns[setting.engine] = _memory(footprint, setting, place.memory * ROOM)
    plan.mfu, plan.mfu_told = mfu(asked, verb, plan.precision)
    if plan.length.tokens is not None:
        speed = place.count * place.peaks[plan.precision] * plan.mfu
        plan.hours = plan.length.tokens * sizes.flops_per_token / speed / 3600
    return plan


def shape_of(model: ModelConfig, config: TrainConfig, pieces: int) -> PreTrainedConfig:
    """The model's config, as training would build it."""
    try:
        return architectures.family_config(model.family, model.completed(config.seq_len, pieces))
    except ValueError as error:
        raise UserError(str(error)) from None


def settings(asked: Asked, config: TrainConfig, precision: str) -> list[Setting]:
    """Each engine with so many processes."""
    place, bucket, found = asked.place, bucket_size(), []
    for engine in ENGINES:
        offload = asked.launch.offload if engine.startswith("zero") else "none"
        if offload == "all" and engine != "zero3":
            offload = "optimizer"
        found.append(Setting(engine, place.count, precision, config.optimizer, offload, bucket, place.device))
    return found


def bucket_size() -> int:
    """DeepSpeed's, as `ds_config.json` gives it."""
    try:
        given = json.loads(Path(DEFAULT_CONFIG).read_text(encoding="utf-8"))["zero_optimization"]["reduce_bucket_size"]
    except (OSError, ValueError, KeyError):
        return BUCKET
    return int(given) if isinstance(given, int | float) else BUCKET


def _memory(footprint: Footprint, setting: Setting, room: float) -> Memory | None:
    """At the recipe's micro-batch, or the largest that fits."""
    wanted = footprint.config.micro_batch
    share = even_share(footprint.config.batch_size, setting.world)
    rows = min(share, wanted) if wanted != "auto" else footprint.largest(setting, room)
    return footprint.at(setting, rows) if rows else None


def length(asked: Asked, verb: Verb) -> Length:
    """Steps and tokens, if they can be known."""
    config, pack, told = asked.configs[verb], asked.folder("pack"), ""
    epochs = f"{config.epochs} {tell('epochs', '轮')}"
    if config.epochs is None:
        count = steps(config, None)  # type: ignore[arg-type]  # only epochs ask the feed
    elif manifest(pack) is None:
        return Length(None, None, tell(f"{epochs} of what is not packed yet", f"{epochs}，数据尚未打包"))
    else:
        with tempfile.TemporaryDirectory() as cache:  # a plan leaves nothing
            feed = OBJECTIVES[verb].open_feed(config, pack, Codec(asked.folder("tokenizer")), Path(cache))
            count = steps(config, feed)
        told = tell(f"({epochs} of {pack})", f"（{epochs}，据 {pack}）")
    return Length(count, count * config.batch_size * config.seq_len, told)


def mfu(asked: Asked, verb: Verb, precision: str) -> tuple[float, str]:
    """The share of the peak that is reached: as given, as an earlier run here measured it, or as assumed."""
    if asked.mfu:
        return asked.mfu, tell("as given", "按所给")
    folder = asked.folder(verb)
    known = known_run(folder) or {}
    measured = [line["mfu"] for line in lines.read(folder / METRICS) if "loss" in line and line.get("mfu")]
    if asked.place.here and known.get("precision") == precision and len(measured) >= ENOUGH:
        return statistics.median(measured), tell(f"measured in {folder}", f"实测于 {folder}")
    return ASSUMED_MFU[asked.place.device], tell(
        "assumed, not measured; --mfu gives it", "假定而非实测；可用 --mfu 给出"
    )
