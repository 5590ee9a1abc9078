"""Dialogues of any length: minimind's role/content, ShareGPT's from/value, with reasoning, tools and calls."""

from __future__ import annotations

from pipeline.clean.protocol import Card, Sample
from pipeline.clean.turns import LISTS, conversation

CARD = Card(
    about="conversations (or messages) of role/content or from/value",
    homepage="https://huggingface.co/datasets/jingyaogong/minimind_dataset",
    files=("sft_*.jsonl", "lora_*.jsonl", "r1_mix_*.jsonl"),
)
item = conversation


def sniff(sample: Sample) -> int:
    """By its keys; a choice between two answers is another matter."""
    keys = set(sample.keys)
    return int(not keys.isdisjoint(LISTS) and "chosen" not in keys)
