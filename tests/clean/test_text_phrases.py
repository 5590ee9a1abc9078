"""Phrases are counted as a regular expression would count them, and the lists hit what they should and little else."""

from __future__ import annotations

import csv
import io
import json
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.clean.text.codes import Codes
from pipeline.clean.text.flags import tables_T, translations_T
from pipeline.clean.text.phrases import WORDS, Phrases, ads, read_words, tails, vulgar
from tests.clean.real import real

ALPHABET = "一丁a\n\ud800\U00014e00"
"""Few characters, so that phrases meet; 一 (4E00) and 14E00 share their lower 16 bits; one is half a character."""


def counted(phrases: list[str], text: str) -> int:
    """What a regular expression counts."""
    longest_first = sorted(set(phrases), key=len, reverse=True)
    return len(re.findall("|".join(map(re.escape, longest_first)), text))


@given(
    st.lists(st.text(ALPHABET, min_size=2, max_size=5), min_size=1, max_size=8),
    st.lists(st.text(ALPHABET, max_size=40), max_size=6),
)
def test_the_count_is_that_of_a_regular_expression(phrases: list[str], texts: list[str]) -> None:
    counts_T = Phrases(phrases).count_T(Codes(texts))
    assert counts_T.dtype == np.int32
    assert counts_T.tolist() == [counted(phrases, text) for text in texts]


def test_the_longest_phrase_counts_from_the_left_without_overlaps() -> None:
    assert Phrases(["转载", "转载请注明", "请注明出处"]).hits("转载请注明出处，转载") == ["转载请注明", "转载"]


def test_a_phrase_does_not_reach_into_the_next_text() -> None:
    assert Phrases(["扫码关注"]).count_T(Codes(["请扫码", "关注", ""])).tolist() == [0, 0, 0]
    assert Phrases(["码\n关"]).count_T(Codes(["扫码", "关注", "码\n关"])).tolist() == [0, 0, 1]


@pytest.mark.parametrize("before", [65533, 65534, 65535, 65536, 65537])
def test_a_phrase_is_found_where_the_blocks_of_hashing_meet(before: int) -> None:
    assert Phrases(["扫码关注", "微信"]).count_T(Codes(["天" * before + "扫码关注" + "微信"])).tolist() == [2]


def test_nothing_in_nothing() -> None:
    assert Phrases(["微信"]).count_T(Codes([])).tolist() == []
    assert Phrases([]).count_T(Codes(["微信", ""])).tolist() == [0, 0]
    assert tails().near_end_T(Codes([])).tolist() == []


def test_a_phrase_of_one_character_is_refused() -> None:
    with pytest.raises(ValueError, match="two characters"):
        Phrases(["操"])


@pytest.mark.parametrize("name", ["ads", "vulgar", "tails"])
def test_a_list_says_what_it_is_and_nothing_twice(name: str) -> None:
    path = WORDS / f"{name}.txt"
    words = read_words(path)
    assert path.read_text(encoding="utf-8").startswith("# ")
    assert len(words) == len(set(words))
    assert [word for word in words if word != word.strip()] == []


@pytest.mark.parametrize(
    "text",
    [
        "更多精彩，请关注公众号小雅说",
        "商业转载请联系作者获得授权",
        "有需要的加我微信，QQ群：123",
        "未经授权，不得转载",
        "觉得有用记得点个赞哦，望采纳",
        "咨询热线：400-000-0000",
        "图片来自网络，侵删",
    ],
)
def test_advertisements_are_found(text: str) -> None:
    assert ads().hits(text)


@pytest.mark.parametrize(
    "text",
    [
        "微信是腾讯公司开发的软件，扫描二维码即可登录",
        "点击右侧的“保存”按钮，打开微信",
        "低脂肪蛋白质来源：鸡肉",
        "他要求赞成的人参加群众大会",
        "未经授权的访问会被拒绝",
        "版权所属与转载规则是什么？",
    ],
)
def test_a_subject_is_no_advertisement(text: str) -> None:
    assert ads().hits(text) == []


@pytest.mark.parametrize("text", ["你这个傻逼", "他妈的，下雨了", "what the fuck", "滚，草泥马", "王八蛋"])
def test_vulgar_words_are_found(text: str) -> None:
    assert vulgar().hits(text)


@pytest.mark.parametrize(
    "text",
    [
        "同学们在操场上做体操，要我操心",
        "曹操逼迫皇帝，人口爆炸，次日你来",
        "莫沙比利，放屁，他妈妈搬来几把椅子",
        "参观尼玛县的泥马庙",
    ],
)
def test_decent_words_that_hold_a_vulgar_one_are_not(text: str) -> None:
    assert vulgar().hits(text) == []


def test_a_stock_ending_counts_only_at_the_end() -> None:
    ending = "乙肝患者的日常救治主要是服食药物，期望乙肝患者可以尽快康复！谢谢"
    said = ["少喝酒。" + ending, ending + "少喝酒。" * 50, "少喝酒，多休息。", ending]
    assert tails().near_end_T(Codes(said)).tolist() == [True, False, False, True]


@pytest.mark.parametrize(
    "text",
    [
        "|句子|分类|\n|---|:--:|\n|苹果|水果|",
        "城市 | 人口\n--- | ---\n北京 | 2189",
        "| 甲 | 乙 |\n| 丙 | 丁 |",
        "+----+----+\n| a  | b  |\n+----+----+",
        "┌──┬──┐\n│甲│乙│\n└──┴──┘",
        "用表格比较两者",
        "请制表说明",
        "请画一张表，列出优缺点",
        "Create a table of the top 10 countries.",
        "Put it into a table",
    ],
)
def test_tables_are_seen(text: str) -> None:
    assert tables_T(Codes(["天气好", text]), np.ones(2, bool)).tolist() == [False, True]


@pytest.mark.parametrize(
    "text",
    [
        "用 a | b 表示或，a || b 也行",
        "1 + 1 = 2\n+ 号",
        "研究其机制表明，抑制表达的作用很大；控制表面温度",
        "制表符是什么？",
        "生成一个东非国家的列表",
        "Why are vegetables on the table suitable?",
        "第一节\n-----\n正文",
        "| 引文",
    ],
)
def test_what_is_no_table(text: str) -> None:
    assert tables_T(Codes([text]), np.ones(1, bool)).tolist() == [False]


@pytest.mark.parametrize(
    "text",
    [
        "把下面的句子翻译成英文：你好",
        "翻译一下这段话",
        "翻译：how are you",
        "请帮忙翻译，谢谢",
        "将这句话译为白话文",
        "做一道英译汉练习",
        "Translate the phrase into Spanish.",
        "Give two translations for each word",
    ],
)
def test_translations_are_seen(text: str) -> None:
    assert translations_T(Codes(["天气好", text]), np.ones(2, bool)).tolist() == [False, True]


@pytest.mark.parametrize(
    "text",
    ["翻译这个行业有前途么？", "翻译这份工作好么？", "请介绍一位翻译家", "机器翻译的原理是什么？", "他直译了书名"],
)
def test_what_asks_for_no_translation(text: str) -> None:
    assert translations_T(Codes([text]), np.ones(1, bool)).tolist() == [False]


def rows(name: str) -> list[dict[str, str]]:
    """A file of real text as rows."""
    path = real(name)
    if name.endswith(".parquet"):
        return pq.read_table(path).to_pylist()
    if name.endswith(".csv"):
        return list(csv.DictReader(io.StringIO(path.read_bytes().decode("gb18030"))))
    return json.loads(path.read_text(encoding="utf-8"))


def modern() -> Codes:
    """The lines of the modern half of the classics."""
    return Codes(pq.read_table(real("classics_bitext.parquet"), columns=["modern"])["modern"].to_pylist())


def share(mask_T: np.ndarray) -> float:
    return float(np.mean(mask_T != 0))


def test_decent_prose_is_left_alone() -> None:
    codes = modern()
    assert share(vulgar().count_T(codes)) < 0.0005
    assert share(ads().count_T(codes)) < 0.0001
    assert share(tails().near_end_T(codes)) == 0
    assert share(tables_T(codes, np.ones(len(codes.texts), bool))) < 0.0001


def test_instructions_and_answers_are_left_alone() -> None:
    alpaca = Codes([r[part] for r in rows("alpaca_zh_demo.json") for part in ("instruction", "input", "output")])
    assert share(vulgar().count_T(alpaca)) == 0
    assert share(ads().count_T(alpaca)) < 0.001
    assert share(tails().near_end_T(alpaca)) == 0


def test_half_of_the_medical_answers_end_in_a_stock_ending() -> None:
    answers = [row["answer"] for row in rows("medical_neike_sample_gb18030.csv")]
    assert 0.45 < share(tails().near_end_T(Codes(answers))) < 0.6
    assert set(tails().hits("\n".join(answers))) == set(read_words(WORDS / "tails.txt"))
