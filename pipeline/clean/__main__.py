"""`python -m pipeline.clean [RECIPE] [section.key=value …]`: raw corpora into clean records.

`python -m pipeline.clean --look FILE…` shows what files are taken for, and cleans nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipeline.clean.look import look
from pipeline.recipe import Recipe, stage_program
from utils.console import UserError, run_program, say

LOOK = "--look"


def clean(recipe: Recipe) -> bool:
    """Clean what the recipe names, into its workspace."""
    from pipeline.clean.stage import run

    return run(recipe.clean, recipe.folder("clean"))


def show(names: Sequence[str]) -> None:
    """What each of these files is taken for."""
    if not names or names[0] in ("-h", "--help"):
        raise UserError(f"{LOOK}: give a file, a folder or a glob: python -m pipeline.clean {LOOK} my.csv")
    problems = []
    for name in names:
        try:
            for one in look(name):
                say("\n".join(one.lines()))
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise UserError("; ".join(problems))


if __name__ == "__main__":
    if sys.argv[1:2] == [LOOK]:
        run_program(lambda: show(sys.argv[2:]))
    else:
        stage_program("clean", clean)
