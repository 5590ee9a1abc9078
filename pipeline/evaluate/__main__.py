"""`python -m pipeline.evaluate [RECIPE] [section.key=value …]`: a workspace's model into scores and a page."""

from __future__ import annotations

from pathlib import Path

from pipeline.evaluate.stage import run_workspace, show
from pipeline.recipe import Recipe, stage_program


def evaluate(recipe: Recipe) -> bool:
    """Examine the newest model of the workspace; what was found before is shown again."""
    if run_workspace(recipe.evaluate, Path(recipe.workspace)):
        return True
    show(recipe.folder("evaluate"))
    return False


if __name__ == "__main__":
    stage_program("evaluate", evaluate)
