"""`python -m pipeline.tokenizer [RECIPE] [section.key=value …]`: the tokenizer stage alone."""

from __future__ import annotations

import sys

from pipeline.recipe import from_command_line, recipe_help
from pipeline.tokenizer.stage import run
from utils.console import run_program, say, tell


def main() -> None:
    """Learn a vocabulary from the clean records of the recipe's workspace."""
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(recipe_help(["tokenizer"]))
        return
    _, _, recipe = from_command_line(sys.argv[1:])
    output = recipe.folder("tokenizer")
    if not run(recipe.tokenizer, recipe.folder("clean"), output):
        say(tell(f"tokenizer: {output} is up to date", f"词表：{output} 已是最新"))


if __name__ == "__main__":
    run_program(main)
