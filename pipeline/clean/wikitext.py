"""Wikitext as plain text: what a reader of the page sees of its sentences, without its furniture.

Not an interpreter of MediaWiki: templates vanish, but for the few that only mark a word; so do tables, references,
files, galleries and formulas. Links leave their label, headings and lists their words. Language variants
(`-{zh-hans:…;zh-hant:…}-`) stay as they are, because `text/script.py` resolves them.
"""

from __future__ import annotations

import html
import re

LAST = ("lang", "tsl", "transl", "nowrap", "nobold", "small")
FIRST = ("le", "ill", "translink", "ruby")
"""Templates that only mark a word, which is their last or first argument; so do `lang-…` and `link-…`."""
NOT_TEXT = ("file", "image", "media", "category", "文件", "檔案", "档案", "图像", "圖像", "分类", "分類")
"""Links in these namespaces show no words."""
APPENDICES = re.compile(
    "参考|參考|(参考|參考)(文献|文獻|资料|資料|来源|來源|书目|書目)|(资料|資料)?(来源|來源)|[注註][释釋脚腳]|[脚腳][注註]|备注|備註"
    "|外部(链接|連結|鏈接|连结)|[参參][见見看閱阅]|(相关|相關)(条目|條目)|(延伸|扩展|擴展)(阅读|閱讀)|[图圖]集|[画畫]廊"
)
"""Headings of sections of links and references, which say nothing."""

_GONE = re.compile(
    r"<!--.*?(?:-->|\Z)"
    r"|<ref\b[^>]*/>|<ref\b[^>]*>.*?</ref\s*>"
    r"|<(gallery|math|chem|timeline|imagemap|score|hiero|graph|mapframe|references|templatestyles|style)\b[^>]*/>"
    r"|<(gallery|math|chem|timeline|imagemap|score|hiero|graph|mapframe|references|style)\b[^>]*>.*?</\2\s*>",
    re.DOTALL | re.IGNORECASE,
)
_BREAK = re.compile(r"<br\b[^>]*>", re.IGNORECASE)
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_MARK = re.compile(r"\{\{|\}\}|\[\[|\]\]|^[ :]*\{\||^[ ]*\|\}(?!\})", re.MULTILINE)
_CLOSES = {"}}": "{{", "]]": "[[", "|}": "{|"}
_OUTER_LINK = re.compile(r"\[(?:https?:|ftp:)?//[^\s\]]*\s*([^\]]*)\]")
_SWITCH = re.compile(r"__[A-Z]+__|'{2,5}|^-{4,}", re.MULTILINE)
_HEADING = re.compile(r"^(={1,6})\s*(.+?)\s*\1\s*$")
_LIST = re.compile(r"^[*#:;]+\s*")
_OTHER_WIKI = re.compile(r"[a-z]{2,3}(?:-[a-z]+)*:")


def plain(wikitext: str) -> str:
    """The page as text, a line a paragraph."""
    text = _GONE.sub("", wikitext)
    text = _unnested(_BREAK.sub("\n", text))
    text = _SWITCH.sub("", _OUTER_LINK.sub(r"\1", text))
    return "\n".join(_lines(html.unescape(_TAG.sub("", text))))


def _unnested(text: str) -> str:
    """Templates, tables and links, one within the other, replaced by what they show, from the inside out."""
    stack: list[tuple[str, list[str]]] = [("", [])]
    at = 0
    for mark in _MARK.finditer(text):
        stack[-1][1].append(text[at : mark.start()])
        at = mark.end()
        kind = mark[0].lstrip(" :")
        if kind not in _CLOSES:
            stack.append((kind, []))
        elif any(opener == _CLOSES[kind] for opener, _ in stack):
            while stack[-1][0] != _CLOSES[kind]:  # opened within, and never closed
                _, parts = stack.pop()
                stack[-1][1].extend(parts)
            opener, parts = stack.pop()
            stack[-1][1].append(_shown(opener, "".join(parts)))
    rest = [text[at:]]
    for _, parts in reversed(stack):
        rest = [*parts, *rest]
    return "".join(rest)


def _shown(opener: str, inner: str) -> str:
    if opener == "{{":
        return _template(inner)
    return _link(inner) if opener == "[[" else ""


def _template(inner: str) -> str:
    name, *arguments = inner.split("|")
    name = name.strip().lower()
    said = [one.strip() for one in arguments if "=" not in one]
    if said and (name in FIRST or name.startswith(("link-", "internal link helper"))):
        return said[0]
    return said[-1] if said and (name in LAST or name.startswith("lang-")) else ""


def _link(inner: str) -> str:
    target, _, label = inner.partition("|")
    space = target.strip().lstrip(":").partition(":")[0].strip().lower()
    if space in NOT_TEXT and not target.lstrip().startswith(":"):
        return ""
    if not label and _OTHER_WIKI.match(target):
        return ""
    return label.rpartition("|")[2] if label else target.strip().lstrip(":")


def _lines(text: str) -> list[str]:
    """Lines that say something; a heading without anything below it goes, and so do the page's appendices."""
    kept: list[str] = []
    headings: list[tuple[int, str]] = []
    skipped = 0  # level of the appendix that is being passed over
    for raw in text.split("\n"):
        line = raw.strip()
        if heading := _HEADING.match(line):
            level, title = len(heading[1]), heading[2].strip()
            if skipped and level > skipped:
                continue
            skipped = level if APPENDICES.fullmatch(title) else 0
            headings = [one for one in headings if one[0] < level] + ([] if skipped else [(level, title)])
        elif line and not skipped and (said := _LIST.sub("", line).strip()):
            kept += [title for _, title in headings]
            headings = []
            kept.append(said)
    return kept
