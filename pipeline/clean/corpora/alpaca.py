"""alpaca: instruction, input, output; the output may be a list of answers, and `history` may go before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.clean.columns import Columns, optional
from pipeline.clean.protocol import Card, Found, Sample, careful, message

CARD = Card(about="instruction, input, output")
COLUMNS = Columns(question="instruction", more="input", answer="output")


def sniff(sample: Sample) -> int:
    """By its keys."""
    return int({"instruction", "output"} <= set(sample.keys))


@careful
def item(row: Mapping[str, Any]) -> Found:
    """A row, with what LLaMA-Factory lets stand before it: a system turn, and pairs of earlier turns."""
    found = COLUMNS.found(row)
    if "history" in row or "system" in row:
        before = [message("system", said)] if (said := optional(row, "system")).strip() else []
        history = row.get("history") or []
        for one in history if isinstance(history, list) else [history]:
            if not isinstance(one, list) or len(one) != 2 or not all(isinstance(said, str) for said in one):
                raise ValueError("history holds what is no pair of texts")
            before += [message("user", one[0]), message("assistant", one[1])]
        assert found.messages is not None
        found.messages[:0] = before
        found.meta.pop("history", None)
        found.meta.pop("system", None)
    return found
