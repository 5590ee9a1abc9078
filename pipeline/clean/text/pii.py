"""What leads to a person is masked: addresses, numbers, accounts. Works next to Chinese, where `\\b` does not.

    张三的邮箱zhang@example.com，电话13812345678。  ->  张三的邮箱[邮箱]，电话[电话]。

A number is masked for what it shows, not for its length: identity cards and bank cards by their check digits, phones
by their prefixes, accounts by the word before them. Parts of longer numbers, decimals, versions, IP addresses (they
name machines), ISBNs, time stamps, `@名字`, code between backticks and addresses of pages stay as they are.
"""

from __future__ import annotations

import re
from datetime import date

import numpy as np

from pipeline.clean.text.codes import CONTACT, DIGIT, HAN, LATIN, MARK, Codes, one_of
from pipeline.clean.text.rule import Rule, Substitution

_ALONE = r"(?<![0-9A-Za-z_])(?<![0-9][.-])"
"""Before a number of its own: no letter or digit, also none with a dot or a hyphen between."""

_FEWEST, _WIDEST = 10, 18
"""Every number that is masked without a word before it has ten digits that stand among fewer than 18 characters,"""
_SHORTEST_QQ = 5
"""and a QQ number five in a row."""

_ENDED = r"(?![0-9A-Za-z_])(?![.-][0-9])"
_NO_AMOUNT = r"(?!\s*(?:元|万|亿|美元|美金|欧元|日元|人次|股|吨))"

_EMAIL = (
    r"(?<![A-Za-z0-9_%+@])(?!git@)[A-Za-z0-9_][A-Za-z0-9._%+-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.)+"
    r"(?!(?:png|jpe?g|gif|webp|svg|css|js)(?![A-Za-z0-9]))[A-Za-z]{2,}(?![A-Za-z0-9])"
)
_IDENTITY = rf"{_ALONE}[1-9][0-9]{{14}}(?:[0-9]{{2}}[0-9Xx])?{_ENDED}"
_CARD = (
    rf"{_ALONE}(?<![0-9] )(?:[0-9]{{13,19}}|[0-9]{{4}}(?:[ -][0-9]{{4}}){{3}}(?:[ -][0-9]{{1,3}})?"
    rf"|[0-9]{{6}}[ -][0-9]{{13}}|[0-9]{{4}}[ -][0-9]{{6}}[ -][0-9]{{5}}){_ENDED}(?! [0-9])"
)
_MOBILE = (
    r"(?:(?:(?:\+|00)?86[ -]?)1[3-9][0-9]{9}|1[3-9][0-9]{9}"
    r"|(?<![0-9] )(?:(?:\+|00)?86[ -]?)?1[3-9][0-9](?P<gap>[ -])[0-9]{4}(?P=gap)[0-9]{4}(?! [0-9]))"
)
_AREA = "0(?:10|2[0-9]|[3-9][0-9]{2})"
_CALLED = (
    "(?:"
    + "|".join(f"(?<={word}{colon})" for word in ("电话", "热线", "传真", "座机") for colon in ("", "[:：]"))
    + ")"
)
_LANDLINE = (
    rf"(?:[(（]{_AREA}[)）][ -]?|(?:\+?86[ -]?)?{_AREA}[ -]|{_CALLED}{_AREA})[1-9][0-9]{{2,3}}[ -]?[0-9]{{4}}"
    r"(?:-[0-9]{1,5})?"
)
"""Without anything between area and number only behind a word for telephone."""

_SERVICE = r"[48]00(?:[0-9]{7}|-[0-9]{3}-?[0-9]{4}|-[0-9]{4}-[0-9]{3}| [0-9]{3} [0-9]{4})"
_PHONE = rf"{_ALONE}(?:{_MOBILE}|{_LANDLINE}|{_SERVICE}){_ENDED}{_NO_AMOUNT}"
_SPAN = r"[0-9+(（][0-9 ()（）+-]{8,}[0-9][Xx]?"
"""All that a number may be made of, and nothing else: where one of the three above could begin and end."""

_QQ = (
    r"(?P<word>[Qq扣加](?:(?<=[Qq])(?<![A-Za-z].)[Qq群]|(?<=扣)扣|(?<=加)[Qq])[群号码]{0,3} ?[:：]? ?)"
    rf"[1-9][0-9]{{4,10}}{_ENDED}{_NO_AMOUNT}(?!\s*[人个])"
)
_PRODUCTS = "(?!(?i:iphone|ipad|android|windows|ios|mac|web|app|pay|api|sdk|h5))"
_NAME_ENDS = rf"(?![A-Za-z0-9_-])(?!\.[A-Za-z0-9]){_NO_AMOUNT}"
_WECHAT = (
    r"(?P<word>[加我微](?:(?<=加)微信|(?<=我)的?微信|(?<=微)信(?:号码?|ID|id))号? ?[:：]? ?)"
    rf"{_PRODUCTS}(?:[A-Za-z][A-Za-z0-9_-]{{5,19}}|[1-9][0-9]{{5,10}}){_NAME_ENDS}"
)
_WECHAT_HINT = (
    r"(?P<word>[微VvWw](?:(?<=微)信|(?<![A-Za-z].)(?:(?<=[Vv])[Xx]|(?<=[Ww])e(?:[Cc]hat|i[Xx]in)))"
    rf"号? ?(?P<colon>[:：])? ?){_PRODUCTS}"
    rf"(?:(?=[A-Za-z]+[0-9_-])[A-Za-z][A-Za-z0-9_-]{{5,19}}|(?(colon)[1-9][0-9]{{5,10}}|(?!))){_NAME_ENDS}"
)
"""Behind a bare hint (`微信`, without 号 or 加) only what no word looks like: letters with digits, _ or - in them."""

_PROVINCES = re.compile("1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[1-3]")
_ISSUERS = re.compile(
    "62[0-9]{14,17}|9558[0-9]{15}|60(?:11|13)[0-9]{12,15}|4[0-9]{15}|4[0-9]{18}|5[1-5][0-9]{14}"
    "|2(?:22[1-9]|2[3-9][0-9]|[3-6][0-9]{2}|7[01][0-9]|720)[0-9]{12}|3[47][0-9]{13}|35[0-9]{14}|3[068][0-9]{12}"
)
"""UnionPay and the older Chinese debit cards, Visa, Mastercard, American Express, JCB, Diners: prefix and length."""


def is_identity(number: str) -> bool:
    """An identity card's number: province, day of birth and, of 18 digits, the check digit (GB 11643)."""
    if not _PROVINCES.match(number):
        return False
    born = number[6:14] if len(number) == 18 else "19" + number[6:12]
    try:
        year = date(int(born[:4]), int(born[4:6]), int(born[6:8])).year
    except ValueError:
        return False
    if len(number) == 15:
        return True
    weighed = sum(int(digit) * 2 ** (17 - place) for place, digit in enumerate(number[:17]))
    return 1850 <= year <= 2100 and "10X98765432"[weighed % 11] == number[17].upper()


def is_card(number: str) -> bool:
    """A bank card's number: an issuer's prefix and length, and the check digit (Luhn)."""
    if not _ISSUERS.fullmatch(number):
        return False
    digits = [int(digit) for digit in reversed(number)]
    return sum(digits[::2] + [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]) % 10 == 0


_NUMBERS = (
    (re.compile(_IDENTITY), is_identity, "[身份证]"),
    (re.compile(_CARD), is_card, "[银行卡]"),
    (re.compile(_PHONE), lambda number: True, "[电话]"),
)
"""What a number may be, how it is checked, and what stands in its place."""


def _mask_numbers_of(span: re.Match[str]) -> str:
    text, place, masked_span = span.string, span.start(), ""
    while place < span.end():
        for pattern, holds, mask in _NUMBERS:
            found = pattern.match(text, place)
            if found and holds(re.sub("[ -]", "", found[0])):
                masked_span += mask
                place = found.end()
                break
        else:
            masked_span += text[place]
            place += 1
    return masked_span


_mask_emails = Substitution(_EMAIL, lambda match: "[邮箱]")
_mask_numbers = Substitution(_SPAN, _mask_numbers_of)
_mask_qq = Substitution(_QQ, lambda match: match["word"] + "[号码]")
_mask_wechat = Substitution(_WECHAT, lambda match: match["word"] + "[微信]")
_mask_wechat_hints = Substitution(_WECHAT_HINT, lambda match: match["word"] + "[微信]")


def masked(text: str) -> str:
    """The text without addresses, numbers and accounts of persons; the words around them stay."""
    if "@" in text:
        text = _mask_emails(text)
    return _mask_wechat_hints(_mask_wechat(_mask_qq(_mask_numbers(text))))


def _could_change(codes: Codes) -> np.ndarray:
    spots = codes.spots
    at = (spots.points_S == ord("@")) & spots.before(LATIN | DIGIT | MARK) & spots.after(LATIN | DIGIT | MARK)
    digits = np.flatnonzero(spots.of(DIGIT))
    places = spots.places_S[digits]
    long = digits[: 1 - _FEWEST][places[_FEWEST - 1 :] - places[: 1 - _FEWEST] < _WIDEST]
    return spots.any_T(at) | spots.any_at_T(long) | _could_name(codes, digits)


def _could_name(codes: Codes, digits: np.ndarray) -> np.ndarray:
    """Which texts speak of a QQ number or a WeChat name."""
    spots = codes.spots
    cues = np.flatnonzero(spots.of(CONTACT))
    first, second, third = (spots.points_behind(cues, steps) for steps in range(3))
    chat = (first == ord("微")) & (second == ord("信"))
    chat |= one_of(first, "Vv") & one_of(second, "Xx")
    chat |= one_of(first, "Ww") & (second == ord("e")) & one_of(third, "Cci")
    number = (first == ord("扣")) & (second == ord("扣"))
    number |= one_of(first, "Qq") & (one_of(second, "Qq群") | spots.before(HAN)[cues])
    named_T = spots.any_at_T(cues[number])
    if named_T.any():
        places = spots.places_S[digits]
        rest = _SHORTEST_QQ - 1
        named_T &= spots.any_at_T(digits[:-rest][places[rest:] - places[:-rest] == rest])
    return spots.any_at_T(cues[chat]) | named_T


PII = Rule("pii", masked, _could_change, frozenset({"words", "letters", "urls", "decimals"}), secret=True)
"""An e-mail address is made of words, and of `www.` or 1.2 if its owner likes."""
