"""SkyPile: pages of the Chinese web as {text}, cleaned once; phone numbers and mail addresses are left in it."""

from __future__ import annotations

from pipeline.clean.config import Rules
from pipeline.clean.corpora import text
from pipeline.clean.protocol import Card, Sample

CARD = Card(
    about="SkyPile-150B: JSON lines of text",
    homepage="https://huggingface.co/datasets/Skywork/SkyPile-150B",
    files=("[12][0-9][0-9][0-9]-[0-9][0-9]_zh_*.jsonl", "*skypile*"),
    size="600 GB; 150 billion tokens",
    licence="Skywork Community License",
    profile="web",
    rules=Rules(
        min_chars=50,
        max_chars=10_000,
        min_han=0.3,
        max_digits=0.3,
        max_symbols=0.1,
        max_repeated_lines=0.29,
        max_top_2gram=0.20,
        max_top_3gram=0.18,
        max_top_4gram=0.16,
        min_sentences=1,
        near=0.8,
    ),
)
item = text.item


def sniff(sample: Sample) -> int:
    """Its rows are any text's: only the name tells."""
    return text.sniff(sample) if CARD.names(sample.name) else 0
