"""A whole recipe: the sections of all stages, how a command line names one, and a stage's own command.

Every command reads the whole recipe, so that a typing mistake in any section is told before work begins.
Config classes are free of torch, and so is this module.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn, get_args

from pipeline.clean.config import CleanConfig
from pipeline.evaluate.config import EvaluateConfig
from pipeline.pack.config import PackConfig
from pipeline.tokenizer.config import TokenizerConfig
from pipeline.train.config import FinetuneConfig, LaunchConfig, ModelConfig, PretrainConfig, Verb
from utils.console import UserError, run_program, say, tell
from utils.recipe import field_types, help_text, is_flag, read_recipe
from utils.stage import refuse_locked

DEFAULT = "configs/demo.yaml"
HELP = ("--help", "-h")


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

    def __post_init__(self) -> None:
        if not self.workspace.strip():
            raise ValueError("workspace is empty; name a folder")
        if "://" in self.workspace:
            raise ValueError(f"workspace = {self.workspace}; it is a folder of this machine (clean.store may be a URL)")
        object.__setattr__(self, "workspace", os.path.expanduser(self.workspace))

    def folder(self, stage: str) -> Path:
        """Where a stage leaves its output."""
        return Path(self.workspace) / stage

    def resolved(self) -> dict[str, Any]:
        """As YAML would say it, every default written out: a recipe that makes the same again."""
        values = {name: value for name, value in asdict(self).items() if name != "overwrite"}
        values["model"] = {"family": self.model.family, **self.model.fields}
        for verb in ("pretrain", "finetune"):
            values[verb] = {name: value for name, value in values[verb].items() if value is not None}
        return values


def plain_words(words: Sequence[str], options: Sequence[str] = ()) -> list[str]:
    """One spelling of each: `--section.key value`, `--section.key=value` and `section.key=value` become the last;
    `--config RECIPE` and `--config=RECIPE` the recipe alone; `--option value` of the `options`, `option=value`."""
    plain, todo = [], list(words)
    while todo:
        word = todo.pop(0)
        name, equals, value = word.lstrip("-").partition("=")
        if name not in ("config", *options) and not is_flag(f"{name}="):
            plain.append(word)
            continue
        if word.startswith("--") and not equals:
            if not todo:
                raise UserError(f"{word}: give its value, as {name}=…")
            value = todo.pop(0)
        elif not equals:
            plain.append(word)
            continue
        plain.append(value if name == "config" else f"{name}={value}")
    return plain


def from_command_line(words: Sequence[str]) -> tuple[str, list[str], Recipe]:
    """`[RECIPE] [section.key=value …]`: the recipe's path, its flags, and the recipe. DEFAULT if none is named."""
    words = plain_words(words)
    flags = [word for word in words if is_flag(word)]
    others = [word for word in words if not is_flag(word)]
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


def refuse_while_training(recipe: Recipe) -> None:
    """What a run still reads is not made again under it."""
    for verb in get_args(Verb):
        refuse_locked(recipe.folder(verb))


def stage_program(stage: str, run: Callable[[Recipe], bool]) -> NoReturn:
    """The program `python -m pipeline.<stage> [RECIPE] [section.key=value …]`: `run` is False if nothing was to do."""

    def main() -> None:
        words = sys.argv[1:]
        if set(HELP) & set(words):
            print(recipe_help([stage]))
            return
        path, flags, recipe = from_command_line(words)
        if flags and path not in plain_words(words):
            say(tell(f"recipe {path}, workspace {recipe.workspace}", f"配方 {path}，工作区 {recipe.workspace}"))
        if stage != "evaluate":
            refuse_while_training(recipe)
        if not run(recipe):
            output = recipe.folder(stage)
            say(tell(f"{stage}: {output} is up to date", f"{stage}：{output} 已是最新"))

    run_program(main)
