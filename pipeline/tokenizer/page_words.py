"""What the report calls things, in both languages."""

from __future__ import annotations

from pipeline.tokenizer.measure import BYTES, DIGITS, HAN, LATIN, MARKS, MIXED, OTHER, SIGNS, SPACES
from pipeline.tokenizer.measured import OURS
from utils.console import tell


def language_name(name: str) -> str:
    """A language as people call it."""
    names = {"zh": ("Chinese", "中文"), "en": ("English", "英文"), "other": ("other", "其他"), "all": ("all", "全部")}
    return tell(*names[name])


def encoder_name(name: str) -> str:
    """A tokenizer as the page calls it."""
    return tell("ours", "本词表") if name == OURS else name


def kind_name(kind: str) -> str:
    """What a piece is, as people say it."""
    names = {
        HAN: ("Han", "汉字"),
        LATIN: ("Latin letters", "拉丁字母"),
        OTHER: ("other scripts", "其他文字"),
        MIXED: ("mixed", "混合"),
        DIGITS: ("digits", "数字"),
        SIGNS: ("signs", "标点符号"),
        SPACES: ("spaces", "空白"),
        BYTES: ("bytes", "字节"),
        MARKS: ("marks", "标记"),
    }
    return tell(*names[kind])
