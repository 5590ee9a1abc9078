"""What a rule is: a plain function from text to text, and a gate that tells in nanoseconds whom it could change.

A gate looks at a whole batch (`Codes`) and may say yes too often, never no too often: wherever it says no, the rule
leaves the text as it is. Only texts with a yes pay for the regular expression behind the rule.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.clean.text.codes import HAN_BLOCKS, Codes

Gate = Callable[[Codes], np.ndarray]
"""Which texts T of a batch a rule could change."""


@dataclass(frozen=True)
class Rule:
    """A change to texts, with a name under which it is counted."""

    name: str
    apply: Callable[[str], str]
    gate: Gate
    harms: frozenset[str] = frozenset()
    """What of the ledger's counts the rule may make worse, since that is what it is for."""
    secret: bool = False
    """What the rule takes away is nobody's business: samples show it without letters and digits."""


HAN = "".join(f"{chr(start)}-{chr(end - 1)}" for start, end in HAN_BLOCKS)
"""The inside of a character class."""

CODE = r"```[\s\S]*?(?:```|\Z)|`[^`\n]+`"
"""What stands between backticks: a fence without an end goes on to the end of the text."""

URL = r"(?:(?:https?|ftp)://|www\.)(?:[!-~]|(?<=[/=_-])[\u4e00-\u9fff]+)+"
"""An address: ASCII, or Chinese words where a path or a value begins."""


class Substitution:
    """`re.sub` for prose: steps over code between backticks and, unless told otherwise, over addresses."""

    def __init__(
        self, pattern: str, replace: Callable[[re.Match[str]], str], flags: int = 0, in_addresses: bool = False
    ):
        self._in_addresses = in_addresses
        self._replace = replace
        self._plain = re.compile(pattern, flags)
        kept = CODE if in_addresses else f"{CODE}|{URL}"
        self._wary = re.compile(f"(?P<kept>{kept})|{pattern}", flags)

    def __call__(self, text: str) -> str:
        if "`" in text or (not self._in_addresses and ("://" in text or "www." in text)):
            return self._wary.sub(self._unless_kept, text)
        return self._plain.sub(self._replace, text)

    def _unless_kept(self, match: re.Match[str]) -> str:
        return match[0] if match["kept"] is not None else self._replace(match)
