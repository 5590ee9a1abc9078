"""The ledger sees harm; the notes do not depend on how texts came; real text is not harmed."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.clean.text.codes import Codes
from pipeline.clean.text.ledger import COUNTS, Ledger, Tally
from pipeline.clean.text.mend import mend
from pipeline.clean.text.notes import EXCERPT, SAMPLES, Notes, excerpts
from pipeline.clean.text.rule import Rule
from pipeline.clean.text.rules import rules_for
from tests.clean.real import chatlm, classics, english
from tests.clean.test_text_mending import texts


def tally(text: str) -> dict[str, int]:
    """One text's counts by their names."""
    return dict(zip(COUNTS, Tally.of(Codes(["前.5", text, "1"])).counts_CT[:, 1].tolist(), strict=True))


@pytest.mark.parametrize(
    ("text", "decimals", "urls", "words", "letters", "unmatched"),
    [
        ("", 0, 0, 0, 0, 0),
        ("12.5米，3.14，1.2.3，5. 6", 4, 0, 0, 0, 0),
        ("http://a.b www.c.d https://www.e.f", 0, 4, 10, 21, 0),
        ("it's café 中文word", 0, 0, 4, 11, 0),
        ("（一)(二）「三 ）（ ((( )) )", 0, 0, 0, 0, 5),
        ("（一）(二)[三]【四】{五}《六》「七」“八”", 0, 0, 0, 0, 0),
    ],
)
def test_the_tally(text: str, decimals: int, urls: int, words: int, letters: int, unmatched: int) -> None:
    expected = {"decimals": decimals, "urls": urls, "words": words, "letters": letters, "unmatched": unmatched}
    assert tally(text) == expected


def spoiling(old: str, new: str, harms: frozenset[str] = frozenset()) -> Rule:
    """A rule that does harm."""
    return Rule("spoil", lambda text: text.replace(old, new), lambda codes: codes.has(-1 & 0xFFFF), harms)


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [(".", "。", "decimals"), ("http:", "http：", "urls"), ("s", "，", "letters"), ("）", ")", "unmatched")],
)
def test_harm_is_found_even_where_other_texts_gain(old: str, new: str, found: str) -> None:
    batch = ["12.2米（一）", "http://a.b class (二）"]
    rule, notes = spoiling(old, new), Notes()
    mend(batch, (rule,), notes)
    assert ("spoil", found) in [loss[:2] for loss in notes.ledger.harm([rule])]
    assert notes.ledger.harm([spoiling(old, new, frozenset(COUNTS))]) == []
    assert notes.to_json()["spoil"]["texts"] >= 1


@settings(max_examples=200, deadline=None)
@given(batch=st.lists(texts, max_size=30), seed=st.integers(0, 9))
def test_notes_do_not_depend_on_batches(batch: list[str], seed: int) -> None:
    rules = rules_for("web")
    whole = Notes()
    mend(batch, rules, whole)
    parts: list[Notes] = []
    shuffled = random.Random(seed).sample(batch, len(batch))
    for start in range(0, len(batch), seed + 1):
        parts.append(Notes())
        mend(shuffled[start : start + seed + 1], rules, parts[-1])
    merged = Notes()
    for part in parts:
        merged.merge(Notes.from_json(json.loads(json.dumps(part.to_json()))))
    assert merged.to_json() == whole.to_json()


def test_few_samples_are_kept_and_the_same_whatever_comes_first() -> None:
    batch = [f"第{i}句！！" for i in range(300)]
    rules = rules_for("prose")
    one, other = Notes(), Notes()
    mend(batch, rules, one)
    mend(batch[::-1] + batch, rules, other)
    assert one.samples == other.samples
    assert len(one.samples["repeated_marks"]) == SAMPLES
    assert one.ledger.entries["repeated_marks"].texts * 2 == other.ledger.entries["repeated_marks"].texts == 600


def test_a_sample_shows_the_place() -> None:
    before, after = excerpts("甲" * 1000 + "！！" + "乙" * 1000, "甲" * 1000 + "！" + "乙" * 1000)
    assert "！！" in before
    assert "！" in after
    assert before[0] == before[-1] == "…"
    assert len(before) <= EXCERPT + 2
    assert excerpts("半\ud800个", "半个") == ("半\\ud800个", "半个")


def test_samples_of_masks_hide_what_was_masked() -> None:
    notes = Notes()
    mend(["张三zhang@example.com，13812345678"], rules_for("light"), notes)
    assert [*notes.samples["pii"].values()] == [("张三*****@*******.***，***********", "张三[邮箱]，[电话]")]


def test_ledgers_add_up() -> None:
    one, other = Ledger(), Ledger()
    before, after = Tally.of(Codes(["1.5", "a"])), Tally.of(Codes(["15", "a b"]))
    one.add("r", before, after)
    other.add("r", after, before)
    one.merge(other)
    entry = one.to_json()["r"]
    assert entry == {"texts": 4, "decimals": [1, 1, 1], "words": [3, 3, 1], "letters": [3, 3, 1]}
    assert Ledger.from_json(one.to_json()).to_json() == one.to_json()


@pytest.mark.parametrize("profile", ["web", "prose", "light"])
@pytest.mark.parametrize("name", ["chatlm_qa_3k", "chatlm_qa_valid_1k"])
def test_real_answers_are_not_harmed(profile: str, name: str) -> None:
    batch = chatlm(name)
    notes, rules = Notes(), rules_for(profile)
    mended = mend(batch, rules, notes)
    assert notes.ledger.harm(rules) == []
    assert mend(mended, rules) == mended


@pytest.mark.parametrize("profile", ["web", "prose", "light"])
def test_no_letter_of_real_answers_is_taken_for_punctuation(profile: str) -> None:
    batch = chatlm()
    mended = mend(batch, rules_for(profile, mask=False))
    latin = ["".join(c for c in text if c.isascii() and c.isalpha()) for text in batch]
    kept = ["".join(c for c in text if c.isascii() and c.isalpha()) for text in mended]
    assert [(a, b) for a, b in zip(latin, kept, strict=True) if a != b and a.replace("quot", "") != b] == []


@pytest.mark.parametrize("profile", ["web", "prose"])
def test_real_prose_is_not_harmed(profile: str) -> None:
    notes, rules = Notes(), rules_for(profile)
    mended = mend(classics(2000), rules, notes)
    assert notes.ledger.harm(rules) == []
    assert mend(mended, rules) == mended


def test_english_stays_english() -> None:
    batch = english()
    notes = Notes()
    rules = rules_for("web", mask=False)
    mended = mend(batch, rules, notes)
    changed = {name: entry.texts / len(batch) for name, entry in notes.ledger.entries.items()}
    unseen = {"line_ends", "invisible", "composed", "trailing_spaces", "blank_lines", "edges"}
    assert sum(share for name, share in changed.items() if name not in unseen) < 0.01, changed
    assert notes.ledger.harm(rules) == []
    assert [name for name, e in notes.ledger.entries.items() if e.worse[COUNTS.index("words")] and name != "html"] == []
    without_html = tuple(rule for rule in rules if rule.name != "html")
    letters = ["".join(filter(str.isalpha, text)) for text in batch]
    assert ["".join(filter(str.isalpha, text)) for text in mend(batch, without_html)] == letters
    assert len(mended) == len(batch)
