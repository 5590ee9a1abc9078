"""What a training run is asked to do: one verb of one recipe, the folders it reads and the one it writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pipeline.train.config import ModelConfig, TrainConfig, Verb
from utils.stage import Json


@dataclass(frozen=True)
class Task:
    """One verb of one recipe, with the folders it reads and the one it writes."""

    verb: Verb
    config: TrainConfig
    model: ModelConfig
    tokenizer: Path
    pack: Path
    init: Path | None
    """The model folder that a finetune begins with; None begins with random weights."""
    output: Path
    overwrite: bool = False
    recipe: Json = field(default_factory=dict)
    """The whole recipe as it was resolved, to be kept with the output."""

    @property
    def plan(self) -> Path:
        """What was found out about the shards: a cache, which may be deleted."""
        return self.output / "plan"
