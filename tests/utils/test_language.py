"""The language of a text: by what its letters are, never by its signs."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.clean.real import real, tang
from utils.language import LANGUAGES, language

TOLD = {
    "今天天气很好。": "zh",
    "龜兔賽跑": "zh",
    "使用 PyTorch 的 DataLoader 加载数据": "zh",
    "2019年12月3日，共 1,234,567.89 元": "zh",
    "😂😂😂哈": "zh",
    "好喝の鲜榨果汁，每天早上都要来一大杯": "zh",
    "The quick brown fox.": "en",
    "“Don’t,” said the café owner — twice…": "en",
    "The word 猫 means cat.": "en",
    "for i in range(10):\n    print(i)": "en",
    "今日は天気がいいから散歩しましょう": "other",
    "コンピュータ": "other",
    "Привет, как дела? OK": "other",
    "오늘은 날씨가 좋습니다": "other",
    "ما اسمك؟": "other",
    "": "other",
    " \n\t": "other",
    "3.14159 + 2 = 5.14159; 12:30": "other",
    "１２３，。、！？（）…": "other",
    "😀👨‍👩‍👧🏳️‍🌈": "other",
    "\ud800": "other",
}


@pytest.mark.parametrize("text", TOLD)
def test_told_by_its_letters(text: str) -> None:
    assert language(text) == TOLD[text]


@given(st.sampled_from([t for t in TOLD if t != "\ud800"]), st.text("0123456789 \n\t.,!?，。！？…—😀%（）“”"))
def test_signs_and_digits_say_nothing(text: str, signs: str) -> None:
    assert language(signs + text + signs) == TOLD[text]


@given(st.text())
def test_any_text_has_one(text: str) -> None:
    assert language(text) in LANGUAGES


def test_real_lines() -> None:
    pages = [json.loads(line)["text"] for line in real("c4_demo.jsonl").read_text("utf-8").splitlines()]
    assert Counter(map(language, pages)) == {"en": len(pages)}
    poems = tang()
    assert Counter(map(language, poems)) == {"zh": len(poems)}
    answers = [row["output"] for row in json.loads(real("alpaca_zh_demo.json").read_text("utf-8"))]
    assert Counter(map(language, answers))["zh"] / len(answers) > 0.94  # the rest is code and English asked for
