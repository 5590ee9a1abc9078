"""`python -m pipeline.evaluate RECIPE [section.key=value …]`: a workspace's model into scores and a page."""

from __future__ import annotations

import sys
from pathlib import Path

from pipeline.evaluate.stage import run_workspace, show
from pipeline.recipe import from_command_line, recipe_help
from utils.console import run_program, say, tell


def main() -> None:
    """Read the recipe, run the stage; what is finished is shown again."""
    words = sys.argv[1:]
    if "--help" in words or "-h" in words:
        print(recipe_help(["evaluate"]))
        return
    _, _, recipe = from_command_line(words)
    output = recipe.folder("evaluate")
    if not run_workspace(recipe.evaluate, Path(recipe.workspace)):
        say(tell(f"evaluate: {output} is up to date", f"评测：{output} 已是最新"))
        show(output)


if __name__ == "__main__":
    run_program(main)
