"""Traditional characters become simplified where the text is Chinese and traditional, and nowhere else."""

from __future__ import annotations

import unicodedata

import pytest

from pipeline.clean.text.codes import HAN, LIMIT, TRADITIONAL, Codes, _kinds_of, all_han, is_han, kind_table
from pipeline.clean.text.mend import mend
from pipeline.clean.text.rules import rules_for
from pipeline.clean.text.script import ALSO_SIMPLIFIED, mended, simplified, unwrapped
from tests.clean.real import tang


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("著名的臺灣作家，口乾舌燥，生於北京。", "著名的台湾作家，口干舌燥，生于北京。"),
        ("隨著我們的腳步，顯著的土著，看著原著", "随着我们的脚步，显著的土著，看着原著"),
        ("北京的气候很好，球被扔到牆上，他说", "北京的气候很好，球被扔到墙上，他说"),
        ("後", "后"),
        ("這是臺灣的寫法，他说「後で行きます」，這樣很好，當時還沒有這個說法", None),
    ],
)
def test_traditional_becomes_simplified(raw: str, clean: str | None) -> None:
    assert mended(raw) == (clean or "这是台湾的写法，他说「後で行きます」，这样很好，当时还没有这个说法")


@pytest.mark.parametrize(
    "text",
    [
        "乾隆年间在乾县，哪吒打坏了毛坯，毕昇与魏徵说：宫商角徵羽。",
        "王顗是谁",
        "彼は後で東京へ行きます。渋谷區です。",
        "北京東京都の渋谷区では",
        "그는 漢字를 後에 배웠다",
        "`臺灣` 是繁体，```\n後\n``` 也是",
        "x-{y}-z 与 $a-{b}-c$ 与 -{ 和",
    ],
)
def test_what_is_no_traditional_chinese_stays(text: str) -> None:
    assert mended(text) == text


def test_simplified_clauses_of_a_mixed_text_stay() -> None:
    assert (
        mended("他打坏了门，走到後面。乾县的人都这么说，们国这说") == "他打坏了门，走到后面。乾县的人都这么说，们国这说"
    )


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("这是-{zh-hans:计算机;zh-hant:電腦}-", "这是计算机"),
        ("-{zh-cn:内地;zh-tw:台灣;}-的", "内地的"),
        ("-{H|zh-cn:甲;zh-tw:乙}-后面", "后面"),
        ("-{A|zh-cn:甲;zh-tw:乙}-好", "甲好"),
        ("-{T|標題}-正文", "正文"),
        ("-{zh;zh-hans;zh-hant|博客}-", "博客"),
        ("嵌-{zh-hans:套-{zh-hans:里;zh-hant:裡}-;zh-hant:外}-", "嵌套里"),
        ("x-{y}-z", "x-{y}-z"),
    ],
)
def test_marks_of_conversion_are_resolved(raw: str, clean: str) -> None:
    assert unwrapped(raw) == clean


def test_conversion_can_be_left_out() -> None:
    assert mend(["臺灣-{甲}-"], rules_for("web", simplify=False)) == ["臺灣-{甲}-"]


def test_the_table_says_what_each_character_is() -> None:
    table = kind_table()
    wrong = [
        p
        for p in range(LIMIT)
        if table[p] & (TRADITIONAL - 1) != _kinds_of(chr(p)) | HAN * is_han(chr(p))
        and unicodedata.category(chr(p)) != "Cn"
    ]
    assert wrong == []


def test_simplified_text_holds_nothing_that_the_table_calls_traditional() -> None:
    """Or a text would go through the converter again and again, and lose what only looks traditional."""
    left = {c for c in simplified(all_han()) if kind_table()[ord(c)] & TRADITIONAL}
    assert left == set()


def test_tang_poems_come_out_simplified() -> None:
    poems = tang()
    mended_poems = mend(poems, rules_for("light"))
    left = {c for poem in mended_poems for c in poem if simplified(c) != c}
    assert left <= ALSO_SIMPLIFIED | {"於"}, left  # 於穆, an old sigh, is written so to this day
    assert Codes(mended_poems).has(TRADITIONAL).sum() < 20
    assert [*map(len, mended_poems)] == [*map(len, poems)]
