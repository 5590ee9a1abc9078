"""Preferences: what may be answered and what had better not, in the shapes of minimind, LLaMA-Factory and TRL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.clean.columns import joined, optional, rest
from pipeline.clean.protocol import Card, Found, Message, Sample, careful, message
from pipeline.clean.turns import LISTS, in_order, turn

CARD = Card(
    about="chosen and rejected, as texts, turns or lists of turns",
    homepage="https://huggingface.co/datasets/jingyaogong/minimind_dataset",
    files=("dpo.jsonl", "dpo_*.json"),
)
ASKED = ("prompt", "question", "instruction")
USED = frozenset({"chosen", "rejected", "system", "input", *ASKED, *LISTS})


def sniff(sample: Sample) -> int:
    """By its keys."""
    return int({"chosen", "rejected"} <= set(sample.keys))


@careful
def item(row: Mapping[str, Any]) -> Found:
    """A row. Lists that begin with the question share a beginning, which is what both answer."""
    chosen, rejected = (_turns(row, name, "assistant") for name in ("chosen", "rejected"))
    if chosen[0]["role"] == "assistant":
        before = _asked(row)
    else:
        shared = 0
        while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
            shared += 1
        before, chosen, rejected = chosen[:shared], chosen[shared:], rejected[shared:]
    chosen, rejected = (in_order([*before, *one])[len(before) :] for one in (chosen, rejected))
    if not chosen or not rejected or chosen[0]["role"] != "assistant" or rejected[0]["role"] != "assistant":
        raise ValueError("chosen and rejected do not answer the same")
    if chosen == rejected:
        raise ValueError("chosen and rejected say the same")
    return Found(messages=before, chosen=chosen, rejected=rejected, meta=rest(row, USED))


def _asked(row: Mapping[str, Any]) -> list[Message]:
    turns = _turns(row, next((name for name in (*LISTS, *ASKED) if row.get(name)), "prompt"), "user")
    if turns[-1]["role"] == "user":
        turns[-1]["content"] = joined(turns[-1]["content"], optional(row, "input"))
    return [message("system", said), *turns] if (said := optional(row, "system")).strip() else turns


def _turns(row: Mapping[str, Any], name: str, role: str) -> list[Message]:
    if name not in row:
        raise ValueError(f"no {name}")
    if (value := row[name]) is None or isinstance(value, str):
        return [message(role, value or "")]
    turns = [turn(one) for one in (value if isinstance(value, list) else [value])]
    if not turns:
        raise ValueError(f"nothing under {name}")
    return turns
