"""HTML that a crawl left behind: entities become their characters, known tags go and leave what they enclose.

Only what can be nothing else is touched: entities with their semicolon, tags of a closed list whose inside reads as
attributes. `a<b`, `List<String>`, `<think>`, `<|im_end|>`, `<a@b.c>` and code between backticks stay. An escaped tag
(`&lt;br&gt;`) is taken for one that was escaped once too often, as they are in crawled pages: rules are gone through
until nothing changes.
"""

from __future__ import annotations

import html
import re
from html.entities import html5

import numpy as np

from pipeline.clean.text.codes import LATIN, MARKUP, Codes, one_of
from pipeline.clean.text.rule import Rule, Substitution

_BREAKING = "br|hr|p|div|ul|ol|dl|table|h[1-6]|blockquote|center|pre|section"
_BREAKING_BEFORE = "li|dt|dd|tr"
_INLINE = (
    "a|b|i|u|em|strong|span|font|sub|sup|small|big|strike|del|ins|code|tt|img|td|th|tbody|thead|tfoot|article"
    "|nobr|wbr|embed|iframe"
)
_IN_PAIRS = re.compile("a|b|i|u|table|section|article|pre|code|center|del|small")
"""These may also be somebody's `List<B>` or `usage: <table>`: without attributes they go only where they are closed."""

_ATTRIBUTE = r"""(?:\s+|(?<=["']))[A-Za-z_:@][\w:.-]*\s*=\s*(?:"[^"<>]*"|'[^'<>]*'|[^\s"'<>]+)"""
_SWITCH = r"\s+(?:nowrap|noshade|checked|selected|disabled|controls|autoplay|loop|allowfullscreen)\b"
_NAMES = f"{_BREAKING}|{_BREAKING_BEFORE}|{_INLINE}"
_TAG = rf"<(?P<close>/?)(?P<name>{_NAMES})(?P<attributes>(?:{_ATTRIBUTE}|{_SWITCH})*)\s*/?>(?P<space>\s*)"
_UNREAD = r"<!--[\s\S]*?-->|<(?P<unread>script|style)\b[^<>]*>[\s\S]*?</(?P=unread)\s*>"
_ENTITY = r"&(?:amp;)*(?P<entity>#\d{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});"
_SPACES = dict.fromkeys("\u00a0\u2002\u2003\u2009", " ")
_POWERS = str.maketrans("0123456789+-n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ")


def _character(match: re.Match[str]) -> str:
    entity = match["entity"]
    meant = html.unescape(f"&{entity};") if entity[0] == "#" else html5.get(f"{entity};", "\ufffd")
    if meant == "\ufffd":
        return f"&{entity};"
    return _SPACES.get(meant, meant)


def _without_tag(match: re.Match[str]) -> str:
    name, closes, space = match["name"].lower(), bool(match["close"]), match["space"]
    if not (closes or match["attributes"]) and _needs_its_end(match, name):
        return match[0]
    if re.fullmatch(_BREAKING, name) or (not closes and re.fullmatch(_BREAKING_BEFORE, name)):
        return "\n"
    if closes and name in ("td", "th"):
        return "\t"
    between_items = (
        closes and re.fullmatch(_BREAKING_BEFORE, name) and match.string[match.end() : match.end() + 1] == "<"
    )
    return "" if between_items else space


def _needs_its_end(match: re.Match[str], name: str) -> bool:
    """A bare opening tag that may be something else, and that nothing closes."""
    if _IN_PAIRS.fullmatch(name) is None:
        before = match.string[match.start() - 1 : match.start()]
        if name != "p" or not (before.isascii() and before.isalnum()):
            return False
    return f"</{name}>" not in match.string.lower()


_drop_unread = Substitution(_UNREAD, lambda match: "", re.IGNORECASE, in_addresses=True)
_raise_powers = Substitution(
    r"<sup>\s*(?P<power>[-+]?[0-9n]{1,3})\s*</sup>",
    lambda match: match["power"].translate(_POWERS),
    re.IGNORECASE,
    in_addresses=True,
)
_drop_tags = Substitution(_TAG, _without_tag, re.IGNORECASE, in_addresses=True)
_read_entities = Substitution(_ENTITY, _character, in_addresses=True)


def without_markup(text: str) -> str:
    """Tags gone, paragraphs and line breaks as line ends, entities as characters."""
    if "<" in text:
        text = _drop_tags(_raise_powers(_drop_unread(text)))
    return _read_entities(text) if "&" in text else text


def _could_change(codes: Codes) -> np.ndarray:
    if not codes.has(MARKUP).any():
        return np.zeros(len(codes.texts), bool)
    spots = codes.spots
    begins = np.flatnonzero(spots.of(MARKUP))
    points_behind = spots.points_behind(begins, 1)
    tells = spots.after(LATIN)[begins] | one_of(points_behind, "/!#")
    return spots.any_at_T(begins[tells])


HTML = Rule("html", without_markup, _could_change, frozenset({"words", "letters", "urls", "decimals", "unmatched"}))
"""Tags, comments and scripts are words, addresses and numbers, and hold brackets."""
