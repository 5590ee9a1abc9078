"""`python -m pipeline.pack [RECIPE] [section.key=value …]`: clean records and a tokenizer into token shards."""

from __future__ import annotations

from pipeline.pack.stage import run
from pipeline.recipe import Recipe, stage_program


def pack(recipe: Recipe) -> bool:
    """Pack the clean records of the recipe's workspace."""
    return run(recipe.pack, recipe.folder("clean"), recipe.folder("tokenizer"), recipe.folder("pack"))


if __name__ == "__main__":
    stage_program("pack", pack)
