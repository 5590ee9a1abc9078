"""How many steps a recipe's length makes."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.train.config import FinetuneConfig
from pipeline.train.horizon import horizon, steps


class Data:
    """A feed of so many sequences, as far as its length goes."""

    def __init__(self, sequences: int):
        self.sequences = sequences


@pytest.mark.parametrize(
    ("fields", "sequences", "expected"),
    [
        ({"max_steps": 7, "min_steps": 100}, 50, 7),  # a number of steps is that number
        ({"max_tokens": 1000}, 50, 4),  # 250 tokens a step
        ({"epochs": 3}, 21, 7),  # 63 sequences, the last step's rows run into the next epoch
        ({"epochs": 3, "min_steps": 100}, 20, 100),
        ({"epochs": 3, "min_steps": 100}, 2000, 600),
    ],
)
def test_a_length_in_steps(fields: dict[str, Any], sequences: int, expected: int) -> None:
    config = FinetuneConfig(batch_size=10, seq_len=25, **fields)
    assert steps(config, Data(sequences)) == expected  # type: ignore[arg-type]


def test_another_length_is_another_horizon() -> None:
    """A finished run is told from one that is to go on by this."""
    lengths = [{"epochs": 3}, {"epochs": 4}, {"epochs": 3, "min_steps": 9}, {"max_steps": 3}]
    assert len({str(horizon(FinetuneConfig(**fields))) for fields in lengths}) == len(lengths)
