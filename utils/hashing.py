"""Numbers scattered so that neighbours have nothing in common, the same on any machine and with any numpy."""

from __future__ import annotations

import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""The step of splitmix64: 2^64 divided by the golden ratio."""


def scrambled(values: np.ndarray) -> np.ndarray:
    """Each 64-bit number's hash (the finaliser of splitmix64; 0 stays 0)."""
    h = values ^ (values >> np.uint64(30))
    h *= np.uint64(0xBF58476D1CE4E5B9)
    h ^= h >> np.uint64(27)
    h *= np.uint64(0x94D049BB133111EB)
    h ^= h >> np.uint64(31)
    return h


def mixed64(values: np.ndarray) -> np.ndarray:
    """The same a step further on, so that 0 does not stay 0."""
    return scrambled(values + GOLDEN)
