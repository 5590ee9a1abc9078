"""What can be chosen about the vocabulary."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from utils.language import LANGUAGES
from utils.recipe import nearest

LARGEST = 1_000_000


@dataclass(frozen=True)
class TokenizerConfig:
    """How the vocabulary is learned, or where it is taken from."""

    path: str = ""
    """A folder whose tokenizer is taken instead of learning one: of Hugging Face (`tokenizer.json`), or one of ours.
    Then the fields below change nothing but for `compare`."""

    vocab_size: int = 6400
    """Pieces in all, marks and bytes included. More than the text holds twice: the vocabulary shrinks and says so."""

    coverage: float = 0.995
    """Share of the characters that get a piece of their own; the rest are spelled in bytes."""

    split_by_script: bool = True
    """No piece mixes scripts, such as Han with punctuation: 4 to 8 % more tokens of Chinese, and yet 3 to 5 % fewer
    bits per byte of it for tiny models of equal compute (docs/lab-notes.md)."""

    sample_megabytes: int = 100
    """Text to learn from, drawn evenly from all records by `seed`. A MB takes 25 MB of memory, at 32,000 pieces 38."""

    languages: dict[str, float] = field(default_factory=dict)
    """Shares of the sample by language, as {zh: 0.6, en: 0.4}; one of zh, en, other that is not named gets none, and
    none gets more than its share. If empty, by the amount there is."""

    seed: int = 0
    """Draws the sample."""

    compare: list[str] = field(default_factory=list)
    """Folders with a tokenizer.json that the report sets beside this vocabulary; gpt2 is always there."""

    FREE: ClassVar[frozenset[str]] = frozenset({"compare"})

    def __post_init__(self) -> None:
        if self.vocab_size < 300:
            raise ValueError(f"vocab_size = {self.vocab_size}; 256 bytes and the marks alone need 300")
        if self.vocab_size > LARGEST:
            raise ValueError(f"vocab_size = {self.vocab_size}; no text fills more than {LARGEST:,} pieces")
        if self.sample_megabytes <= 0:
            raise ValueError(f"sample_megabytes = {self.sample_megabytes}; it must be above 0")
        if not 0.98 <= self.coverage <= 1:
            raise ValueError(f"coverage = {self.coverage}; SentencePiece takes shares between 0.98 and 1")
        for name, share in self.languages.items():
            if name not in LANGUAGES:
                raise ValueError(f"languages: no language {name!r}{nearest(name, LANGUAGES)}")
            if not share >= 0:
                raise ValueError(f"languages: {name} has the share {share}; give a number of 0 or more")
        if self.languages and not sum(self.languages.values()) > 0:
            raise ValueError("languages: no share is above 0; give one, or leave it empty")
