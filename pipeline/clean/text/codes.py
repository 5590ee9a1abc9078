"""Many strings as one array of code points, so that a question about every character costs a nanosecond.

`Codes(texts)` joins the texts, a line end behind each, into `points_N` (N: characters of all texts, their line ends
included) and looks up what kind of character stands at each place: `kinds_N`, a set of bits. Masks over N become
answers over the texts T: `any_T`, `count_T`. Most questions are about the few places that are not plain letters:
`spots` (S) holds them with their neighbours, a tenth of Chinese, so that to ask them costs a tenth.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache, cached_property

import numpy as np

HAN = 1 << 0
DIGIT = 1 << 1
LATIN = 1 << 2
"""Letters of Latin alphabets, Vietnamese among them."""
SPACE = 1 << 3
"""White space but for the line end."""
LINE = 1 << 4
MARK = 1 << 5
"""Any punctuation or symbol."""
WORD = 1 << 6
"""What a text says, whatever it looks like: letters, digits and Han characters. Near copies are compared by these."""
SENTENCE_END = 1 << 7
SYMBOL = 1 << 8
"""Hashtags and ellipses."""
ODD = 1 << 9
"""Controls, zero-width characters, halves of characters, line ends other than the line feed."""
UNCOMPOSED = 1 << 10
"""What may not stand as it is in composed text (NFC)."""
TRADITIONAL = 1 << 11
"""What simplified Chinese never writes (乾 and the like, which it writes in names, are not among them)."""
CONTACT = 1 << 12
"""Letters with which the words before somebody's number or name begin: QQ, 扣扣, 微信, VX, WeChat."""
MARKUP = 1 << 13
"""With what a tag or an entity begins."""
BRACKET = 1 << 14
"""What opens or closes."""

SPOT = MARK | SPACE | LINE | DIGIT | CONTACT
"""What `Codes.spots` holds."""

BRACKETS = ("()", "（）", "[]", "【】", "{}", "《》", "「」", "『』", "“”")

_AT_ONCE = 1 << 14
"""Places looked up in one go: numpy makes 8-byte numbers of them, which should not leave the cache."""

_CONTACTS = "QqVvWw扣微"

HAN_BLOCKS = ((0x3007, 0x3008), (0x3400, 0x4DC0), (0x4E00, 0xA000), (0xF900, 0xFB00), (0x20000, 0x323B0))
"""From where to before where."""

LIMIT = 0x32400
"""Behind the last Han character; what lies beyond counts as the private character before it."""


class Codes:
    """A batch of texts as code points."""

    def __init__(self, texts: Sequence[str]):
        self.texts = texts
        self.lengths_T = np.fromiter(map(len, texts), np.int64, len(texts)) + 1
        self.ends_T = np.cumsum(self.lengths_T)
        self.starts_T = self.ends_T - self.lengths_T
        joined = "\n".join(texts) + "\n" if texts else ""
        self.points_N = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)

    @cached_property
    def kinds_N(self) -> np.ndarray:
        """What kinds of character stand at each place."""
        kinds_N = np.empty(len(self.points_N), np.uint16)
        for start in range(0, len(kinds_N), _AT_ONCE):
            here = slice(start, start + _AT_ONCE)
            np.take(kind_table(), self.points_N[here], out=kinds_N[here], mode="clip")
        return kinds_N

    @cached_property
    def kinds_T(self) -> np.ndarray:
        """What kinds of character occur in each text."""
        return np.bitwise_or.reduceat(self.kinds_N, self.starts_T) if len(self.texts) else np.zeros(0, np.uint16)

    @cached_property
    def pairs_N(self) -> np.ndarray:
        """A 16-bit hash of each place and the one behind it (but for the last)."""
        halves_N = self.points_N.astype(np.uint16)
        pairs_N = halves_N[:-1] * np.uint16(0x9E37)
        pairs_N += halves_N[1:]
        return pairs_N

    @cached_property
    def spots(self) -> Spots:
        """The places that are not plain letters."""
        return Spots(self)

    def has(self, kinds: int) -> np.ndarray:
        """Which texts hold a character of one of these kinds (every text holds a line end)."""
        return (self.kinds_T & np.uint16(kinds)) != 0

    def any_T(self, mask_N: np.ndarray) -> np.ndarray:
        """Which texts the mask touches; a mask shorter than N (of neighbours, say) counts as filled up with False."""
        if not len(self.texts):
            return np.zeros(0, bool)
        if len(mask_N) < len(self.points_N):
            mask_N = np.concatenate([mask_N, np.zeros(len(self.points_N) - len(mask_N), bool)])
        return np.logical_or.reduceat(mask_N, self.starts_T)

    def count_T(self, mask_N: np.ndarray) -> np.ndarray:
        """How many places of each text the mask covers."""
        if not len(self.texts):
            return np.zeros(0, np.int32)
        return np.add.reduceat(mask_N, self.starts_T, dtype=np.int32)


class Spots:
    """The places S of a batch where anything but a plain letter stands; the line end behind each text is one."""

    def __init__(self, codes: Codes):
        kinds_N = codes.kinds_N
        self.codes = codes
        self.places_S = np.flatnonzero((kinds_N & np.uint16(SPOT)) != 0)
        self.points_S = codes.points_N[self.places_S]
        self.kinds_S = kinds_N[self.places_S]
        self.before_S = kinds_N[self.places_S - 1]
        """The kinds of the character before; before a batch, as before a text, stands a line end."""
        self.after_S = np.take(kinds_N, self.places_S + 1, mode="clip")
        """The kinds of the character behind."""

    @cached_property
    def starts_T(self) -> np.ndarray:
        """Each text's first spot."""
        return np.searchsorted(self.places_S, self.codes.starts_T)

    def of(self, kinds: int) -> np.ndarray:
        """At which spots a character of one of these kinds stands."""
        return (self.kinds_S & np.uint16(kinds)) != 0

    def before(self, kinds: int) -> np.ndarray:
        """Before which spots a character of one of these kinds stands."""
        return (self.before_S & np.uint16(kinds)) != 0

    def after(self, kinds: int) -> np.ndarray:
        """Behind which spots a character of one of these kinds stands."""
        return (self.after_S & np.uint16(kinds)) != 0

    def points_behind(self, spots: np.ndarray, steps: int) -> np.ndarray:
        """The code points so many steps behind some spots (given by their numbers)."""
        return np.take(self.codes.points_N, self.places_S[spots] + steps, mode="clip")

    def any_T(self, mask_S: np.ndarray) -> np.ndarray:
        """Which texts the mask touches."""
        return np.logical_or.reduceat(mask_S, self.starts_T) if len(self.codes.texts) else np.zeros(0, bool)

    def any_at_T(self, spots: np.ndarray) -> np.ndarray:
        """Which texts hold one of these spots (given by their numbers)."""
        touched_T = np.zeros(len(self.codes.texts), bool)
        touched_T[np.searchsorted(self.codes.ends_T, self.places_S[spots], "right")] = True
        return touched_T

    def count_T(self, mask_S: np.ndarray) -> np.ndarray:
        """How many spots of each text the mask covers."""
        if not len(self.codes.texts):
            return np.zeros(0, np.int32)
        return np.add.reduceat(mask_S, self.starts_T, dtype=np.int32)


def one_of(points: np.ndarray, characters: str) -> np.ndarray:
    """Which code points are one of these characters."""
    return np.isin(points, [ord(c) for c in characters])


def among(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which values are among the sorted known ones."""
    if not len(known):
        return np.zeros(len(values), bool)
    return known[np.minimum(np.searchsorted(known, values), len(known) - 1)] == values


def running(begins: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """From each beginning so many places on, one behind the other."""
    return np.repeat(begins - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())


_ALIKE = (
    (0x3400, 0x4DC0),
    (0x4E00, 0xA000),
    (0xAC00, 0xD7A4),
    (0xE000, 0xF900),
    (0x20000, 0x2F800),
    (0x30000, 0x323B0),
)
"""Blocks whose characters are all of one kind (code points not given away yet among them): Han, Hangul, private."""


@cache
def kind_table() -> np.ndarray:
    """For every code point below LIMIT its kinds."""
    table = np.zeros(LIMIT, np.uint16)
    done = 0
    for start, end in (*_ALIKE, (LIMIT, LIMIT)):
        table[done:start] = [_kinds_of(chr(point)) for point in range(done, start)]
        table[start:end] = _kinds_of(chr(min(start, LIMIT - 1)))
        done = end
    for start, end in HAN_BLOCKS:
        table[start:end] |= HAN
    table[[ord(c) for c in _CONTACTS]] |= CONTACT
    table[[ord(c) for c in "<&"]] |= MARKUP
    table[[ord(c) for pair in BRACKETS for c in pair]] |= BRACKET
    table[_traditional_points()] |= TRADITIONAL
    return table


def _kinds_of(c: str) -> int:
    category = unicodedata.category(c)
    kinds = 0
    if "0" <= c <= "9":
        kinds |= DIGIT
    if category[0] == "L" and (c < "\u0250" or "\u1e00" <= c <= "\u1eff"):
        kinds |= LATIN
    if c == "\n":
        kinds |= LINE
    elif c.isspace():
        kinds |= SPACE
    if category[0] in "PS":
        kinds |= MARK
    if c.isalnum():
        kinds |= WORD
    if c in "。！？!?…":
        kinds |= SENTENCE_END
    if c in "#＃…":
        kinds |= SYMBOL
    if category in ("Cc", "Cf", "Cs", "Zl", "Zp") and c not in "\t\n":
        kinds |= ODD
    composed = unicodedata.is_normalized("NFC", c) and not unicodedata.combining(c)
    if not composed or category[0] == "M" or "\u1100" <= c <= "\u11ff":
        kinds |= UNCOMPOSED
    return kinds


def is_han(c: str) -> bool:
    """A Han character, extensions and compatibility forms and 〇 among them."""
    return any(start <= ord(c) < end for start, end in HAN_BLOCKS)


@cache
def all_han() -> str:
    """Every Han character there is."""
    return "".join(chr(point) for start, end in HAN_BLOCKS for point in range(start, end))


def _traditional_points() -> list[int]:
    from pipeline.clean.text.script import never_simplified

    return [ord(c) for c in never_simplified(all_han())]
