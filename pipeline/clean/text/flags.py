"""What a question asks for, as far as a corpus may not want it: a table, a translation.

Each flag looks for a few words in the whole batch first, and reads with a regular expression only what holds one.
"""

from __future__ import annotations

import re
from functools import cache

import numpy as np

from pipeline.clean.text.codes import Codes
from pipeline.clean.text.phrases import Phrases

_RULE = re.compile(
    r"(?m)^[ \t]*\|?[ \t]*:?-{2,}:?[ \t]*(?:\|[ \t]*:?-{2,}:?[ \t]*)+\|?[ \t]*$"
    r"|^[ \t]*\+(?:[-=]{2,}\+)+[ \t]*$"
)
"""The line under a Markdown table's head, and a line drawn with + and -."""
_ROWS = re.compile(r"(?m)^[ \t]*\|[^|\n]+\|[^\n]*\|[ \t]*\n[ \t]*\|[^|\n]+\|[^\n]*\|[ \t]*$")
"""Two rows with bars at both ends."""
_BOXES = (0x2500, 0x2580)
"""The characters that tables are drawn with."""
_DRAWN = re.compile("[┌├└╔╠╚][─━═┬┼┴╦╬╩]{2,}|[─━═]{2,}[┐┤┘╗╣╝]")

_TABLE_ASKED = re.compile(
    r"表格|(?<![机控抑限强体管编])制表(?![明达示现符])|[制做列画]成?一?[张个]表(?![示达明现面情演])|[制列]成表(?!示|达|现)"
    r"|(?i:\b(?:create|make|compose|build|draw|design|generate|convert|(?:re)?format|organi[sz]e|present|html|markdown)\b"
    r"[^.\n]{0,60}\btable\b(?!s? (?:of contents|tennis)))"
    r"|(?i:\b(?:into|as) an? table\b|\btabular (?:form|format)\b)"
)
_TRANSLATION_ASKED = re.compile(
    r"翻译(?:成|为|到|至|出来?|一?下|这个?[句词短单段文篇首些封则]|该|给定|此|句子|文本|[:：“\"「『‘'\s]*[A-Za-z\u3040-\u30ff\uac00-\ud7af]{2})"
    r"|(?:请|帮忙|帮我|麻烦|求|给我|[把将对])[^。！？\n]{0,80}翻译(?![家员官软工器行公专机学理技模系质者是水能])"
    r"|(?<![翻直])译[成为](?!了)|[英汉中日法德俄韩]译[英汉中日法德俄韩]"
    r"|(?i:\btranslate\b(?! to (?:more|less|better))|\btranslations? (?:of|for|into)\b)"
)


_TABLE_WORDS = "表格 制表 制成表 制成一 列成表 列成一 张表 个表 做表 列表 画表 table Table TABLE tabular Tabular"
_TRANSLATION_WORDS = "翻译 译成 译为 translat Translat TRANSLAT"
_LANGUAGES = "英汉中日法德俄韩"


@cache
def _table_words() -> Phrases:
    return Phrases(_TABLE_WORDS.split())


@cache
def _translation_words() -> Phrases:
    pairs = [f"{one}译{other}" for one in _LANGUAGES for other in _LANGUAGES]
    return Phrases([*_TRANSLATION_WORDS.split(), *pairs])


def tables_T(codes: Codes, asks_T: np.ndarray) -> np.ndarray:
    """Which texts hold a table, in Markdown or drawn with characters, or, of those that ask, want one."""
    points_N = codes.points_N
    ruled_T = _some_T(codes, points_N == ord("|")) | _some_T(codes, points_N == ord("+"))
    drawn_T = _some_T(codes, (points_N - np.uint32(_BOXES[0])) < np.uint32(_BOXES[1] - _BOXES[0]))
    asked_T = asks_T & (_table_words().count_T(codes) > 0) if asks_T.any() else asks_T
    held_T = _confirmed(codes, ruled_T, _RULE, _ROWS) | _confirmed(codes, drawn_T, _DRAWN)
    return held_T | _confirmed(codes, asked_T, _TABLE_ASKED)


def translations_T(codes: Codes, asks_T: np.ndarray) -> np.ndarray:
    """Which of the texts that ask want a translation (an answer may tell of a translator)."""
    if not asks_T.any():
        return asks_T
    return _confirmed(codes, asks_T & (_translation_words().count_T(codes) > 0), _TRANSLATION_ASKED)


def _some_T(codes: Codes, mask_N: np.ndarray) -> np.ndarray:
    """Which texts the mask touches, at once where it touches none."""
    return codes.any_T(mask_N) if mask_N.any() else np.zeros(len(codes.texts), bool)


def _confirmed(codes: Codes, candidates_T: np.ndarray, *patterns: re.Pattern[str]) -> np.ndarray:
    """Which of the candidates one of these patterns finds something in."""
    found_T = np.zeros(len(codes.texts), bool)
    for text in np.flatnonzero(candidates_T).tolist():
        found_T[text] = any(pattern.search(codes.texts[text]) for pattern in patterns)
    return found_T
