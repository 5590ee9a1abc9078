"""`python -m pipeline.clean [RECIPE] [section.key=value …]`: the clean stage alone."""

from __future__ import annotations

import sys

from pipeline.clean.stage import run
from pipeline.recipe import from_command_line, recipe_help
from utils.console import run_program, say, tell


def main() -> None:
    """Clean what the recipe names, into its workspace."""
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(recipe_help(["clean"]))
        return
    _, _, recipe = from_command_line(sys.argv[1:])
    output = recipe.folder("clean")
    if not run(recipe.clean, output):
        say(tell(f"clean: {output} is up to date", f"清洗：{output} 已是最新"))


if __name__ == "__main__":
    run_program(main)
