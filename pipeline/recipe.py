"""A whole recipe: the sections of all stages, and how a command line names one.

Every command reads the whole recipe, so that a typing mistake in any section is told before work begins.
Config classes are free of torch, and so is this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from pipeline.clean.config import CleanConfig
from pipeline.evaluate.config import EvaluateConfig
from pipeline.pack.config import PackConfig
from pipeline.tokenizer.config import TokenizerConfig
from pipeline.train.config import FinetuneConfig, LaunchConfig, ModelConfig, PretrainConfig
from utils.console import UserError
from utils.recipe import field_types, help_text, is_flag, read_recipe

DEFAULT = "configs/demo.yaml"


@dataclass(frozen=True)
class Recipe:
    """One section a stage; a folder of the workspace a stage."""

    workspace: str
    """Where the outputs go; runs/<recipe name> unless given."""

    overwrite: bool = False
    """Train anew where a changed recipe would otherwise be refused; the old folder is set aside."""

    clean: CleanConfig = field(default_factory=CleanConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    pack: PackConfig = field(default_factory=PackConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    pretrain: PretrainConfig = field(default_factory=lambda: PretrainConfig(epochs=1))
    finetune: FinetuneConfig = field(default_factory=lambda: FinetuneConfig(epochs=3))
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    launch: LaunchConfig = field(default_factory=LaunchConfig)

    def folder(self, stage: str) -> Path:
        """Where a stage leaves its output."""
        return Path(self.workspace) / stage


def from_command_line(words: Sequence[str]) -> tuple[str, list[str], Recipe]:
    """`[RECIPE] [section.key=value …]`: the recipe's path, its flags, and the recipe. DEFAULT if none is named."""
    words = [word for word in words if word != "--config"]
    flags = [word for word in words if is_flag(word) and not word.lstrip("-").startswith("config=")]
    others = [word.removeprefix("--").removeprefix("config=") for word in words if word not in flags]
    unknown = [word for word in others if not word.endswith((".yaml", ".yml"))]
    if unknown:
        raise UserError(f"{unknown[0]}: not understood; give a recipe (.yaml) and fields as section.key=value")
    if len(others) > 1:
        raise UserError(f"{others[1]}: a second recipe; give one")
    path = others[0] if others else DEFAULT
    return path, flags, read_recipe(path, flags, Recipe)


def recipe_help(sections: Sequence[str] = ()) -> str:
    """Every field of the sections named (all of them, if none is), with default and comment."""
    kinds = field_types(Recipe)
    names = sections or [f.name for f in fields(Recipe) if f.name not in ("workspace", "overwrite")]
    head = "workspace=runs/<recipe name>  where the outputs go\noverwrite=false  train anew where a change is refused"
    return "\n\n".join([head, *(help_text(kinds[name], name) for name in names)])
