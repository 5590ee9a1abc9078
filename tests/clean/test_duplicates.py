"""Copies and near copies: signatures that keep similarity, candidates that are verified, one survivor."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.clean.duplicates.near import similarities
from pipeline.clean.duplicates.survivors import Survival, survivors, united
from pipeline.clean.text.codes import Codes
from pipeline.clean.text.shingles import (
    BINS,
    LONG_SHINGLE,
    SHORT,
    SHORT_SHINGLE,
    Words,
    bands,
    signatures,
    words_of,
)

HAN = "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏闰余成岁律吕调阳云腾致雨露结为霜金生丽水玉出昆冈"


def words(texts: Sequence[str]) -> Words:
    codes = Codes(texts)
    return words_of(codes)


def said(text: str) -> str:
    return "".join(c.lower() if c.isascii() else c for c in text if c.isalnum())


def jaccard(a: str, b: str) -> float:
    width = LONG_SHINGLE if min(len(a), len(b)) >= SHORT else SHORT_SHINGLE
    x, y = ({t[i : i + width] for i in range(len(t) - width + 1)} for t in (a, b))
    return len(x & y) / len(x | y) if x | y else 0.0


def random_text(rng: random.Random, length: int) -> str:
    return "".join(rng.choice(HAN) for _ in range(length))


def edited(rng: random.Random, text: str, share: float) -> str:
    """One contiguous edit."""
    size = max(round(len(text) * share), 1)
    at = rng.randrange(len(text) - size)
    return text[:at] + random_text(rng, rng.randrange(size + 1)) + text[at + size :]


@given(st.lists(st.text(alphabet=HAN + "aB1，。 \n", max_size=60), min_size=1, max_size=8))
def test_words_are_what_a_text_says(texts: list[str]) -> None:
    found = words(texts)
    parts = np.split(found.points_M, np.cumsum(found.counts_R)[:-1])
    assert ["".join(map(chr, part)) for part in parts] == [said(text) for text in texts]


@given(st.lists(st.text(alphabet=HAN[:6], max_size=90), min_size=1, max_size=6), st.integers(0, 5))
def test_a_signature_depends_on_its_text_alone(texts: list[str], which: int) -> None:
    which %= len(texts)
    alone = signatures(words([texts[which]]))[0]
    assert (signatures(words(texts))[which] == alone).all()
    dirty = "，".join(texts[which]) + "。"
    assert (signatures(words([dirty]))[0] == alone).all()


@pytest.mark.parametrize("length", [12, 30, 60, 200, 1000])
def test_signatures_keep_similarity(length: int) -> None:
    rng = random.Random(length)
    left = [random_text(rng, length) for _ in range(300)]
    right = [edited(rng, text, rng.uniform(0.02, 0.4)) for text in left]
    agree = (signatures(words(left)) == signatures(words(right))).mean(axis=1)
    true = np.array([jaccard(a, b) for a, b in zip(left, right, strict=True)])
    error = agree - true
    assert abs(error.mean()) < 0.03
    assert error.std() < 0.11


def test_unlike_texts_share_no_band() -> None:
    rng = random.Random(1)
    found = bands(signatures(words([random_text(rng, rng.randrange(60, 400)) for _ in range(2000)])))
    for band in found:
        assert len(np.unique(band)) == found.shape[1]


@pytest.mark.parametrize(("low", "high", "recall"), [(0.01, 0.05, 0.99), (0.05, 0.1, 0.95)])
def test_one_edit_is_found(low: float, high: float, recall: float) -> None:
    rng = random.Random(2)
    left = [random_text(rng, rng.randrange(200, 1500)) for _ in range(1500)]
    right = [edited(rng, text, rng.uniform(low, high)) for text in left]
    shared = (bands(signatures(words(left))) == bands(signatures(words(right)))).any(axis=0)
    assert shared.mean() >= recall


@given(st.lists(st.text(alphabet=HAN[:5], max_size=70), min_size=2, max_size=5), st.randoms())
def test_similarities_are_exact(texts: list[str], rng: random.Random) -> None:
    found = words(texts)
    pairs = [(rng.randrange(len(texts)), rng.randrange(len(texts))) for _ in range(6)]
    left, right = (np.array(side) for side in zip(*pairs, strict=True))
    starts = np.cumsum(found.counts_R) - found.counts_R
    result = similarities(found.points_M, starts, found.counts_R, left, right)
    assert result.tolist() == pytest.approx([jaccard(texts[a], texts[b]) for a, b in pairs], abs=1e-3)


def survive(earlier: np.ndarray, later: np.ndarray, positions: np.ndarray) -> Survival:
    return survivors(earlier, later, positions[earlier], positions[later])


def test_the_first_stays_and_a_chain_does_not_swallow_its_end() -> None:
    positions = np.array([10, 20, 30, 5])
    survival = survive(np.array([0, 1, 3]), np.array([1, 2, 0]), positions)
    assert survival.gone.tolist() == [0, 2]  # 3 was read first; 1 is like 0, which is gone, and stays; 2 is like 1
    assert survival.stays.tolist() == [3, 1]


def test_survivors_do_not_depend_on_the_order_of_the_pairs() -> None:
    rng = np.random.default_rng(0)
    positions = rng.permutation(200)
    a, b = rng.integers(0, 200, (2, 400))
    a, b = a[a != b], b[a != b]
    earlier, later = np.where(positions[a] < positions[b], a, b), np.where(positions[a] < positions[b], b, a)
    whole = survive(earlier, later, positions)
    order = rng.permutation(len(earlier))
    again = survive(earlier[order], later[order], positions)
    assert (whole.gone == again.gone).all()
    assert (whole.stays == again.stays).all()
    assert not set(whole.gone.tolist()) & set(whole.stays.tolist())
    pairs = set(zip(earlier.tolist(), later.tolist(), strict=True))
    assert all((s, g) in pairs for g, s in zip(whole.gone.tolist(), whole.stays.tolist(), strict=True))
    kept = set(range(200)) - set(whole.gone.tolist())
    assert not any(x in kept and y in kept for x, y in pairs)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=40))
def test_united_labels_are_connected_components(pairs: list[tuple[int, int]]) -> None:
    labels = np.arange(31, dtype=np.uint64)
    left, right = (np.array([p[i] for p in pairs], np.uint64) for i in (0, 1))
    found = united(labels, left, right)
    expected = list(range(31))
    for _ in range(31):
        for a, b in pairs:
            expected[a] = expected[b] = min(expected[a], expected[b])
    assert found.tolist() == expected


def test_bins_are_all_filled() -> None:
    filled = signatures(words(["天地玄", "天地玄黄宇宙洪荒日月盈昃", ""]))
    assert filled.shape == (3, BINS)
    assert (filled[:2] != 0xFFFFFFFF).all()
    assert (filled[2] == 0xFFFFFFFF).all()
