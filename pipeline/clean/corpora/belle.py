"""BELLE: instructions with a model's answers, in four shapes; one of them hides earlier turns in the instruction."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pipeline.clean.columns import Columns, joined, optional, rest, text
from pipeline.clean.corpora import alpaca
from pipeline.clean.protocol import Card, Found, Item, Sample, careful, message
from pipeline.clean.turns import conversation, in_order

CARD = Card(
    about="BELLE: instruction, input, output, with Human:/Assistant: turns in it; or input, target; or conversations",
    homepage="https://huggingface.co/BelleGroup",
    files=(
        "Belle_open_source_*.json",
        "train_[0-9]*M_CN.json",
        "multiturn_chat_0.8M.json",
        "generated_chat_0.4M.json",
        "school_math_0.25M.json",
    ),
    size="0.2 to 3.5 million dialogues a file",
    licence="GPL-3.0",
)
short = careful(Columns(question="input", answer="target").found)
USED = frozenset({"instruction", "input", "output"})
_TURN = re.compile(r"(?:^|\n)\s*(Human|Assistant)\s*[:：]")
_ROLES = {"Human": "user", "Assistant": "assistant"}


def sniff(sample: Sample) -> int:
    """Its rows are like others': it takes its name to tell, or turns in an instruction."""
    turns = any(_TURN.match(said) for row in sample.first if isinstance(said := row.get("instruction"), str))
    shape = not {"output", "target", "conversations"}.isdisjoint(sample.keys)
    return 2 if shape and (turns or CARD.names(sample.name)) else 0


def item(row: Mapping[str, Any]) -> Item | list[Found]:
    """A row of any of the shapes."""
    return conversation(row) if "conversations" in row else instruction(row) if "instruction" in row else short(row)


@careful
def instruction(row: Mapping[str, Any]) -> Found:
    """An instruction, or a dialogue whose last answer stands in `output`."""
    asked = text(row, "instruction")
    if _TURN.match(asked) is None:
        return alpaca.COLUMNS.found(row)
    _, *pieces = _TURN.split(joined(asked, optional(row, "input")))
    said = [message(_ROLES[who], what.strip()) for who, what in zip(pieces[::2], pieces[1::2], strict=True)]
    if said[-1] == message("assistant", ""):
        said.pop()
    said.append(message("assistant", text(row, "output")))
    return Found(messages=in_order(said), meta=rest(row, USED))
