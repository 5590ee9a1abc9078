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

    def __post_init__(self) -> None:
        if self.recall < 0:
            raise ValueError(f"recall = {self.recall}; give a number of records, or 0 to ask none")
        if not 1 <= self.max_new_tokens < 1 << 31:
            raise ValueError(f"max_new_tokens = {self.max_new_tokens}; a reply needs room for one token at least")
        for place, question in enumerate(self.ask):
            if not question.strip():
                raise ValueError(f"ask[{place}] is empty; write a question there, or take it out of the list")
