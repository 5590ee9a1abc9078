"""`python -m pipeline.pack RECIPE [section.key=value …]`: clean records and a tokenizer into token shards."""

from __future__ import annotations

import sys

from pipeline.pack.stage import run
from pipeline.recipe import from_command_line, recipe_help
from utils.console import run_program, say, tell


def main() -> None:
    """Read the recipe, run the stage, say if there was nothing to do."""
    words = sys.argv[1:]
    if "--help" in words or "-h" in words:
        print(recipe_help(["pack"]))
        return
    _, _, recipe = from_command_line(words)
    output = recipe.folder("pack")
    if not run(recipe.pack, recipe.folder("clean"), recipe.folder("tokenizer"), output):
        say(tell(f"pack: {output} is up to date", f"打包：{output} 已是最新"))


if __name__ == "__main__":
    run_program(main)
