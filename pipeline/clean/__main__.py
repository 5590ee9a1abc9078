"""`python -m pipeline.clean [RECIPE] [section.key=value …]`: raw corpora into clean records."""

from __future__ import annotations

from pipeline.clean.stage import run
from pipeline.recipe import Recipe, stage_program


def clean(recipe: Recipe) -> bool:
    """Clean what the recipe names, into its workspace."""
    return run(recipe.clean, recipe.folder("clean"))


if __name__ == "__main__":
    stage_program("clean", clean)
