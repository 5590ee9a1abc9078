"""What can be chosen about cleaning."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import ClassVar, Literal, TypeVar

Profile = Literal["web", "prose", "light"]
Count = int | Literal["off"] | None
Share = float | Literal["off"] | None
Kind = Literal["drop", "off"] | None
Some = TypeVar("Some", bound="Rules")


@dataclass(frozen=True)
class Rules:
    """What keeps a record out: thresholds over its features. A rule left empty is as the corpus's reader says, or not
    asked; `off` switches it off."""

    min_chars: Count = None
    """Shorter texts and replies are dropped; 1 unless the reader says otherwise."""

    max_chars: Count = None
    """Longer texts and dialogues are dropped; 100,000 otherwise, at which documents of plain text are cut."""

    min_score: Share = None
    """Fewer stars or upvotes, where the corpus counts them, and the record is dropped."""

    min_han: Share = None
    """Least share of Han characters among a record's letters."""

    max_digits: Share = None
    """Largest share of digits among a record's characters."""

    max_symbols: Share = None
    """Largest share of hashtags and ellipses among a record's characters."""

    max_repeated_lines: Share = None
    """Largest share of characters in lines that stood before."""

    max_top_2gram: Share = None
    """Largest share of the most frequent two characters in a row; asked of records of 50 characters and more."""

    max_top_3gram: Share = None
    """The same of three characters."""

    max_top_4gram: Share = None
    """The same of four characters."""

    min_sentences: Count = None
    """Fewer sentence ends, and a text is dropped."""

    max_ads: Count = None
    """More phrases of advertisements than this, and the record is dropped."""

    max_vulgar: Count = None
    """More vulgar words than this, and the record is dropped."""

    max_swaps: Share = None
    """More marks of machine paraphrase (synonym swaps) in 100 characters, and the record is dropped."""

    tails: Kind = None
    """`drop` what ends in a stock ending of the Chinese medical dialogues: half of their replies do."""

    tables: Kind = None
    """`drop` what holds or asks for a table."""

    translations: Kind = None
    """`drop` what asks for a translation."""

    max_per_question: Count = None
    """At most so many different answers of one question."""

    max_per_answer: Count = None
    """At most so many different questions of one answer."""

    near: Share = None
    """Similarity (Jaccard, of five characters in a row) from which two records count as one; below
    0.65 most are not found."""

    def __post_init__(self) -> None:
        for name in _SHARES:
            value = threshold(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} = {value:g}; it is a share, between 0 and 1, or off")
        for name, least in _LEAST.items():
            value = threshold(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} = {value:g}; give {least} or more, or off")
        if self.near == 0:
            raise ValueError("near = 0; give a similarity above 0, or off")
        low, high = threshold(self, "min_chars"), threshold(self, "max_chars")
        if low is not None and high is not None and low > high:
            raise ValueError(f"min_chars = {low} is more than max_chars = {high}, which leaves nothing; change one")


def threshold(rules: Rules, name: str) -> float | None:
    """What a rule asks for (of a kind of record: none); nothing where it is not asked."""
    value: float | Literal["drop", "off"] | None = getattr(rules, name)
    return None if value == "off" else 0 if value == "drop" else value


_SHARES = (
    "min_han",
    "max_digits",
    "max_symbols",
    "max_repeated_lines",
    "max_top_2gram",
    "max_top_3gram",
    "max_top_4gram",
    "near",
)
_LEAST = {
    "min_chars": 0,
    "max_chars": 1,
    "min_sentences": 0,
    "max_ads": 0,
    "max_vulgar": 0,
    "max_swaps": 0,
    "max_per_question": 1,
    "max_per_answer": 1,
}
RULE_NAMES = tuple(f.name for f in fields(Rules))
DEFAULT_RULES = Rules(min_chars=1, max_chars=100_000)


def overlaid(*layers: Rules) -> Rules:
    """One set of rules: of each, what the last layer that speaks of it says."""
    chosen = {name: getattr(layer, name) for layer in layers for name in RULE_NAMES if getattr(layer, name) is not None}
    return Rules(**chosen)


@dataclass(frozen=True)
class Input:
    """One corpus: where it lies, and, if the guess would be wrong, how to read it and what to call it."""

    SHORT: ClassVar[str] = "path"

    path: str
    """A file, a folder or a glob; a URL that fsspec knows (s3://…); or hf://owner/name, read as a stream."""

    reader: str = "auto"
    """Which reader understands it; `auto` looks into the file."""

    source: str = ""
    """The name of the corpus in shards, mixtures and reports; the folder's or the file's name if empty."""

    profile: Literal["auto", "web", "prose", "light"] = "auto"
    """How much is mended: `web` pages, `prose`, or `light` (dialogues, code); `auto` is as the reader says."""

    rules: Rules = field(default_factory=Rules)
    """Rules for this corpus alone, over those of the recipe and of its reader."""


@dataclass(frozen=True)
class CleanConfig(Rules):
    """Raw corpora in, clean records out."""

    FREE: ClassVar[frozenset[str]] = frozenset({"workers", "engine", "address", "store", "keep_features"})

    inputs: list[Input] = field(default_factory=list)
    """Corpora: paths, globs, or {path, reader, source, profile, rules}."""

    workers: int = 0
    """Processes; 0 takes one a core. The output does not depend on it."""

    engine: Literal["local", "ray"] = "local"
    """Where the tasks run: on this machine, or on a Ray cluster (requirements-cluster.txt)."""

    address: str = "auto"
    """The Ray cluster's address; `auto` takes the one this machine belongs to, or starts one here."""

    store: str = ""
    """Where tasks leave their files: a folder or URL (s3://…) that all machines see; the workspace if empty."""

    keep_features: bool = True
    """Keep the measures in clean/features, so that changed rules need no second reading. Costs as much disk again."""

    missing: Literal["stop", "skip"] = "stop"
    """What to do about an input that is not there: stop, or say so and go on with the others."""

    seed: int = 0
    """Orders the records within a source, and picks those that are held out."""

    valid: float = 0.02
    """Share of the records held out for evaluation while training, by group."""

    test: float = 0.0
    """Share of the records held out from everything, by group."""

    simplify: bool = True
    """Write traditional characters as simplified ones."""

    pii: Literal["auto", "mask", "keep"] = "auto"
    """Personal data (ID cards, bank cards, phones, mail, QQ, WeChat): `auto` masks them in texts from the web."""

    decontaminate: list[str] = field(default_factory=list)
    """Exams (files, folders, globs) whose questions no record may hold."""

    max_bad_ratio: float = 0.1
    """Stop when more than this share of the records cannot be read."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.valid, self.test) < 0 or self.valid + self.test >= 1:
            raise ValueError(f"valid = {self.valid}, test = {self.test}; they are shares, together below 1")
        if self.workers < 0:
            raise ValueError(f"workers = {self.workers}; give a number of processes, or 0 for one a core")
        if not 0 <= self.max_bad_ratio <= 1:
            raise ValueError(f"max_bad_ratio = {self.max_bad_ratio}; it is a share, between 0 and 1")
