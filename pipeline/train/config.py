"""What can be chosen about training. No torch here: every command reads recipes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from utils.console import well_formed

Verb = Literal["pretrain", "finetune"]
"""What a run learns, and the folder of its workspace."""


MOST, MOST_TOKENS = 2**53, 2**27
"""Beyond this no number of a recipe is meant, and no batch."""


@dataclass(frozen=True)
class ModelConfig:
    """The architecture: its family, and the family's own config names, as in its config.json."""

    REST: ClassVar[str] = "fields"

    family: Literal["gpt"] = "gpt"
    """Which folder of model/ builds it."""

    fields: dict[str, Any] = field(default_factory=dict)
    """A field of the family's config.json: hidden_size, num_hidden_layers, num_attention_heads, …"""

    def __post_init__(self) -> None:
        if "vocab_size" in self.fields:
            raise ValueError("vocab_size: the tokenizer decides it; give tokenizer.vocab_size")

    def completed(self, seq_len: int, pieces: int) -> dict[str, Any]:
        """The fields of a model of so many pieces, whose positions, unless they are given, have room for a row."""
        return {"max_position_embeddings": max(seq_len, 1024), **self.fields, "vocab_size": pieces}


@dataclass(frozen=True)
class LaunchConfig:
    """How `python -m pipeline` starts training. Under a launcher, the launcher's own topology holds."""

    num_processes: int = 0
    """Processes, one a GPU; 0 takes every GPU there is, or one process on the CPU."""

    engine: Literal["auto", "single", "ddp", "zero1", "zero2", "zero3"] = "auto"
    """Who keeps several processes together; auto: single for one process, ddp for more."""

    offload: Literal["none", "optimizer", "all"] = "none"
    """What ZeRO keeps in the CPU's memory: moments (zero1 to zero3), or weights as well (zero3)."""

    max_restarts: int = 0
    """How often a launch of several processes starts again by itself after a crash, from the newest checkpoint."""

    def __post_init__(self) -> None:
        if self.num_processes < 0:
            raise ValueError(f"num_processes = {self.num_processes}; give 0 for every GPU, or a number")
        if self.max_restarts < 0:
            raise ValueError(f"max_restarts = {self.max_restarts}; give 0 or above")
        if self.offload != "none" and not self.engine.startswith("zero"):
            raise ValueError(f"offload = {self.offload} needs ZeRO; give engine=zero2 or zero3, or offload=none")
        if self.offload == "all" and self.engine != "zero3":
            raise ValueError(f"offload = all with engine={self.engine}; only zero3 can, others offload=optimizer")


@dataclass(frozen=True)
class TrainConfig:
    """What pretrain and finetune have in common."""

    GOES_ON: ClassVar[frozenset[str]] = frozenset(
        {
            "max_steps",
            "max_tokens",
            "epochs",
            "min_steps",
            "micro_batch",
            "compile",
            "gradient_checkpointing",
            "save_every",
            "save_minutes",
            "eval_every",
            "keep",
            "keep_every",
            "keep_best",
            "resume",
            "samples",
            "skips",
            "record_ids",
            "wandb",
        }
    )
    """A run may go on with another value of these; any other change makes it another run."""

    ONE_OF: ClassVar[tuple[tuple[str, ...], ...]] = (("max_steps", "max_tokens", "epochs"),)
    """A flag that gives one of these takes the place of the recipe's."""

    NOT_NEGATIVE: ClassVar[tuple[str, ...]] = (
        "min_steps", "clip", "eval_every", "save_minutes", "keep_every", "warmup", "decay", "min_lr", "weight_decay",
        "seed",
    )  # fmt: skip

    batch_size: int = 32
    """Rows a step, over all processes; accumulation follows from the hardware."""

    seq_len: int = 512
    """Tokens a row."""

    micro_batch: int | Literal["auto"] = "auto"
    """Rows a process works on at once: memory, speed and rounding change, nothing else. auto: what fits and pays."""

    mix: dict[str, float] = field(default_factory=dict)
    """Share of the sequences that each source gives; by size if empty."""

    max_steps: int | None = None
    """How long: so many optimizer steps …"""

    max_tokens: int | None = None
    """… or so many tokens (batch_size x seq_len a step) …"""

    epochs: int | None = None
    """… or so often through the data. Exactly one of the three."""

    min_steps: int = 0
    """With epochs: at least so many steps; little data is read more often, to reach it."""

    lr: float = 1e-3
    """Peak learning rate. Under adafactor it is a share of each matrix's own size: 1e-2, say."""

    optimizer: Literal["adamw", "muon", "adafactor"] = "adamw"
    """Who takes the step. muon: Muon for the matrices of the layers, AdamW for the rest (one process or ddp)."""

    muon_lr: float = 0.02
    """Peak learning rate of what Muon steps; it moves as lr does."""

    muon_momentum: float = 0.95
    """Muon's memory of the gradient."""

    schedule: Literal["wsd", "cosine", "linear", "noam", "onecycle", "constant"] = "wsd"
    """How the learning rate moves: wsd warms up, stays, decays; docs/training.md tells them apart."""

    warmup: float = 0.02
    """Share of the steps that warm up."""

    decay: float = 0.5
    """Share of the steps that decay, at the end (wsd)."""

    min_lr: float = 0.0
    """Where the decay ends, as a share of lr."""

    weight_decay: float = 0.1
    """On matrices only."""

    beta1: float = 0.9
    """AdamW's memory of the gradient."""

    beta2: float = 0.95
    """AdamW's memory of its square."""

    clip: float = 1.0
    """Largest norm of the gradient; 0 never clips."""

    label_smoothing: float = 0.0
    """Share of each target given to all pieces alike; held-out figures are without it."""

    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Of products; masters, moments, statistics and loss are fp32 in all of them."""

    gradient_checkpointing: Literal["none", "selective", "full"] = "none"
    """Compute activations twice instead of keeping them: of the feed-forward and norms (selective), or all (full)."""

    compile: Literal["auto", "always", "never"] = "auto"
    """torch.compile; auto: if the run is long enough to earn back the time that compiling takes."""

    seed: int = 0
    """Initial weights, and the order of the data."""

    save_every: int = 500
    """Steps between checkpoints."""

    save_minutes: float = 0.0
    """Save so often by the clock, too; 0 never does."""

    eval_every: int = 0
    """Steps between looks at held-out text; 0 looks at the end only."""

    keep: int = 2
    """Newest checkpoints kept; the one before the decay stays as well."""

    keep_every: int = 0
    """Keep the checkpoints of steps that this divides for good; 0 keeps none."""

    keep_best: bool = True
    """With eval_every: save and keep the step with the fewest held-out bits per byte."""

    samples: list[str] = field(default_factory=list)
    """Beginnings (pretrain) or questions (finetune) that the model goes on from at each look."""

    skips: int = 5
    """After so many steps in a row without a finite gradient, the run goes back to its last checkpoint, once."""

    record_ids: bool = False
    """Write ids-<rank>.jsonl: which records each step has read."""

    resume: bool = True
    """Go on from the newest checkpoint; false refuses if there is one."""

    wandb: str = "yaya"
    """Project at wandb, used only if a key, a login or WANDB_MODE is there; WANDB_MODE=disabled turns it off."""

    @property
    def streamed(self) -> bool:
        """Does the data come from a stream, not from packed shards?"""
        return False

    def __post_init__(self) -> None:
        given = [name for name in self.ONE_OF[0] if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of max_steps, max_tokens, epochs; got {', '.join(given) or 'none'}")
        for name in ("batch_size", "seq_len", given[0], "lr", "muon_lr", "save_every", "keep", "skips"):
            if not 0 < getattr(self, name) < MOST:
                raise ValueError(f"{name} = {getattr(self, name)}; it must be above 0 and of this world")
        tokens = self.batch_size * self.seq_len
        if tokens > MOST_TOKENS:
            raise ValueError(f"batch_size x seq_len = {tokens:,} tokens a step; give at most {MOST_TOKENS:,}")
        for name in self.NOT_NEGATIVE:
            if not 0 <= getattr(self, name) < MOST:
                raise ValueError(f"{name} = {getattr(self, name)}; it must be 0 or above, and of this world")
        for name in ("beta1", "beta2", "muon_momentum", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)}; give a share of 0 or more, below 1")
        if self.min_lr > 1:
            raise ValueError(f"min_lr = {self.min_lr:g}; it is a share of lr: give 0 to 1")
        for number, text in enumerate(self.samples):
            if well_formed(text) != text:
                raise ValueError(f"samples[{number}]: not UTF-8; type it in a UTF-8 locale, or write it in the recipe")
        if self.micro_batch != "auto" and self.micro_batch <= 0:
            raise ValueError(f"micro_batch = {self.micro_batch}; give a number above 0, or auto")
        if self.warmup > 1 or (self.schedule == "wsd" and self.warmup + self.decay > 1):
            raise ValueError(f"warmup + decay = {self.warmup + self.decay:g}; together they must not exceed 1")


@dataclass(frozen=True)
class PretrainConfig(TrainConfig):
    """Learn to continue text."""

    epochs: int | None = None
    """… or so often through the data. Exactly one of the three."""

    stream: str | list[str] = ""
    """Read a stream as it trains, instead of packed shards: parquet or JSON lines (a path, a glob, a URL or a list of
    them; `part-{000..012}.parquet` counts), or a hub dataset, `hf://owner/name[/config]`."""

    stream_text: str = "text"
    """The column of the stream that holds the text."""

    @property
    def streamed(self) -> bool:
        """Does the data come from a stream, not from packed shards?"""
        return bool(self.stream)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.streamed and self.epochs is not None:
            raise ValueError("epochs: nobody knows how long a stream is; give max_steps or max_tokens instead")


@dataclass(frozen=True)
class FinetuneConfig(TrainConfig):
    """Learn to answer: only the assistant's words are trained."""

    blur: float = 0.0
    """Share of the tokens of the user's turns left out or replaced, drawn anew at each reading, so that other
    wordings are answered, too: 0.25, say. Turns of fewer than 4 tokens stay; 0 is off."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.blur < 1:
            raise ValueError(f"blur = {self.blur}; give a share of 0 or more, below 1")
