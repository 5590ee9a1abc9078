"""`python -m pipeline.pack [RECIPE] [section.key=value …]`: clean records and a tokenizer into token shards.

`python -m pipeline.pack [RECIPE] --preview [N | record id]` shows records as they will be trained, and packs nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipeline.pack.preview import PREVIEW, USUAL, preview
from pipeline.pack.stage import run
from pipeline.recipe import HELP, Recipe, from_command_line, stage_program
from utils.console import UserError, run_program
from utils.recipe import is_flag


def pack(recipe: Recipe) -> bool:
    """Pack the clean records of the recipe's workspace."""
    return run(recipe.pack, recipe.folder("clean"), recipe.folder("tokenizer"), recipe.folder("pack"))


def show(words: Sequence[str]) -> None:
    """Records of the recipe's workspace, as they will be trained."""
    wanted, others = asked(words)
    recipe = from_command_line(others)[2]
    preview(recipe.pack, recipe.folder("clean"), recipe.folder("tokenizer"), wanted)


def asked(words: Sequence[str]) -> tuple[str, list[str]]:
    """What `--preview` or `--preview=…` wants to see, and the other words."""
    at = next(i for i, word in enumerate(words) if word.partition("=")[0] == PREVIEW)
    before, (_, equals, value), after = words[:at], words[at].partition("="), list(words[at + 1 :])
    if not equals and after and not (is_flag(after[0]) or after[0].endswith((".yaml", ".yml")) or after[0] in HELP):
        value = after.pop(0)
    if value.startswith("-"):
        raise UserError(f"{PREVIEW} {value}: give a number of records, or a record's id")
    return value or USUAL, [*before, *after]


if __name__ == "__main__":
    if any(word.partition("=")[0] == PREVIEW for word in sys.argv[1:]) and not set(HELP) & set(sys.argv):
        run_program(lambda: show(sys.argv[1:]))
    else:
        stage_program("pack", pack)
