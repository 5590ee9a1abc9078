"""Traditional characters become simplified ones, by phrases (OpenCC); MediaWiki's `-{…}-` is resolved (zhconv).

    simplified("著名的臺灣作家") == "著名的台湾作家"
    unwrapped("这是-{zh-hans:计算机;zh-hant:電腦}-") == "这是计算机"
    mended("彼は後で行きます") == "彼は後で行きます"

OpenCC reads its input as traditional. Given simplified text it breaks words (打坏 -> 打坯, 乾县 -> 干县), and much real
text is mixed. So a text that mostly writes traditional characters is converted whole, and of any other only the
clauses that hold a character which simplified Chinese never writes. Clauses of another language that shares the
characters (a fifth of it kana or Hangul) and code between backticks stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from pipeline.clean.text.codes import TRADITIONAL, Codes, all_han
from pipeline.clean.text.rule import CODE, HAN, Rule

ALSO_SIMPLIFIED = frozenset("乾徵昇陞祕吒脩氾蒐濛剋劄谿扞袷薹苧釐")
"""OpenCC rewrites them alone, but simplified Chinese has them too, in names above all: 乾隆, 魏徵, 毕昇, 哪吒."""

_FOREIGN_SHARE = 0.2

_FOREIGN = re.compile("[\u3041-\u30fa\u30fc-\u30ff\uac00-\ud7a3]")
_HAN = re.compile(f"[{HAN}]")
_EDGES = "\n`，。！？；：、…“”‘’「」『』《》（）,!?;:()"
_EDGE = re.compile(f"[{_EDGES}]")
_CLAUSE = re.compile(rf"(?P<code>{CODE})|[^{_EDGES}]+|`")
_PARTICLE = re.compile("(?<![显昭卓炳土原名专论编遗巨合译所撰拙新])著(?![名作者述称书录文有论])")
_TITLE_MARK = re.compile(r"-\{\s*T\s*\|[^{}]*\}-")
_LANGUAGES_MARK = re.compile(r"-\{\s*zh[\w; -]*\|([^{}]*)\}-")
_CONVERSION_MARK = re.compile(rf"-\{{(?=[^{{}}]*(?:zh(?:-\w+)?\s*:|\b[ADHNR]\s*\||[{HAN}]))[^{{}}]*\}}-")


@cache
def _converter(kind: str = "t2s") -> Any:
    import opencc

    return opencc.OpenCC(kind)


def simplified(text: str) -> str:
    """The text in simplified characters."""
    return str(_converter().convert(text))


def _modern(text: str) -> str:
    """The same, where 著 not only stands for writing and fame: Taiwan writes the particle 着 so."""
    return _PARTICLE.sub("着", simplified(text))


def never_simplified(characters: str) -> str:
    """Which of these characters simplified Chinese never writes.

    Where one of the two forms lies beyond the basic plane (顗 -> 𫖮), people and their fonts stay with what is written.
    """
    return "".join(c for c, s in _rewritten(characters) if max(c, s) <= "\uffff" and c not in ALSO_SIMPLIFIED)


def changed_alone(characters: str, kind: str = "t2s") -> str:
    """Which of these characters are written otherwise, each looked at alone."""
    return "".join(c for c, _ in _rewritten(characters, kind))


def _rewritten(characters: str, kind: str = "t2s") -> list[tuple[str, str]]:
    lines = _converter(kind).convert("\n".join(characters)).split("\n")
    return [(c, line) for c, line in zip(characters, lines, strict=True) if c != line]


def unwrapped(text: str) -> str:
    """MediaWiki's marks of conversion give way to what a reader in simplified Chinese sees; the rest follows them.

    A glossary mark (`-{A|…}-`) speaks for the whole page, so that the page is converted whole. What only looks like
    a mark (`x-{y}-z` in a formula) is left alone.
    """
    if "-{" not in text:
        return text
    text = _LANGUAGES_MARK.sub(r"-{\1}-", _TITLE_MARK.sub("", text))
    if not _CONVERSION_MARK.search(text):
        return text
    import zhconv_rs

    return str(zhconv_rs.zhconv(text, "zh-hans", True))


def mended(text: str) -> str:
    """The text as simplified Chinese writes it, its marks of conversion resolved."""
    text = unwrapped(text)
    traditional, only_simplified = _tell_tales()
    found = traditional.findall(text)
    if not found or _is_foreign(text):
        return text
    convert = _modern if "的" in text else simplified
    whole = len(found) >= len(only_simplified.findall(text))
    if "`" not in text:
        if not whole:
            return _rewritten_clauses(text, traditional, convert)
        if not _FOREIGN.search(text):
            return convert(text)

    def clause(match: re.Match[str]) -> str:
        said = match[0]
        if match["code"] is not None or not (whole or traditional.search(said)) or _is_foreign(said):
            return said
        return convert(said)

    return _CLAUSE.sub(clause, text)


def _rewritten_clauses(text: str, traditional: re.Pattern[str], convert: Callable[[str], str]) -> str:
    """The text with the clauses converted that hold a traditional character: only those are looked at."""
    parts, done = [], 0
    for found in traditional.finditer(text):
        if found.start() < done:
            continue
        start = found.start()
        while start > done and text[start - 1] not in _EDGES:
            start -= 1
        edge = _EDGE.search(text, found.end())
        end = edge.start() if edge else len(text)
        said = text[start:end]
        parts += [text[done:start], said if _is_foreign(said) else convert(said)]
        done = end
    return "".join([*parts, text[done:]])


@cache
def _tell_tales() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Characters that only traditional, and that only simplified Chinese writes."""
    rewritten = frozenset(changed_alone(all_han()))
    only_simplified = sorted(frozenset(changed_alone(all_han(), "s2t")) - rewritten)
    common = "".join(c for c in only_simplified if c <= "\uffff")  # beyond the basic plane `re` looks one by one
    return re.compile(f"[{never_simplified(all_han())}]"), re.compile(f"[{common}]")


def _is_foreign(text: str) -> bool:
    """Japanese or Korean: kana or Hangul among the characters, as no Chinese has them."""
    foreign = len(_FOREIGN.findall(text))
    return foreign > 0 and foreign >= _FOREIGN_SHARE * (foreign + len(_HAN.findall(text)))


def _could_change(codes: Codes) -> np.ndarray:
    spots = codes.spots
    dashes = np.flatnonzero(spots.points_S == ord("-"))
    marked_T = spots.any_at_T(dashes[spots.points_behind(dashes, 1) == ord("{")])
    return codes.has(TRADITIONAL) | marked_T


SCRIPT = Rule("script", mended, _could_change, frozenset({"words", "letters", "urls", "decimals"}))
"""Of a mark's wordings only one is seen."""
