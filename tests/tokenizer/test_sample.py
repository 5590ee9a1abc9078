"""What the vocabulary is learned from: a fair draw under a cap, languages by their shares, and told beforehand."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.clean.config import CleanConfig, Input
from pipeline.clean.stage import run as clean
from pipeline.tokenizer import stage
from pipeline.tokenizer.config import TokenizerConfig
from pipeline.tokenizer.sample import Reservoir, draw, estimate, memory_per_byte

MB = 1_000_000
CHINESE, ENGLISH = "一二三四五六七八九十" * 20, "the quick brown fox jumps " * 20


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three MB of Chinese in one source, two of English in another."""
    home = tmp_path_factory.mktemp("mixed")
    for name, text, rows in (("zh", CHINESE, 5000), ("en", ENGLISH, 4000)):
        lines = (json.dumps({"text": f"{text} {n:06d}"}, ensure_ascii=False) for n in range(rows))
        (home / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    inputs = [Input(str(home / f"{name}.jsonl")) for name in ("zh", "en")]
    clean(CleanConfig(inputs=inputs, valid=0), home / "clean")
    return home / "clean"


def test_under_the_cap_all_of_it_is_read_in_stored_order(mixed: Path) -> None:
    sample = draw(mixed, TokenizerConfig())
    assert len(sample.texts) == 9000
    assert [text[0] for text in sample.texts] == ["t"] * 4000 + ["一"] * 5000


def test_the_cap_holds_and_sources_keep_their_shares(mixed: Path) -> None:
    sample = draw(mixed, TokenizerConfig(sample_megabytes=1))
    total = sum(len(text.encode()) for text in sample.texts)
    assert 0.99 * MB < total <= MB
    assert sum(sample.bytes_by_language.values()) == total
    chinese = sum(text[0] == "一" for text in sample.texts) / len(sample.texts)
    assert chinese == pytest.approx(5 / 9, abs=0.04)
    again, other = (draw(mixed, TokenizerConfig(sample_megabytes=1, seed=seed)) for seed in (0, 1))
    assert sample == again != other


def test_languages_get_their_shares(mixed: Path) -> None:
    sample = draw(mixed, TokenizerConfig(sample_megabytes=1, languages={"zh": 1, "en": 3}))
    assert sample.bytes_by_language["en"] == pytest.approx(0.75 * MB, rel=0.01)
    assert sample.bytes_by_language["zh"] == pytest.approx(0.25 * MB, rel=0.01)
    alone = draw(mixed, TokenizerConfig(sample_megabytes=1, languages={"zh": 1}))
    assert set(alone.bytes_by_language) == {"zh"}


def test_shares_are_of_what_there_is_and_never_exceeded(mixed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also far below the cap; what a language lacks is not filled up with another."""
    there = draw(mixed, TokenizerConfig()).bytes_by_language
    total = sum(there.values())
    sample = stage.drawn(TokenizerConfig(languages={"zh": 0.6, "en": 0.4}), mixed)
    assert sample.bytes_by_language["zh"] == pytest.approx(0.6 * total, rel=0.03)
    assert not capsys.readouterr().err
    sample = stage.drawn(TokenizerConfig(languages={"zh": 1, "en": 9}), mixed)
    assert sample.bytes_by_language["en"] == there["en"] < 0.9 * total
    assert sample.bytes_by_language["zh"] == pytest.approx(0.1 * total, rel=0.03)
    told = capsys.readouterr().err
    assert "asked for zh 10%, en 90%; there is too little text in en, so it is zh 2" in told


texts = st.lists(st.tuples(st.sampled_from("一a"), st.integers(1, 9)), max_size=150)
given_shares = st.sampled_from([{}, {"zh": 1.0, "en": 1.0}, {"zh": 5.0, "en": 1.0}])


@settings(max_examples=100, deadline=None)
@given(texts, st.integers(700, 2000), given_shares)
def test_no_text_has_a_better_chance_for_coming_early(
    made: list[tuple[str, int]], room: int, shares: dict[str, float]
) -> None:
    """In whatever order texts come, those that stay of a language are the ones with its lowest hashes."""
    numbers = random.Random(0).sample(range(10**6), len(made))
    offers = [(number, (0, n), f"{made[n][0] * made[n][1]}{n}") for n, number in enumerate(numbers)]
    for order in (offers, offers[::-1], sorted(offers)):
        reservoir = Reservoir(room, shares, room)
        for offer in order:
            reservoir.offer(*offer)
        sample = reservoir.sample()
        assert sum(sample.bytes_by_language.values()) <= room
        pools = {"一a"} if not shares else {"一", "a"}
        for letters in pools:
            ranked = [text for _, _, text in sorted(offers) if text[0] in letters]
            stayed = [text for text in sample.texts if text[0] in letters]
            assert set(stayed) == set(ranked[: len(stayed)])
        if not shares and len(sample.texts) < len(offers):
            assert sum(sample.bytes_by_language.values()) > room - 40


def test_a_text_longer_than_the_sample_is_cut(tmp_path: Path) -> None:
    reservoir = Reservoir(100, {}, 25)
    reservoir.offer(5, (0, 0), "长" * 1000)
    assert reservoir.sample().texts == ["长" * 8]


def test_what_there_is_and_what_it_takes_is_told_first(
    mixed: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TokenizerConfig(sample_megabytes=1, vocab_size=400)
    ahead = estimate(mixed, config)
    real = sum(draw(mixed, TokenizerConfig()).bytes_by_language.values())
    assert ahead.records == 9000
    assert real <= ahead.text < 1.1 * real
    assert (ahead.sample, ahead.memory) == (MB, MB * memory_per_byte(400))
    monkeypatch.setattr("pipeline.tokenizer.stage.available", lambda: 10 * MB)
    assert stage.drawn(config, mixed).texts
    spoken = capsys.readouterr()
    assert spoken.out.startswith("tokenizer: learns from up to 1.0 MB of 5")
    assert "only 10.0 MB are free; if it is killed, give tokenizer.sample_megabytes=1" in spoken.err


def test_shares_are_checked() -> None:
    with pytest.raises(ValueError, match="no language 'cn'"):
        TokenizerConfig(languages={"cn": 1})
    with pytest.raises(ValueError, match="zh has the share -1"):
        TokenizerConfig(languages={"zh": -1})
    with pytest.raises(ValueError, match="no share is above 0"):
        TokenizerConfig(languages={"zh": 0})


def test_one_long_text_keeps_its_share_of_a_small_corpus(tmp_path: Path) -> None:
    """Far below the cap nothing of it is cut away but what its language has no room for."""
    texts = [f"{CHINESE} {n}" for n in range(100)] + [ENGLISH * 120]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in texts), encoding="utf-8")
    clean(CleanConfig(inputs=[Input(str(path))], valid=0), tmp_path / "clean")
    there = draw(tmp_path / "clean", TokenizerConfig()).bytes_by_language
    sample = draw(tmp_path / "clean", TokenizerConfig(languages={"zh": 1, "en": 1}))
    assert sample.bytes_by_language["en"] == pytest.approx(min(there["en"], sum(there.values()) / 2), rel=0.02)


def test_a_language_that_is_not_there_is_told(mixed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage.drawn(TokenizerConfig(sample_megabytes=1, languages={"zh": 1, "other": 1}), mixed)
    assert "too little text in other, so it is zh 100%, other 0%" in capsys.readouterr().err
