"""Each rule on what it is for, and on what looks like it and must stay."""

from __future__ import annotations

import pytest

from pipeline.clean.text.mend import mend
from pipeline.clean.text.rules import PROFILES, rules_for


def mended(profile: str, text: str, *repairs: str) -> str:
    """One text through a profile without masks: those have tests of their own."""
    return mend([text], rules_for(profile, mask=False, repairs=repairs))[0]


NOBODY_TOUCHES = [
    "12.5米，3,000元，1：2，09:30，1:2，3.14。",
    "12.2米",
    "https://a.b/c?d=e&f=%20#g 和 a@b.com",
    "见https://zh.wikipedia.org/wiki/中国?a=中!!b，谢谢",
    "www.a.cn/a,,b!!",
    "class pass s，（括号）！？……——",
    "he says: yes, it's (really) so!! wait... what?? ok~~",
    "def f(x):\n    缩进的代码\n\tif x:\n        y",
    "👨‍👩‍👧 🏳️‍🌈 👍🏽 ❤️",
    "می‌خواهم",
    "龘𠮷𰻝",
    "<|im_end|> <think> a<b List<String> Map<A,B> <a@b.c> x<p>y if a<b and c>d",
    "①㎏Ａ１㈱ﬁ½ ＡＢＣ１２３ 全角",
    "```\n你好,世界!!!  后來 &nbsp; <b>粗</b> (中)\n```",
    "`你好,世界!!` 与 `<br>` 与 `臺灣`",
    "| 列一 | 列二 |\n|:---:|-----|\n| 甲 | 乙 |\n\n---\n***\n===\n~~~",
    "[文字](http://a.b/c) ![图](图.png) **粗** ~~删除~~ 了",
    "f(x)中的g(值)，IF(条件)与(0,1)",
    "1) 苹果 2) 梨 :) (未完",
    "3..5 与 ../路径， ...x 与文件.../x",
    "s1、s2、...、sk",
    "人名·人名 A/B 50% #话题# @用户",
    "检查.要明确",
    "“甲”, “yes”! and ‘b’, ok",
    "姓名    年龄    城市\n张三    三十    北京",
    "春眠不觉晓　处处闻啼鸟",
]


@pytest.mark.parametrize("text", NOBODY_TOUCHES)
@pytest.mark.parametrize("profile", PROFILES)
def test_what_stays(profile: str, text: str) -> None:
    assert mended(profile, text) == text


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("一\r\n二\r三\u2028四\x0b五\x85六", "一\n二\n三\n四\n五\n六"),
        ("段\r\r段", "段\n\n段"),
        ("零\u200b宽\ufeff字\u2060符\u00ad", "零宽字符"),
        ("控\x00制\x1b\x07", "控制"),
        ("家\u200d庭", "家庭"),
        ("半个\ud83d字", "半个字"),
        ("e\u0301", "é"),
        ("e\u200b\u0301①㎏Ａ", "é①㎏Ａ"),
        ("尾空  \t\n字\u3000\n", "尾空\n字"),
        ("後來的臺灣", "后来的台湾"),
    ],
)
@pytest.mark.parametrize("profile", PROFILES)
def test_what_nobody_sees_goes_everywhere(profile: str, raw: str, clean: str) -> None:
    assert mended(profile, raw) == clean


def test_documents_lose_blank_lines_and_dialogues_keep_them() -> None:
    assert mended("prose", "\n\n段\n\n\n\n段\n") == "段\n\n段"
    assert mended("light", " \n一  \n\n\n\n    二\r\n ") == "一\n\n\n\n    二"
    assert mended("prose", "    一\n    二") == "    一\n    二"


def test_a_light_text_keeps_its_marks() -> None:
    assert mended("light", "好的!!!,(笑)&nbsp;你 好") == "好的!!!,(笑)&nbsp;你 好"


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("甲&nbsp;&amp;&lt;乙&#39;&#x4e2d;&hellip;", "甲 &<乙'中…"),
        ("甲&amp;amp;nbsp;a&amp;lt;乙", "甲 a<乙"),
        ("&unknown; &notit; &; &#0; AT&T R&D; a&b", "&unknown; &notit; &; &#0; AT&T R&D; a&b"),
        ("e&#769;&#8203;", "é"),
        ("http://a.b/?x=1&amp;y=2", "http://a.b/?x=1&y=2"),
        ("一<br>二<br/>三<BR />四", "一\n二\n三\n四"),
        ("<p>一</p><p class=x>二</p>\n<p>三", "一\n\n二\n\n三"),
        ("<ul>\n<li>一</li>\n<li>二</li>\n</ul>完", "一\n二\n完"),
        ("<div><div>一</div></div>", "一"),
        ('看<a href="http://a.b/?c=1" target=_blank>这里</a>吧', "看这里吧"),
        ("<b>粗</b>与<i>斜</i>和word<b>bold</b>", "粗与斜和wordbold"),
        ("<font color=#f00 size='+1'>红</font>", "红"),
        ("图<img src='a.png' width=\"12.5\"/>完", "图完"),
        ("<tr><td nowrap>一</td><td>二</td></tr><tr>三", "一\t二\n三"),
        ("10<sup>3</sup>，H<sub>2</sub>O", "10³，H2O"),
        ("甲<!-- 注\n释 -->乙<script type=x>if (a<b) alert(1)</script>丙<STYLE>p{}</STYLE>", "甲乙丙"),
        ("&lt;br&gt;甲", "甲"),
        ("```\n<b>&lt;</b>\n```<br>外", "```\n<b>&lt;</b>\n```\n外"),
        ("List<B> Vec<U> <table> <section> a<i>3", "List<B> Vec<U> <table> <section> a<i>3"),
        ("<script>没有完", "<script>没有完"),
        ("<html>和<body>", "<html>和<body>"),
    ],
)
def test_html(raw: str, clean: str) -> None:
    assert mended("web", raw) == clean
    assert mended("prose", "<p>一</p>&nbsp;") == "<p>一</p>&nbsp;"


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("第 一 章 总则", "第一章总则"),
        ("演揲儿法 。好", "演揲儿法。好"),
        ("中文 English 中文 3 个", "中文 English 中文 3 个"),
        ("def 函 数 in\n    缩 进", "def 函数 in\n    缩进"),
        ("　　首行缩进\n　　第二段\n    if 代码:", "首行缩进\n第二段\n    if 代码:"),
        ("甲\u00a0乙  丙", "甲乙丙"),
        ("甲\t乙", "甲\t乙"),
        ("`中 文` 中 文", "`中 文` 中文"),
    ],
)
def test_spaces_of_crawled_pages(raw: str, clean: str) -> None:
    assert mended("web", raw) == clean
    assert mended("prose", "　　第 一 章") == "　　第 一 章"


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("好！！！", "好！"),
        ("好？？？？！！", "好？！"),
        ("好。。。好，，好、、好；；好：：好～～～", "好。好，好、好；好：好～"),
        ("好。。。。。。", "好……"),
        ("好………好……好…", "好……好……好…"),
        ("是————是——是—", "是——是——是—"),
        ("好......好...好..", "好……好……好.."),
        ("好!!!", "好！"),
        ("好,,好;;好~~~", "好，好；好~"),
        ("好~~", "好~"),
        ("》!!!", "》!"),
        ("wait!!! 1,,2 --- ***", "wait!!! 1,,2 --- ***"),
        ("`好!!!` https://a.b/好!!! 好!!!", "`好!!!` https://a.b/好!!! 好！"),
    ],
)
@pytest.mark.parametrize("profile", ["web", "prose"])
def test_a_mark_is_said_once(profile: str, raw: str, clean: str) -> None:
    assert mended(profile, raw) == clean


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("你好,世界;你:他", "你好，世界；你：他"),
        ("你好, 世界", "你好，世界"),
        ("好吗?!好", "好吗？！好"),
        ("好吗?\n好!", "好吗？\n好！"),
        ("他说:“好!”", "他说：“好！”"),
        ("《一》,二", "《一》，二"),
        ("好,ok,好 ok:好 3,好", "好,ok,好 ok:好 3,好"),
        ("好,\n好.好", "好,\n好.好"),
        ("北京(首都)是(一)个", "北京（首都）是（一）个"),
        ("北京(Beijing)是", "北京（Beijing）是"),
        ("北京(1912年设)", "北京（1912年设）"),
        ("外(内(里)内)外", "外（内（里）内）外"),
        ("见（图一)和(图二）", "见（图一）和（图二）"),
        ("北京(首都", "北京(首都"),
        ("北京(首\n都)", "北京(首\n都)"),
        ("Beijing (北京) is big", "Beijing (北京) is big"),
        ("[链接](中文)", "[链接](中文)"),
        ("print(中文) 与 (a, b)", "print(中文) 与 (a, b)"),
        ("，！（）", "，！（）"),
    ],
)
@pytest.mark.parametrize("profile", ["web", "prose"])
def test_width(profile: str, raw: str, clean: str) -> None:
    assert mended(profile, raw) == clean


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("第一段。 第二段！ “第三段。” 第四段", "第一段。\n第二段！\n“第三段。”\n第四段"),
        ("OK. 好 1. 苹果 2. 梨", "OK. 好 1. 苹果 2. 梨"),
        ("这是“心” 是", "这是“心” 是"),
        ("好。 2. 第二", "好。 2. 第二"),
    ],
)
def test_zhihu_paragraphs(raw: str, clean: str) -> None:
    assert mended("prose", raw, "zhihu_paragraphs") == clean


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("张三（），人", "张三，人"),
        ("张三（；，），人", "张三，人"),
        ("张三（，又名李四），人", "张三（又名李四），人"),
        ("张三（1900年，），人", "张三（1900年），人"),
        ("张三( )与「」人", "张三与人"),
        ("张三(，又名)人", "张三（又名）人"),
        ("f() 与 print( )", "f() 与 print( )"),
        ("（未完", "（未完"),
        ("（，未完", "（未完"),
    ],
)
def test_wiki_brackets(raw: str, clean: str) -> None:
    assert mended("prose", raw, "wiki_brackets") == clean


def test_a_profile_is_what_it_says() -> None:
    names = [rule.name for rule in rules_for("web", repairs=["zhihu_paragraphs"])]
    assert names == [
        *("line_ends", "invisible", "composed", "html", "zhihu_paragraphs", "script", "pii"),
        *("indents", "han_spaces", "trailing_spaces", "blank_lines", "repeated_marks", "width", "edges"),
    ]
    light = [rule.name for rule in rules_for("light", simplify=False, mask=False)]
    assert light == ["line_ends", "invisible", "composed", "trailing_spaces", "edges"]
    assert rules_for("web") is rules_for("web", repairs=[])
    with pytest.raises(ValueError, match="no profile is called 'wed'; there are web, prose, light"):
        rules_for("wed")
    with pytest.raises(ValueError, match="no repair is called 'x'"):
        rules_for("web", repairs=["x"])
