"""What the report calls things, in both languages: why a record was dropped, what was mended in it."""

from __future__ import annotations

from dataclasses import dataclass

from utils.console import is_chinese, tell
from utils.page import number, percent

Both = tuple[str, str]
"""English, Chinese."""

KEPT: Both = ("kept", "保留")
UNREADABLE: Both = ("unreadable", "无法读取")
LENGTH: Both = ("length", "长短")
LANGUAGE: Both = ("script and signs", "文字与符号")
REPETITION: Both = ("repetition", "自我重复")
CONTENT: Both = ("content", "内容")
COPIES: Both = ("copies", "互相重复")
EXAM: Both = ("exam", "考题")

COLOURS = {KEPT: "c0", LENGTH: "c4", LANGUAGE: "c2", REPETITION: "c3", CONTENT: "c1", COPIES: "c5"}
COLOURS |= {EXAM: "c6", UNREADABLE: "c7"}
"""The classes of `utils/page.css`, in the order in which a bar shows them."""


@dataclass(frozen=True)
class Reason:
    """A rule as people speak of it, and how its measure is written ({} is the value)."""

    kind: Both
    name: Both
    why: Both
    value: Both = ("", "")


_SHARE: Both = ("%", "%")
_CHARACTERS: Both = ("{:,.0f} characters", "{:,.0f} 字")

REASONS: dict[str, Reason] = {
    "empty": Reason(
        LENGTH,
        ("Empty", "空内容"),
        ("a text, question or reply with nothing left in it", "正文、问题或回答里什么也没剩下"),
    ),
    "min_chars": Reason(
        LENGTH,
        ("Too short", "过短"),
        ("the text, or its shortest reply, is too short", "正文或最短的回答太短"),
        _CHARACTERS,
    ),
    "max_chars": Reason(LENGTH, ("Too long", "过长"), ("more characters than allowed", "字数超过上限"), _CHARACTERS),
    "min_score": Reason(
        CONTENT,
        ("Low score", "评分过低"),
        ("fewer stars or upvotes than asked for", "星级或赞数不够"),
        ("score {:g}", "{:g} 分"),
    ),
    "min_han": Reason(
        LANGUAGE,
        ("Little Chinese", "汉字过少"),
        ("few of its letters are Han characters", "文字里汉字的比例太低"),
        _SHARE,
    ),
    "max_digits": Reason(
        LANGUAGE, ("Mostly digits", "数字过多"), ("a large share of it is digits", "数字所占的比例太高"), _SHARE
    ),
    "max_symbols": Reason(LANGUAGE, ("Signs", "符号过多"), ("many hashtags and ellipses", "井号、省略号太多"), _SHARE),
    "max_repeated_lines": Reason(
        REPETITION, ("Repeated lines", "重复行多"), ("lines that stood there before", "许多行前面已经出现过"), _SHARE
    ),
    "max_top_2gram": Reason(
        REPETITION,
        ("Repeated twos", "两字反复"),
        ("the same two characters over and over", "同样的两个字反复出现"),
        _SHARE,
    ),
    "max_top_3gram": Reason(
        REPETITION,
        ("Repeated threes", "三字反复"),
        ("the same three characters over and over", "同样的三个字反复出现"),
        _SHARE,
    ),
    "max_top_4gram": Reason(
        REPETITION,
        ("Repeated fours", "四字反复"),
        ("the same four characters over and over", "同样的四个字反复出现"),
        _SHARE,
    ),
    "min_sentences": Reason(
        LANGUAGE,
        ("Few sentences", "句子过少"),
        ("hardly a sentence comes to its end: lists, menus", "几乎没有完整的句子：多是列表、菜单"),
        ("{:.0f} sentence ends", "{:.0f} 个句末"),
    ),
    "max_ads": Reason(
        CONTENT,
        ("Advertising", "广告套话"),
        ("phrases of advertisements, appeals to readers", "广告用语、求关注求转发"),
        ("{:.0f} phrases", "{:.0f} 处"),
    ),
    "max_vulgar": Reason(CONTENT, ("Vulgar", "低俗"), ("vulgar words", "低俗用词"), ("{:.0f} words", "{:.0f} 处")),
    "max_swaps": Reason(
        CONTENT,
        ("Spun text", "机器洗稿"),
        ("words swapped for synonyms by a machine", "词语被机器换成了近义词"),
        ("{:.2f} per 100 characters", "每百字 {:.2f} 处"),
    ),
    "tails": Reason(CONTENT, ("Stock endings", "结尾套话"), ("ends in a stock paragraph", "结尾是固定的套话")),
    "tables": Reason(CONTENT, ("Tables", "表格"), ("holds a table, or asks for one", "含有表格，或要求列表格")),
    "translations": Reason(CONTENT, ("Translation", "翻译"), ("asks for a translation", "要求翻译")),
    "duplicate": Reason(
        COPIES,
        ("Exact copies", "完全重复"),
        ("says letter for letter what another record says", "与另一条记录一字不差"),
    ),
    "max_per_question": Reason(
        COPIES, ("Asked again", "同问过多"), ("enough answers of the same question are kept", "同一问题已留够回答")
    ),
    "max_per_answer": Reason(
        COPIES, ("Answered again", "同答过多"), ("enough questions of the same answer are kept", "同一回答已留够问题")
    ),
    "near_duplicate": Reason(
        COPIES, ("Near copies", "近似重复"), ("says almost what another record says", "与另一条记录大同小异")
    ),
    "in_exam": Reason(
        EXAM, ("In an exam", "考题泄漏"), ("shares a long run of words with an exam", "与考卷有一长段相同文字")
    ),
}


def reason(rule: str) -> Reason:
    """What people call a rule; one that has no words here is called what the configuration calls it."""
    return REASONS.get(rule, Reason(CONTENT, (rule, rule), ("", "")))


def said(words: Both) -> str:
    """In the reader's language."""
    return tell(*words)


def measured(rule: str, value: float | bool | None) -> str:
    """The value that dropped a record, with its unit; nothing where there is none, or none worth saying."""
    if value is None or isinstance(value, bool):
        return ""
    if rule not in REASONS:
        return number(value)
    if REASONS[rule].value == _SHARE:
        return percent(value)
    text = said(REASONS[rule].value).format(value)
    return text.removesuffix("s") if value == 1 else text


def amount(count: int) -> str:
    """A count in a sentence: from a million on as people say it, in three figures."""
    if count < 1_000_000:
        return f"{count:,}"
    units = ((10**4, "万"), (10**8, "亿")) if is_chinese() else ((10**6, "million"), (10**9, "billion"))
    size, unit = units[count >= units[1][0]]
    value = count / size
    return f"{value:,.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"


def records(count: int) -> str:
    """So many records, in a sentence."""
    return tell(f"{amount(count)} records", f"{amount(count)} 条".replace("万 ", "万").replace("亿 ", "亿"))


MENDS: dict[str, tuple[Both, Both]] = {
    "line_ends": (("Line ends", "换行符"), ("one kind of line end", "统一为一种换行")),
    "invisible": (
        ("Invisible characters", "隐形字符"),
        ("controls and characters without width go", "去掉控制符和零宽字符"),
    ),
    "composed": (
        ("Accents", "组合字符"),
        ("a letter and its accent become one character", "字母与附加符号合为一个字符"),
    ),
    "html": (("Markup", "网页标记"), ("tags and entities become what they show", "标签和转义还原为所显示的文字")),
    "script": (("Simplified", "繁转简"), ("traditional characters become simplified ones", "繁体字写成简体字")),
    "width": (
        ("Punctuation", "全角标点"),
        ("half-width marks between Chinese become full-width", "中文之间的半角标点改为全角"),
    ),
    "repeated_marks": (("Repeated marks", "重复标点"), ("a run of one mark is shortened", "缩短连成一串的标点")),
    "han_spaces": (("Gaps in Chinese", "汉字间空格"), ("spaces between Han characters go", "去掉汉字之间的空格")),
    "indents": (("Indents", "段首缩进"), ("a paragraph begins where its line does", "去掉段首的全角空格")),
    "trailing_spaces": (("Trailing spaces", "行尾空白"), ("no white space before a line end", "去掉行尾的空白")),
    "blank_lines": (("Blank lines", "多余空行"), ("at most one blank line in a row", "连续空行只留一个")),
    "edges": (("Edges", "首尾空白"), ("no white space around the whole", "去掉整段首尾的空白")),
    "pii": (
        ("Personal data", "个人信息"),
        ("phone, mail, card and ID numbers are masked", "遮去电话、邮箱、卡号和证件号"),
    ),
    "zhihu_paragraphs": (
        ("Zhihu's paragraphs", "知乎段落"),
        ("a space that was a line end is one again", "把变成空格的换行还原"),
    ),
    "wiki_brackets": (
        ("Wikipedia's brackets", "维基括号"),
        ("brackets left empty by templates go", "去掉模板留下的空括号"),
    ),
}

COUNTED: dict[str, Both] = {
    "decimals": ("Decimals", "小数"),
    "urls": ("Addresses", "网址"),
    "words": ("Latin words", "西文单词"),
    "letters": ("Latin letters", "西文字母"),
    "unmatched": ("Lone brackets", "落单括号"),
}
"""What the ledger counts."""


def mend_words(rule: str) -> tuple[Both, Both]:
    """A mending rule's name and what it does; one without words here is called what the code calls it."""
    return MENDS.get(rule, ((rule, rule), ("", "")))


def counted(count: str) -> str:
    """What a count of the ledger is called."""
    return said(COUNTED.get(count, (count, count)))
