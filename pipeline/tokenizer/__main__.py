"""`python -m pipeline.tokenizer [RECIPE] [section.key=value …]`: clean records into a tokenizer."""

from __future__ import annotations

from pipeline.recipe import Recipe, stage_program
from pipeline.tokenizer.stage import run


def tokenizer(recipe: Recipe) -> bool:
    """Learn a vocabulary from the clean records of the recipe's workspace."""
    return run(recipe.tokenizer, recipe.folder("clean"), recipe.folder("tokenizer"))


if __name__ == "__main__":
    stage_program("tokenizer", tokenizer)
