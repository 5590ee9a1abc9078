"""`python -m pipeline [RECIPE.yaml] [section.key=value …] [--until=STAGE]`: a recipe's stages, in order.

Without a recipe: configs/demo.yaml.
"""

from __future__ import annotations

import sys

from pipeline.recipe import HELP, from_command_line, plain_words, recipe_help
from pipeline.runner import STAGES, run_recipe
from utils.console import UserError, run_program
from utils.recipe import nearest


def main() -> None:
    """Read the command line and run."""
    words = plain_words(sys.argv[1:], options=["until"])
    if set(HELP) & set(words):
        print(f"{__doc__}\nStages: {', '.join(STAGES)}\n\n{recipe_help()}")
        return
    ends = [word.partition("=")[2] for word in words if word.startswith("until=")]
    until = ends[-1] if ends else STAGES[-1]
    if until not in STAGES:
        raise UserError(f"--until={until}: no such stage{nearest(until, STAGES)}")
    run_recipe(*from_command_line([w for w in words if not w.startswith("until=")]), until=until)


if __name__ == "__main__":
    run_program(main)
