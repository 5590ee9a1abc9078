"""Each corpus as it really is: its shapes, what is odd in them, and what no row may do to its reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.clean.config import Rules
from pipeline.clean.corpora import wiki_qa
from pipeline.clean.corpora.zhihu import upvotes
from pipeline.clean.protocol import Found, Unreadable
from pipeline.clean.readers import is_of_rows, readers
from pipeline.clean.titles import question
from pipeline.clean.wikitext import plain
from tests.clean.raw_files import bad, chosen, dump, item_of, located, pairs, read, texts, write
from tests.clean.real import real

ROWS: dict[str, list[dict[str, Any]]] = {
    "alpaca": [{"instruction": "译", "input": "hello", "output": "你好", "history": [["问", "答"]], "system": "译者"}],
    "baike": [{"qid": "qid_1", "category": "生活", "title": "冬天吃什么？", "desc": "我怕冷。", "answer": "羊肉。"}],
    "belle": [
        {"instruction": "译", "input": "hello", "output": "你好"},
        {"instruction": "Human:你好\nAssistant:", "input": "", "output": "你好！"},
        {"input": "问", "target": "答"},
        {"id": "1", "conversations": [{"from": "human", "value": "问"}, {"from": "assistant", "value": "答"}]},
    ],
    "conversations": [{"messages": [{"role": "user", "content": "问"}, {"role": "assistant", "content": "答"}]}],
    "finance": [{"title": "怎么贷款", "question": "我没有工作", "reply": "去银行", "is_best": "1"}],
    "medical": [{"department": "内科", "title": "头疼", "ask": "头疼怎么办？", "answer": "多喝水"}],
    "pairs": [{"prompt": "问", "response": "答"}],
    "poems": [{"author": "李白", "title": "静夜思", "paragraphs": ["床前明月光，", "疑是地上霜。"]}],
    "preference": [
        {"prompt": "问", "chosen": "好", "rejected": "坏"},
        {
            "conversations": [{"from": "human", "value": "问"}],
            "chosen": {"from": "gpt", "value": "好"},
            "rejected": "坏",
        },
    ],
    "skypile": [{"text": "一段文字"}],
    "text": [{"text": "一段文字", "url": "u"}],
    "webtext": [
        {"qid": 1, "title": "问", "desc": "怎么<br>办", "topic": "t", "star": 7, "content": "答", "answer_id": 2}
    ],
    "xiehouyu": [{"riddle": "做贼的说梦话", "answer": "想偷"}],
    "zhihu": [{"INSTRUCTION": "问", "RESPONSE": "答", "SOURCE": "Zhihu", "METADATA": '{"upvotes": "赞同 15"}'}],
}
QUIET = {"plain_text", "wiki", "wiki_qa", "conv"}
"""Readers of files that are no rows."""


# ---------------------------------------------------------------- what holds for all


def test_every_reader_is_found() -> None:
    assert set(readers()) == {*ROWS, *QUIET}
    assert {name for name in readers() if is_of_rows(name)} == set(ROWS)


@pytest.mark.parametrize("name", readers())
def test_a_reader_is_small_and_says_what_it_reads(name: str) -> None:
    reader: Any = readers()[name]
    assert len(Path(reader.__file__).read_text(encoding="utf-8").splitlines()) <= 60
    assert (reader.__doc__ or "").strip()
    card = reader.CARD
    assert card.about
    assert card.profile in ("web", "prose", "light")
    assert not card.homepage or card.homepage.startswith("https://")
    assert bool(card.files) <= bool(card.homepage)
    if name not in ("alpaca", "pairs", "plain_text", "conversations", "text", "preference"):  # these are formats
        assert card.homepage
        assert card.size
    assert not card.rules.near or card.profile == "web"


def test_recommended_rules() -> None:
    cards = {name: reader.CARD for name, reader in readers().items()}
    assert cards["webtext"].rules == Rules(min_score=5, min_chars=15, near=0.8)
    assert cards["medical"].rules.max_ads is None
    assert cards["conv"].rules.max_vulgar == 0
    assert {name for name, card in cards.items() if card.profile == "web"} == {
        "webtext", "baike", "medical", "finance", "zhihu", "skypile"
    }  # fmt: skip
    assert cards["zhihu"].repairs == ("zhihu_paragraphs",)
    assert cards["wiki"].repairs == cards["wiki_qa"].repairs == ("wiki_brackets",)


@pytest.mark.parametrize(("name", "row"), [(name, row) for name, rows in ROWS.items() for row in rows])
def test_a_row_as_it_should_be(name: str, row: dict[str, Any]) -> None:
    assert isinstance(item_of(name, row), Found)


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just({}), st.just([]),
    st.just(["", 3]), st.just([["问", "答"]]), st.just([{}]), st.just([{"role": "user"}]), st.just({"from": "gpt"}),
    st.just([{"role": "assistant", "content": []}]), st.just("[[[["), st.just("Human:"), st.just("Assistant:\nHuman:"),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("name", ROWS)
def test_no_row_breaks_a_reader(name: str, data: st.DataObject) -> None:
    """Any JSON value in any field, and any field left out."""
    row = dict(data.draw(st.sampled_from(ROWS[name])))
    for key in data.draw(st.sets(st.sampled_from(sorted(row)))):
        value = data.draw(st.one_of(VALUES, st.just(...)))
        row.pop(key) if value is ... else row.update({key: value})
    found = item_of(name, row)
    for one in found if isinstance(found, list) else [found]:
        if isinstance(one, Unreadable):
            assert one.reason
        else:
            said = [*(one.messages or []), *(one.chosen or []), *(one.rejected or [])]
            assert one.text is not None or said
            assert all(isinstance(message["content"], str) for message in said)
            assert one.score is None or isinstance(one.score, float)


DEEP: Any = "x"
for _ in range(5000):
    DEEP = [DEEP]


@pytest.mark.parametrize("name", ROWS)
def test_deep_nesting_breaks_no_reader(name: str) -> None:
    for row in ROWS[name]:
        for key in row:
            assert isinstance(item_of(name, {**row, key: DEEP}), Found | Unreadable)


@pytest.mark.parametrize(
    ("name", "answer"),
    [("webtext", "content"), ("baike", "answer"), ("medical", "answer"), ("finance", "reply"), ("zhihu", "RESPONSE"),
     ("belle", "output"), ("alpaca", "output"), ("pairs", "response"), ("xiehouyu", "answer")],
)  # fmt: skip
def test_an_answer_that_is_null_is_an_empty_one(name: str, answer: str) -> None:
    row = ROWS[name][0]
    for nothing in (None, float("nan"), ""):
        assert pairs([item_of(name, {**row, answer: nothing})])[0][-1] == ""
    missing = {key: value for key, value in row.items() if key != answer}
    assert isinstance(item_of(name, missing), Unreadable)
    wrong = item_of(name, {**row, answer: {"a": 1}})
    assert (wrong.reason, wrong.excerpt[:1]) == (f"{answer} holds a dict, not text", "{")
    assert item_of(name, {**row, answer: True}).reason == f"{answer} holds a bool, not text"


@pytest.mark.parametrize("name", [name for name in ROWS if not readers()[name].CARD.only_named and name != "skypile"])
def test_from_any_container(tmp_path: Path, name: str) -> None:
    row = ROWS[name][1 if name == "belle" else 0]
    paths = [dump(tmp_path / "a.json", [row, row], True), dump(tmp_path / "a.jsonl", [row, row], False)]
    pq.write_table(pa.Table.from_pylist([row, row]), tmp_path / "a.parquet")
    paths.append(tmp_path / "a.parquet")
    if all(isinstance(value, str | int) for value in row.values()):
        cells = ['"' + str(value).replace('"', '""') + '"' for value in row.values()]
        paths.append(write(tmp_path / "a.csv", ",".join(row) + "\n" + (",".join(cells) + "\n") * 2))
    for path in paths:
        assert chosen(path) == name
        told = {key: str(value) for key, value in row.items()} if path.suffix == ".csv" else row
        assert read(path) == [item_of(name, told)] * 2
        assert bad(read(path)) == []
        assert len(read(path)) == 2


# ---------------------------------------------------------------- questions and answers


def test_question_of_title_and_description() -> None:
    assert question("冬天吃什么？", "") == "冬天吃什么？"
    assert question("冬天吃什么？", " \r") == "冬天吃什么？"
    assert question("冬天进补吃什么好呢？", "冬天进补吃什么好呢?") == "冬天进补吃什么好呢？"  # 18/20
    assert question("冬天吃什么？", "冬天吃什么?").count("\n") == 1  # 10/12
    assert question("冬天吃什么？", "我怕冷，请推荐。") == "冬天吃什么？\n我怕冷，请推荐。"
    assert question("怕冷怎么办", "我从小怕冷怎么办啊，请指教，谢谢了") == "我从小怕冷怎么办啊，请指教，谢谢了"
    assert question("我怕冷，冬天吃什么？", "我怕冷") == "我怕冷，冬天吃什么？"
    assert question(" ", "描述") == "描述"
    assert question("一二三四五六七八九十", "一二三四五六七八九十甲乙") == "一二三四五六七八九十"  # 20/22
    assert question("一二三四五六七八九十", "甲乙丙一二三四五六七八九十").endswith("十")  # 20/23: but it is in there
    assert question("一二三四五六七八九十", "甲乙丙十九八七六五四三二一").count("\n") == 1


def test_webtext() -> None:
    row = ROWS["webtext"][0] | {"answerer_tags": "人工智能@游戏业"}
    found = item_of("webtext", row)
    assert pairs([found]) == [("问\n怎么\n办", "答")]
    assert (found.score, found.siblings) == (7.0, "")
    assert found.meta == {"qid": 1, "topic": "t", "answer_id": 2, "answerer_tags": "人工智能@游戏业"}
    assert item_of("webtext", row | {"star": "12"}).score == 12
    assert item_of("webtext", row | {"star": None}).score is None
    assert item_of("webtext", row | {"star": "很多"}).score is None
    assert pairs([item_of("webtext", {k: v for k, v in row.items() if k != "desc"})]) == [("问", "答")]


def test_baike_keeps_its_line_breaks_for_later(tmp_path: Path) -> None:
    row = ROWS["baike"][0] | {"desc": "冬天吃什么", "answer": "你好！\r\r当然是\r羊肉。"}
    path = dump(tmp_path / "a.json", [row], False)
    assert chosen(path) == "baike"
    assert pairs(read(path)) == [("冬天吃什么？", "你好！\r\r当然是\r羊肉。")]


def test_medical(tmp_path: Path) -> None:
    lines = [
        "department,title,ask,answer",
        '内科,头疼怎么办？,无,"多喝水，\n多休息。"',
        "内科,头疼,头一直疼,去医院",
        "内科,无,无。,什么？",
    ]
    path = write(tmp_path / "a.csv", "\n".join(lines) + "\n", "gb18030")
    assert chosen(path) == "medical"
    assert pairs(read(path)) == [("头疼怎么办？", "多喝水，\n多休息。"), ("头一直疼", "去医院"), ("", "什么？")]
    assert [item.meta for item in read(path) if isinstance(item, Found)] == [
        {"department": "内科"},
        {"department": "内科", "title": "头疼"},
        {"department": "内科"},
    ]


def test_finance(tmp_path: Path) -> None:
    for column in ("question", "prompt"):
        path = write(
            tmp_path / "a.csv", f"title,{column},reply,is_best\n怎么贷款,我没有工作,去银行,1\n怎么存钱,,去银行,0\n"
        )
        items = read(path, "finance")
        assert pairs(items) == [("怎么贷款\n我没有工作", "去银行"), ("怎么存钱", "去银行")]
        assert [item.score for item in items if isinstance(item, Found)] == [1.0, 0.0]


@pytest.mark.parametrize(
    ("told", "count"),
    [("赞同 15", 15), ("赞同 1.2 万", 12_000), ("赞同 1,234", 1234), ("2K", 2000), ("赞同", 0), ("", None), (7, 7),
     ("赞同 ...", None), (None, None), ([], None), ("3千", 3000)],
)  # fmt: skip
def test_upvotes(told: Any, count: float | None) -> None:
    assert upvotes(told) == count


def test_zhihu(tmp_path: Path) -> None:
    table = {
        "INSTRUCTION": ["怎么说服男朋友买烤箱？", "空的", "没有的", "没有元数据", "坏的元数据"],
        "RESPONSE": ["先买。 再说。", "  ", None, "答", "答"],
        "SOURCE": ["Zhihu"] * 5,
        "METADATA": ['{"question_id": 357.0, "upvotes": "赞同 15"}', '{"upvotes": 3}', "{}", None, "{坏"],
    }
    pq.write_table(pa.table(table), tmp_path / "a.parquet", row_group_size=2)
    assert chosen(tmp_path / "a.parquet") == "zhihu"
    items = read(tmp_path / "a.parquet")
    assert [answer for _, answer in pairs(items)] == ["先买。 再说。", "  ", "", "答", "答"]
    found = [item for item in items if isinstance(item, Found)]
    assert [item.score for item in found] == [15, 3, None, None, None]
    assert found[0].meta == {"question_id": 357.0, "upvotes": "赞同 15"}
    assert found[4].meta == {"METADATA": "{坏"}


# ---------------------------------------------------------------- instructions and dialogues


def test_belle_keeps_the_input() -> None:
    for reader in ("belle", "alpaca", "pairs"):
        assert pairs([item_of(reader, {"instruction": "译", "input": "hello", "output": "你好"})]) == [
            ("译\nhello", "你好")
        ]
    assert pairs([item_of("belle", {"input": "问", "target": "答"})]) == [("问", "答")]


def test_belle_turns_in_an_instruction(tmp_path: Path) -> None:
    said = "Human:你好，能帮我吗？\nAssistant:当然。\n请说。\nHuman: 什么是 AI？\nAssistant:"
    rows = [
        {"instruction": said, "input": "", "output": "人工智能。"},
        {"instruction": "Human：一加一？", "input": "", "output": "二。"},
        {"instruction": "Human:甲\nHuman:乙\nAssistant:", "input": "", "output": "丙"},
        {"instruction": "解释 Human: 这个词", "input": "", "output": "人。"},
    ]
    path = dump(tmp_path / "turns.json", rows, False)
    assert chosen(path) == "belle"
    items = read(path)
    assert pairs(items) == [
        ("你好，能帮我吗？", "当然。\n请说。", "什么是 AI？", "人工智能。"),
        ("一加一？", "二。"),
        ("解释 Human: 这个词", "人。"),
    ]
    assert [item.reason for item in bad(items)] == ["user turn after user"]


def test_belle_dialogues(tmp_path: Path) -> None:
    turns = [{"from": who, "value": what} for who, what in [("human", "问"), ("assistant", "答"), ("human", "再问")]]
    path = dump(tmp_path / "train_3.5M_CN.json", [{"id": "7", "conversations": turns}], False)
    assert chosen(path) == "belle"
    (item,) = read(path)
    assert isinstance(item, Found)
    assert (pairs([item]), item.meta) == ([("问", "答")], {"id": "7"})


def test_alpaca_with_turns_before_it() -> None:
    found = item_of("alpaca", ROWS["alpaca"][0])
    assert [(m["role"], m["content"]) for m in found.messages] == [
        ("system", "译者"), ("user", "问"), ("assistant", "答"), ("user", "译\nhello"), ("assistant", "你好")
    ]  # fmt: skip
    assert found.meta == {}


def test_parquet_turns_with_the_fields_of_two_formats(tmp_path: Path) -> None:
    """A column of structs has all fields in each: those that a format lacks are null."""
    turn = {"role": None, "content": None, "reasoning_content": None, "tools": None, "tool_calls": None}
    turns = [turn | {"from": "human", "value": "问"}, turn | {"from": "gpt", "value": "答"}]
    pq.write_table(pa.Table.from_pylist([{"conversations": turns}]), tmp_path / "a.parquet")
    assert pairs(read(tmp_path / "a.parquet")) == [("问", "答")]


BEFORE = [
    {"role": role, "content": content}
    for role, content in [("system", "听话"), ("user", "一"), ("assistant", "二"), ("user", "三")]
]


@pytest.mark.parametrize(
    ("row", "messages", "good", "bad_ones"),
    [
        ({"prompt": "问", "chosen": "好", "rejected": "坏"}, ["问"], ["好"], ["坏"]),
        (
            {"conversations": [{"from": "human", "value": "问"}], "chosen": {"from": "gpt", "value": "好"},
             "rejected": {"from": "gpt", "value": "坏"}},
            ["问"], ["好"], ["坏"],
        ),
        (
            {"chosen": [{"role": "user", "content": "问"}, {"role": "assistant", "content": "好"}],
             "rejected": [{"role": "user", "content": "问"}, {"role": "assistant", "content": "坏"}]},
            ["问"], ["好"], ["坏"],
        ),
        (
            {"chosen": [*BEFORE, {"role": "assistant", "content": "四"}],
             "rejected": [*BEFORE, {"role": "assistant", "content": "五"}]},
            ["听话", "一", "二", "三"], ["四"], ["五"],
        ),
        (
            {"instruction": "译", "input": "hello", "system": "译者", "chosen": "你好", "rejected": "再见"},
            ["译者", "译\nhello"], ["你好"], ["再见"],
        ),
        (
            {"prompt": [{"role": "user", "content": "问"}], "chosen": [{"role": "assistant", "content": "好"}],
             "rejected": [{"role": "assistant", "content": "坏"}]},
            ["问"], ["好"], ["坏"],
        ),
    ],
)  # fmt: skip
def test_preferences(row: dict[str, Any], messages: list[str], good: list[str], bad_ones: list[str]) -> None:
    found = item_of("preference", row)
    said = [[m["content"] for m in turns] for turns in (found.messages, found.chosen, found.rejected)]
    assert said == [messages, good, bad_ones]
    assert found.chosen[0]["role"] == found.rejected[0]["role"] == "assistant"
    assert found.text is None


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "问", "chosen": "好"}, "no rejected"),
        ({"prompt": "问", "chosen": "好", "rejected": "好"}, "chosen and rejected say the same"),
        ({"chosen": "好", "rejected": "坏"}, "no prompt"),
        ({"prompt": "问", "chosen": [], "rejected": "坏"}, "nothing under chosen"),
        ({"prompt": "问", "chosen": 3, "rejected": "坏"}, "a turn is a int, not an object"),
        (
            {"chosen": [{"role": "user", "content": "甲"}, {"role": "assistant", "content": "好"}],
             "rejected": [{"role": "user", "content": "乙"}, {"role": "assistant", "content": "坏"}]},
            "chosen and rejected do not answer the same",
        ),
    ],
)  # fmt: skip
def test_preferences_that_are_none(row: dict[str, Any], reason: str) -> None:
    assert item_of("preference", row).reason == reason


def test_xiehouyu_and_poems() -> None:
    assert pairs([item_of("xiehouyu", ROWS["xiehouyu"][0])]) == [("做贼的说梦话", "想偷")]
    poem = item_of("poems", ROWS["poems"][0] | {"id": "x"})
    assert (poem.text, poem.meta) == ("静夜思\n李白\n床前明月光，\n疑是地上霜。", {"id": "x"})
    assert (
        item_of("poems", {"rhythmic": "渔家傲", "author": "某", "paragraphs": ["一", "二"]}).text
        == "渔家傲\n某\n一\n二"
    )
    assert item_of("poems", {"title": "关雎", "chapter": "国风", "content": ["关关雎鸠"]}).meta == {"chapter": "国风"}
    assert item_of("poems", {"title": "空", "author": "某", "paragraphs": []}).text == ""


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_conv(tmp_path: Path, ends: str) -> None:
    lines = [
        "E",
        "M 呵呵",
        "M 是王若猫的。",
        "E",
        "M 不是",
        "M 那是什么？",
        "M 没有人答",
        "E",
        "M 独自一人",
        "E",
        "M ",
        "M 空的",
    ]
    path = write(tmp_path / "a.conv", ends.join(lines) + ends)
    assert chosen(path) == "conv"
    assert pairs(read(path)) == [("呵呵", "是王若猫的。"), ("不是", "那是什么？"), ("独自一人", ""), ("", "空的")]
    raw = path.read_bytes()
    assert all(raw[at:].startswith(b"E") for at, _ in located(path))
    assert chosen(write(tmp_path / "renamed.txt", ends.join(lines))) == "conv"


def test_conv_with_slashes_between_words(tmp_path: Path) -> None:
    lines = ["E", "M 你/接到/这/封信/", "M 不/知道/。", "E", "M 1/2", "M 一半/"]
    assert pairs(read(write(tmp_path / "a.conv", "\n".join(lines)))) == [("你接到这封信", "不知道。"), ("12", "一半")]
    plain_lines = ["E", "M 一半是多少", "M 1/2", "E", "M 问", "M 答"]
    assert pairs(read(write(tmp_path / "b.conv", "\n".join(plain_lines))))[0] == ("一半是多少", "1/2")


def test_conv_with_bad_bytes(tmp_path: Path) -> None:
    dialogue = "E\nM 你好啊，今天好吗\nM 很好，谢谢你\n".encode()
    (tmp_path / "a.conv").write_bytes(dialogue * 9 + "E\nM 坏".encode() + b"\xff\n" + "M 好\n".encode() + dialogue)
    items = read(tmp_path / "a.conv")
    assert len(pairs(items)) == 10
    assert [item.reason for item in bad(items)] == ["bytes that are not utf-8"]


# ---------------------------------------------------------------- Wikipedia

PAGE = """{{Infobox person
| name = 甲
| image = [[File:a.jpg|thumb|{{small|乙}}]]
}}
'''数学'''（{{lang-en|mathematics}}）是[[形式科学|一门科学]]{{noteTA|G1=Math}}<ref name="a">引用 [[乙]]</ref>，<!-- 注
-->研究[[数量]]<ref name="b" />。
[[File:b.png|thumb|right|说明里有[[链接]]]]
{| class="wikitable"
! 甲 !! 乙
|-
| 1 || 2
|}
== 历史 ==
=== 古代 ===
* 第一，[http://a.org 外部]；
* {{tsl|en|Euclid||欧几里得}}与{{le|华里司|Wallis}}。
== 空的 ==
== 近代 ==
:a &lt; b，x<sup>2</sup>，-{zh-hans:软件;zh-hant:軟體}-<br />新行
== 参考文献 ==
* 一本书
=== 书目 ===
* 另一本
== 外部連結 ==
* [http://a.org 甲]
[[Category:数学]]
[[en:Mathematics]]"""


def test_wikitext() -> None:
    assert plain(PAGE).split("\n") == [
        "数学（mathematics）是一门科学，研究数量。", "历史", "古代", "第一，外部；", "欧几里得与华里司。", "近代",
        "a < b，x2，-{zh-hans:软件;zh-hant:軟體}-", "新行",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [("未关的{{模板|甲", "未关的模板|甲"), ("多余的}}和]]", "多余的和"), ("[[a|b", "a|b"), ("{{a|[[b}}后", "后"),
     ("[[:Category:甲|分类甲]]", "分类甲"), ("[[甲 (数学)|甲]]", "甲"), ("{{lang|en|a}}", "a"), ("", ""),
     ("<math>a<b</math>后", "后"), ("<!-- 没有关", ""), ("'''''粗斜'''''", "粗斜"), ("__NOTOC__甲", "甲"),
     ("{{ILL|甲|en|A}}", "甲"), ("{{a}}" * 3000, ""), ("{{" * 3000 + "甲", "甲")],
)  # fmt: skip
def test_wikitext_that_is_odd(wikitext: str, text: str) -> None:
    assert plain(wikitext) == text


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["{{", "}}", "[[", "]]", "{|", "|}", "|", "\n", "甲", "= ", "<ref>", "</ref>", "=="])))
def test_no_wikitext_breaks_it(pieces: list[str]) -> None:
    assert isinstance(plain("".join(pieces)), str)


def dump_of(pages: list[str]) -> str:
    head = '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/"><siteinfo><sitename>W</sitename></siteinfo>'
    return "\n".join([head, *pages, "</mediawiki>"])


def page(title: str, text: str, ns: int = 0, redirect: bool = False) -> str:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;")
    to = '<redirect title="别处" />' if redirect else ""
    return f"<page><title>{title}</title><ns>{ns}</ns><id>1</id>{to}<revision><text>{escaped}</text></revision></page>"


def test_wiki_dump(tmp_path: Path) -> None:
    pages = [
        page("数学", PAGE),
        page("讨论", "说", ns=1),
        page("数學", "#重定向", redirect=True),
        page("空", "{{模板}}"),
        page("甲", "正文"),
    ]
    path = write(tmp_path / "zhwiki-latest-pages-articles.xml", dump_of(pages))
    assert chosen(path) == "wiki"
    found = texts(read(path))
    assert [text.split("\n")[0] for text in found] == ["数学", "", "甲"]
    assert found[0].split("\n")[2] == "数学（mathematics）是一门科学，研究数量。"
    assert found[2] == "甲\n\n正文"
    cut = write(tmp_path / "cut.xml", dump_of(pages)[:-200])
    assert texts(read(cut))[0] == found[0]
    assert [item.reason[:38] for item in bad(read(cut))] == ["the file is cut short or damaged: uncl"]


def test_wiki_docs(tmp_path: Path) -> None:
    url = "https://zh.wikipedia.org/wiki?curid=1"
    docs = [
        f'<doc id="1" url="{url}" title="数学">\n数学\n\n数学是科学。\n\n第二段。\n</doc>\n',
        f'<doc id="2" url="{url}" title="A &amp; B">\nA &amp; B\n</doc>\n',
    ]
    path = write(tmp_path / "wiki_00", "".join(docs))
    assert chosen(path) == "wiki"
    assert texts(read(path)) == ["数学\n\n数学是科学。\n\n第二段。", "A & B\n\nA &amp; B"]
    assert [at for at, _ in located(path)] == [0, len(docs[0].encode())]
    assert bad(read(write(path, "".join(docs)[:-8])))[0].reason == "a <doc> that is not closed: the file is cut short"


@pytest.mark.parametrize("colon", ["：", ":"])
def test_wiki_txt(tmp_path: Path, colon: str) -> None:
    blocks = [
        f"数学{colon}\n数学是科学。\n分支如下{colon}\n",
        f"哲学{colon}\n哲学是智慧。\n",
        f"空的{colon}\n",
        "没有题目\n正文\n",
    ]
    path = write(tmp_path / "wiki.txt", "\n".join(blocks))
    assert chosen(path) == "plain_text"
    path = write(tmp_path / "wiki.txt", "\n".join([*blocks[:2], *["乙：\n正文\n"] * 2000, *blocks[2:]]))
    assert chosen(path) == "wiki"
    found = texts(read(path))
    assert found[:2] == [f"数学\n\n数学是科学。\n分支如下{colon}", "哲学\n\n哲学是智慧。"]
    assert found[-1] == ""
    assert [item.excerpt for item in bad(read(path))] == ["没有题目\n"]


def test_wiki_rows(tmp_path: Path) -> None:
    row = {
        "id": "1",
        "url": "https://zh.wikipedia.org/wiki?curid=53",
        "title": "经济学",
        "text": "经济学\n\n经济学是科学。",
    }
    path = dump(tmp_path / "wiki_00", [row, row | {"text": 3}, {"x": 1}], False)
    assert chosen(path) == "wiki"
    assert texts(read(path)) == ["经济学\n\n经济学是科学。"] * 1 + ["经济学\n\n3"]
    assert [item.reason for item in bad(read(path))] == ["no title"]


def test_wiki_as_questions(tmp_path: Path) -> None:
    pages = [page(f"第{n}条", f"第{n}条是一条。" + "它很长。" * 200) for n in range(200)]
    path = write(tmp_path / "a.xml", dump_of(pages))
    assert chosen(path) == "wiki"
    found = pairs(read(path, "wiki_qa"))
    assert found == pairs(read(path, "wiki_qa"))
    assert all(f"第{n}条" in asked for n, (asked, _) in enumerate(found))
    assert len({asked.replace(f"第{n}条", "{}") for n, (asked, _) in enumerate(found)}) == len(wiki_qa.PROMPTS) == 20
    assert all(len(told) <= wiki_qa.LONGEST and told.endswith("。") for _, told in found)
    assert all("{}" in prompt for prompt in wiki_qa.PROMPTS)


def test_beginning_of_an_article() -> None:
    assert wiki_qa.beginning("短。", 9) == "短。"
    assert wiki_qa.beginning("第一句。第二句", 6) == "第一句。"
    assert wiki_qa.beginning("他说：“好。”然后走了很远", 8) == "他说：“好。”"
    assert wiki_qa.beginning("没有句号的一长段文字", 5) == "没有句号的"
    assert wiki_qa.beginning("约 12.5 米长的一座桥", 6) == "约 12.5"


# ---------------------------------------------------------------- real files


@pytest.mark.parametrize(
    ("name", "reader", "count"),
    [
        ("medical_neike_sample_gb18030.csv", "medical", 7644),
        ("chatlm_qa_3k.parquet", "pairs", 3000),
        ("chatlm_qa_valid_1k.parquet", "pairs", 1000),
        ("tang_traditional.jsonl", "poems", 6003),
        ("alpaca_zh_demo.json", "alpaca", 1000),
        ("alpaca_en_demo.json", "alpaca", 999),
        ("dpo_zh_demo.json", "preference", 300),
        ("glaive_toolcall_zh_demo.json", "conversations", 300),
        ("c4_demo.jsonl", "text", 300),
        ("wiki_demo.txt", "plain_text", 13),
        ("xiehouyu.json", "xiehouyu", 14032),
    ],
)
def test_real_files(name: str, reader: str, count: int) -> None:
    path = real(name)
    assert chosen(path) == reader
    items = read(path)
    assert (len(items), bad(items)) == (count, [])
    if name.startswith("medical"):  # others hold some as they are published
        assert not any("\ufffd" in said for pair in pairs(items) for said in pair)
