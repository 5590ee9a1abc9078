"""Of near copies one is kept: the first read that is no near copy of an earlier one that is kept.

So A ~ B ~ C, A unlike C, keeps A and C: what is left out is always verified against something that stays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Survival:
    """Rows that go, and for each the row that stays for it."""

    gone: np.ndarray
    stays: np.ndarray


def survivors(earlier: np.ndarray, later: np.ndarray, when_earlier: np.ndarray, when_later: np.ndarray) -> Survival:
    """Decide over all verified pairs of rows, in the order of the positions of the later ones."""
    order = np.lexsort((when_earlier, when_later))
    stays_for: dict[int, int] = {}
    for a, b in zip(earlier[order].tolist(), later[order].tolist(), strict=True):
        if a not in stays_for and b not in stays_for:
            stays_for[b] = a
    gone = np.array(sorted(stays_for), np.int64)
    return Survival(gone, np.array([stays_for[row] for row in gone.tolist()], np.int64))


def united(labels: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Labels in which those of `left[i]` and `right[i]` are one: the smallest that is connected to it.

    `left` and `right` are labels themselves.
    """
    names = np.unique(np.concatenate([left, right]))
    if not len(names):
        return labels
    parent = np.arange(len(names))
    a, b = np.searchsorted(names, left), np.searchsorted(names, right)
    while True:  # every label takes the smallest parent among its neighbours, until none changes
        before = parent.copy()
        least = np.minimum(parent[a], parent[b])
        np.minimum.at(parent, a, least)
        np.minimum.at(parent, b, least)
        parent = parent[parent]
        if (parent == before).all():
            break
    place = np.minimum(np.searchsorted(names, labels), len(names) - 1)
    known = names[place] == labels
    return np.where(known, names[parent[place]], labels)
