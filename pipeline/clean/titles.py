"""A title and what stands below it, as one question."""

from __future__ import annotations

SAME = 0.90
"""Dice coefficient of two texts' sets of characters from which the second only says the first again."""


def question(title: str, more: str) -> str:
    """Both, unless one of them adds nothing to the other."""
    said, below = title.strip(), more.strip()
    if not below or not said:
        return title if said else more
    if below in said or is_said_again(said, below):
        return title
    return more if said in below else f"{said}\n{below}"


def is_said_again(first: str, second: str) -> bool:
    """Have both texts the same characters, nearly?"""
    one = set(first)
    if 2 * len(one) * (1 - SAME) < SAME * len(set(second[:32]) - one):
        return False  # so many new ones at the beginning alone are too many
    other = set(second)
    return 2 * len(one & other) >= SAME * (len(one) + len(other))
