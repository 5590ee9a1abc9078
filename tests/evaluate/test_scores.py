"""Shares and their intervals."""

from __future__ import annotations

import pytest

from pipeline.evaluate.scores import Reply, by_source, score, similarity, wilson


@pytest.mark.parametrize(
    ("hits", "asked", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662)],
)
def test_wilson_equals_the_published_values(hits: int, asked: int, low: float, high: float) -> None:
    """Newcombe (1998), table I, and its well-known cases at n = 10."""
    assert wilson(hits, asked) == pytest.approx((low, high), abs=5e-5)


def test_nothing_asked_is_nothing_known() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert score([])["share"] == 0.0


def test_similarity_is_of_characters() -> None:
    assert similarity("今天很好", "今天很好") == 1
    assert similarity("甲乙", "丙丁") == 0
    assert similarity("今天很好", "今天不好") == 0.75


def test_a_reply_counts_only_if_it_is_equal() -> None:
    replies = [Reply("q", "是。", "是。", "a"), Reply("q", "是。", "是", "a"), Reply("q", "对", "对", "b")]
    whole = score(replies)
    assert (whole["exact"], whole["asked"]) == (2, 3)
    assert whole["share"] == pytest.approx(2 / 3)
    assert {name: part["exact"] for name, part in by_source(replies).items()} == {"a": 1, "b": 1}
