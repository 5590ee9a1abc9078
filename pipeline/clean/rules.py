"""Which clean records are not kept. Rules are asked in order, and the first that says no is counted."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.clean.config import CleanConfig
from utils.records import Record

Rule = Callable[[Record, CleanConfig], bool]


def empty(record: Record, config: CleanConfig) -> bool:
    """No text; or a question, or a reply without a call, that says nothing."""
    if record["kind"] == "text":
        return not record["text"]
    heard = ("user", "assistant")
    return any(m["role"] in heard and not m["content"] and not m["tool_calls"] for m in record["messages"])


def min_chars(record: Record, config: CleanConfig) -> bool:
    """A text, or a reply without a call, shorter than asked for."""
    if record["kind"] == "text":
        return len(record["text"]) < config.min_chars
    said = (m for m in record["messages"] if m["role"] == "assistant" and not m["tool_calls"])
    return any(len(m["content"]) < config.min_chars for m in said)


def max_chars(record: Record, config: CleanConfig) -> bool:
    """A text, or a dialogue in all, longer than asked for."""
    return sum(len(text) for text in texts(record)) > config.max_chars


RULES: dict[str, Rule] = {"empty": empty, "min_chars": min_chars, "max_chars": max_chars}
DUPLICATE = "duplicate"
"""The rule that needs to see all records, and so comes last (`merge.py`)."""


def first_hit(record: Record, config: CleanConfig) -> str | None:
    """The first rule that drops this record."""
    return next((name for name, rule in RULES.items() if rule(record, config)), None)


def texts(record: Record) -> list[str]:
    """Everything in a record that is written for a reader."""
    if record["kind"] == "text":
        return [record["text"]]
    written = [m[name] for m in record["messages"] for name in ("content", "reasoning", "tool_calls")]
    return [text for text in [*written, record["tools"]] if text]
