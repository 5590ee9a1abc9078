"""Normalising takes away what nobody sees, and nothing that anybody wrote."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.clean.normalise import clean_text, clean_turn

KEPT = [
    "12.5米，3,000元，1：2，09:30",
    "https://a.b/c?d=e&f=%20#g 和 a@b.com",
    "class pass s，（括号）！？……——",
    "ＡＢＣ１２３ 全角",
    "    缩进的代码\n\tif x:\n",
    "👨‍👩‍👧 🏳️‍🌈 👍🏽 ❤️",
    "می‌خواهم",
    "龘𠮷𰻝",
    "<|im_end|> <think>",
]


@pytest.mark.parametrize("text", KEPT)
def test_nothing_that_is_written_changes(text: str) -> None:
    assert clean_text(text) == text.rstrip("\n")


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("一\r\n二\r三\u2028四", "一\n二\n三\n四"),
        ("零\u200b宽\ufeff字\u2060符\u00ad", "零宽字符"),
        ("控\x00制\x1b\x07", "控制"),
        ("尾空  \t\n\u3000尾空\u3000\n", "尾空\n\u3000尾空"),
        ("e\u0301", "é"),
        ("e\u200b\u0301", "é"),
        ("段\n\n\n\n段", "段\n\n段"),
        ("家\u200d庭", "家庭"),
        ("半个\ud83d字", "半个字"),
    ],
)
def test_what_goes(raw: str, clean: str) -> None:
    assert clean_text(raw) == clean


def test_a_turn_keeps_its_blank_lines() -> None:
    assert clean_turn(" \n一  \n\n\n\n    二\r\n ") == "一\n\n\n\n    二"


@given(st.text())
def test_twice_is_once(text: str) -> None:
    assert clean_text(clean_text(text)) == clean_text(text)
    assert clean_turn(clean_turn(text)) == clean_turn(text)
    clean_text(text).encode()
