"""`.conv` files: `E` begins a dialogue, `M …` is a turn; in one variant slashes stand between all words."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.clean.config import Rules
from pipeline.clean.files.encodings import has_bad_bytes
from pipeline.clean.files.text_files import lines
from pipeline.clean.protocol import Card, Found, Item, Located, Sample, Unreadable, excerpt, message, pair
from pipeline.clean.turns import in_order

CARD = Card(
    about=".conv dialogues: lines E and M",
    homepage="https://github.com/candlewill/Dialog_Corpus",
    files=("xiaohuangji50w_*.conv", "dgk_shooter_*.conv"),
    size="450,000 dialogues (xiaohuangji)",
    rules=Rules(min_chars=4, max_vulgar=0),
)


def sniff(sample: Sample) -> int:
    """All first lines are of the two kinds, and there is a turn among them."""
    if sample.container != "text":
        return 0
    first = [line.strip() for line in sample.beginning().splitlines()[:40] if line.strip()]
    return 2 if any(line.startswith("M ") for line in first) and all(_is_mark(line) for line in first[:-1]) else 0


def _is_mark(line: str) -> bool:
    return line in ("E", "M") or line.startswith("M ")


def read(sample: Sample) -> Iterator[Located]:
    """A dialogue a record."""
    said = [line for line in sample.beginning(20_000).splitlines() if line.startswith("M ")]
    is_cut = sum("/" in line for line in said) * 2 > len(said)
    begins, turns = 0, list[str]()
    for at, line in lines(sample):
        text = line.lstrip("\ufeff").rstrip()
        if text == "E":
            if turns:
                yield begins, _dialogue(turns, sample)
            begins, turns = at, []
        elif _is_mark(text):
            turns.append(text[2:].replace("/", "") if is_cut else text[2:])
        elif text:  # a turn of several lines
            turns[-1:] = ["\n".join([*turns[-1:], text])]
    if turns:
        yield begins, _dialogue(turns, sample)


def _dialogue(turns: list[str], sample: Sample) -> Item:
    if has_bad_bytes(text := "\n".join(turns)):
        return Unreadable(f"bytes that are not {sample.encoding}", excerpt(text))
    if len(turns) == 1:  # nobody answers: an empty reply, which the rules drop and count
        return pair(turns[0], "")
    return Found(messages=in_order([message("assistant" if i % 2 else "user", said) for i, said in enumerate(turns)]))
