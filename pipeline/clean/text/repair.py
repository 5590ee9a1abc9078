"""What happened to two corpora on their way to us, undone. A corpus names the repairs it needs.

zhihu_paragraphs   Zhihu-KOL: every paragraph break became one space: `……了。 他……` -> a line end
wiki_brackets      Wikipedia: templates vanished and left `（）`, `「」` or `（，又名…）`
"""

from __future__ import annotations

import numpy as np

from pipeline.clean.text.codes import BRACKET, HAN, MARK, SPACE, Codes
from pipeline.clean.text.rule import HAN as HAN_CLASS
from pipeline.clean.text.rule import Rule, Substitution

_ENDS = "。！？…"
_QUOTES = "”’」』"
_OPENING = "“‘「『《【（"
_LEFT_OVER = r"[ \t\u00a0\u3000，、；：,;:]"
_CHINESE = rf"[{HAN_CLASS}”》」』】）]"

break_paragraphs = Substitution(
    rf" (?:(?<=[{_ENDS}] )|(?<=[{_ENDS}][{_QUOTES}] )) *(?=[{HAN_CLASS}{_OPENING}])", lambda match: "\n"
)
"""A space behind a sentence (and its closing quote) and before Chinese was a line end. `1. ` and `OK. ` are not."""

_drop_empty = Substitution(
    rf"（(?:{_LEFT_OVER}|。)*）|「[ \u3000]*」|\((?<={_CHINESE}.){_LEFT_OVER}*\)", lambda match: ""
)
_drop_left_over = Substitution(
    rf"（{_LEFT_OVER}+|\((?<={_CHINESE}.){_LEFT_OVER}*[，、；,;]{_LEFT_OVER}*|[，、；]{_LEFT_OVER}*(?=）)",
    lambda match: match[0][0] if match[0][0] in "（(" else "",
)


def without_empty_brackets(text: str) -> str:
    """Brackets around nothing go, and so does punctuation at their rims; no bracket is left alone."""
    return _drop_left_over(_drop_empty(text))


def _could_break(codes: Codes) -> np.ndarray:
    spots = codes.spots
    return spots.any_T((spots.points_S == ord(" ")) & spots.before(MARK) & spots.after(HAN | MARK | SPACE))


def _could_empty(codes: Codes) -> np.ndarray:
    spots = codes.spots
    return spots.any_T(
        spots.of(BRACKET) & spots.after(MARK | SPACE) | spots.before(MARK | SPACE) & (spots.points_S == ord("）"))
    )


REPAIRS = {
    rule.name: rule
    for rule in (
        Rule("zhihu_paragraphs", break_paragraphs, _could_break),
        Rule("wiki_brackets", without_empty_brackets, _could_empty, frozenset({"words"})),
    )
}
