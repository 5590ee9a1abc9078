"""What can be chosen about the vocabulary."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TokenizerConfig:
    """How the vocabulary is learned."""

    vocab_size: int = 6400
    """Pieces in all, marks and bytes included. More than the text holds twice: the vocabulary shrinks and says so."""

    coverage: float = 0.995
    """Share of the characters that get a piece of their own; the rest are spelled in bytes."""

    split_by_script: bool = False
    """Forbid pieces that mix scripts, such as Han with punctuation."""

    sample_megabytes: int = 100
    """Text read for training, drawn evenly from all records by `seed`. Costs about 25 MB of memory a MB."""

    seed: int = 0
    """Draws the sample."""

    def __post_init__(self) -> None:
        if self.vocab_size < 300:
            raise ValueError(f"vocab_size = {self.vocab_size}; 256 bytes and the marks alone need 300")
        if self.sample_megabytes <= 0:
            raise ValueError(f"sample_megabytes = {self.sample_megabytes}; it must be above 0")
        if not 0.9 <= self.coverage <= 1:
            raise ValueError(f"coverage = {self.coverage}; it is a share of characters, between 0.9 and 1")
