"""Texts go through rules; each rule is asked only about texts that its gate says it could change.

    mend(texts, rules_for("web")) -> the texts, mended

The same as all rules over each text, again until it stays as it is, but at the speed of the gates: which rules a text
is due is a set of bits, looked up for the whole batch at once, and again only for the texts that a rule changed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.clean.text.codes import Codes
from pipeline.clean.text.notes import Notes
from pipeline.clean.text.rule import Rule

ROUNDS = 16
"""The rules are gone through until a text stays as it is: `&amp;lt;br>` takes three rounds. More than this is play."""


def mend(texts: Sequence[str], rules: tuple[Rule, ...], notes: Notes | None = None) -> list[str]:
    """The texts after all rules, each of which leaves a mended text alone. Wants batches of a megabyte or so."""
    mended = list(texts)
    due_T = _due(Codes(mended), rules)
    for _ in range(ROUNDS):
        if not due_T.any():
            break
        for number, rule in enumerate(rules):
            asked = np.flatnonzero(due_T & np.uint32(1 << number))
            due_T[asked] &= ~np.uint32(1 << number)
            changed, before = _apply(rule, mended, asked.tolist())
            if changed:
                after = Codes([mended[i] for i in changed])
                due_T[changed] = _due(after, rules)
                if notes is not None:
                    notes.add(rule, Codes(before), after)
    return mended


def _apply(rule: Rule, texts: list[str], asked: Sequence[int]) -> tuple[list[int], list[str]]:
    """Which of the texts asked about changed (in place), and what they were."""
    changed, before = [], []
    for i in asked:
        text = texts[i]
        result = rule.apply(text)
        if result != text:
            changed.append(i)
            before.append(text)
            texts[i] = result
    return changed, before


def _due(codes: Codes, rules: Sequence[Rule]) -> np.ndarray:
    """For each text the set of rules that could change it."""
    due_T = np.zeros(len(codes.texts), np.uint32)
    for number, rule in enumerate(rules):
        due_T |= rule.gate(codes).astype(np.uint32) << np.uint32(number)
    return due_T
