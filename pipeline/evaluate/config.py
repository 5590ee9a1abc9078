"""What can be chosen about evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class EvaluateConfig:
    """A model in, scores and a page out."""

    exams: list[str] = field(default_factory=list)
    """CSV files of question,answer that were not trained on: how many replies come back exactly."""

    recall: int = 1000
    """At most so many trained single-turn records are asked again; 0 asks none."""

    ask: list[str] = field(default_factory=list)
    """Questions whose answers are shown at the end."""

    max_new_tokens: int = 200
    """A reply ends here at the latest."""
