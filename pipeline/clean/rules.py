"""Which clean records are not kept: thresholds over measured columns, asked in order, the first that hits is counted.

A rule that looks at one record is a threshold in RULES; those that need to see all records (`duplicates/`) come
behind them. A record's hits are bits, the rule's place in ALL being the bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.clean.config import Rules, threshold
from utils.arrays import numpy_of


@dataclass(frozen=True)
class Threshold:
    """A field of `config.Rules`, the measured column it looks at, and when it hits."""

    name: str
    column: str
    hits: Callable[[np.ndarray, float], np.ndarray]


def _below(values: np.ndarray, least: float) -> np.ndarray:
    return values < least


def _above(values: np.ndarray, most: float) -> np.ndarray:
    return values > most


BLANK = "empty"
LEAKED = "in_exam"
DUPLICATE = "duplicate"
PER_QUESTION, PER_ANSWER = "max_per_question", "max_per_answer"
NEAR = "near_duplicate"

RULES = (
    Threshold("min_chars", "shortest", _below),
    Threshold("max_chars", "chars", _above),
    Threshold("min_score", "score", _below),
    Threshold("min_han", "han", _below),
    Threshold("max_digits", "digits", _above),
    Threshold("max_symbols", "symbols", _above),
    Threshold("max_repeated_lines", "repeated_lines", _above),
    Threshold("max_top_2gram", "top_2gram", _above),
    Threshold("max_top_3gram", "top_3gram", _above),
    Threshold("max_top_4gram", "top_4gram", _above),
    Threshold("min_sentences", "sentences", _below),
    Threshold("max_ads", "ads", _above),
    Threshold("max_vulgar", "vulgar", _above),
    Threshold("max_swaps", "swaps", _above),
    Threshold("tails", "tail", _above),
    Threshold("tables", "table", _above),
    Threshold("translations", "translation", _above),
)
"""A record without the column's value (a score, where the corpus counts none) is never hit."""

ALL = (BLANK, *(rule.name for rule in RULES), DUPLICATE, PER_QUESTION, PER_ANSWER, NEAR, LEAKED)
"""Every reason to leave a record out, in the order in which they are asked."""

MEASURED = ("blank", "leaked", *dict.fromkeys(rule.column for rule in RULES))
"""The columns that rules look at."""


def bit(name: str) -> np.uint32:
    """A rule's bit."""
    return np.uint32(1 << ALL.index(name))


BEFORE_DUPLICATES = np.uint32(sum(1 << i for i in range(ALL.index(DUPLICATE))))
"""The bits of the rules that look at one record and stand before those that compare."""


def hits(columns: pa.RecordBatch, rules: Rules) -> np.ndarray:
    """For each record the bits of the rules that look at it alone."""
    found = np.zeros(len(columns), np.uint32)
    found[numpy_of(columns["blank"])] |= bit(BLANK)
    found[numpy_of(columns["leaked"])] |= bit(LEAKED)
    for rule in RULES:
        asked = threshold(rules, rule.name)
        if asked is not None:
            found[rule.hits(numpy_of(columns[rule.column]), asked)] |= bit(rule.name)
    return found


def first_hits(bits: np.ndarray) -> np.ndarray:
    """For each record the place in ALL of its first hit; -1 where there is none."""
    lowest = bits & (~bits + np.uint32(1))
    return np.where(bits == 0, -1, np.log2(np.maximum(lowest, 1)).astype(np.int64))
