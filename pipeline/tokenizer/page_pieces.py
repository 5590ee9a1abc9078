"""Pieces of a vocabulary as the page shows them, whatever they hold: what nobody sees, half a character, Arabic."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.tokenizer.measure import BYTES, MARKS
from pipeline.tokenizer.measured import Measured
from utils.console import tell
from utils.page import Html, escape, folded, named
from utils.stage import Json

A_FOLD = 4_000
"""Pieces that open at a click."""

FIRST, LAST = 36_000, 4_000
"""Of a larger vocabulary so many pieces are listed; all of them would make a page that no browser likes."""


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer's pieces: what they are, and how often each was needed."""

    encoder: Measured
    kinds_V: Sequence[str]
    counts_V: np.ndarray


def shown(text: str) -> Html:
    """A piece with a sign for each character that nobody sees."""
    return Html(_carrier(text) + named(text).replace("⏎\n", "⏎"))


def _carrier(text: str) -> str:
    """A circle for a mark that sits on the letter before it."""
    return "◌" if text and unicodedata.category(text[0]).startswith("M") else ""


def chips(pieces: Iterable[tuple[str, int | None]]) -> Html:
    """Pieces beside each other, with a count if there is one."""
    parts = []
    for piece, count in pieces:
        number = "" if count is None else f"<small>{count:,}</small>"
        parts.append(f'<span dir="auto">{shown(piece)}{number}</span>')
    return Html(f'<div class="chips">{"".join(parts)}</div>')


# ---------------------------------------------------------------- texts in tokens


def cut(samples: Sequence[Json], name: Callable[[str], str]) -> Html:
    """Each sample as every tokenizer cuts it, ours first."""
    return Html(f'<div class="qa">{"".join(_sample(one, name) for one in samples)}</div>')


def _sample(one: Json, name: Callable[[str], str]) -> str:
    sides = []
    for encoder, tokens in one["tokens"].items():
        number = sum(count for _, count in tokens)
        title = tell(f"{name(encoder)}: {number:,} tokens", f"{name(encoder)}：{number:,} 个词元")
        text = "".join(_token(piece, count) for piece, count in tokens)
        sides.append(f'<div><h4>{escape(title)}</h4><p class="tokens" dir="auto">{text}</p></div>')
    return f'<article><div class="pair">{"".join(sides)}</div></article>'


def _token(piece: str, count: int) -> str:
    number = f"<small>{count}</small>" if count > 1 else ""
    return f"<i>{named(piece, but=' ')}{number}</i>"


# ---------------------------------------------------------------- all of it


def listing(vocabulary: Vocabulary, ranked_from: int | None) -> list[str]:
    """Every piece, folded away: the marks, the bytes, and the rest by their ids."""
    names = {MARKS: tell("Marks", "标记"), BYTES: tell("Bytes", "字节")}
    blocks: list[str] = []
    for kind, name in names.items():
        ids = [i for i, one in enumerate(vocabulary.kinds_V) if one == kind]
        for part in _parts(ids):
            blocks.append(folded(f"{name} {part[0]:,} – {part[-1]:,}", _pieces(vocabulary, part)))
    ids = [i for i, one in enumerate(vocabulary.kinds_V) if one not in names]
    left_out = max(len(ids) - FIRST - LAST, 0)
    for part in _parts(ids[:FIRST] + ids[-LAST:] if left_out else ids):
        blocks.append(folded(_title(part, ranked_from), _pieces(vocabulary, part)))
    if left_out:
        text = tell(
            f"{left_out:,} pieces between the first {FIRST:,} and the last {LAST:,} are left out here; all are in "
            "tokenizer.json.",
            f"前 {FIRST:,} 个与最后 {LAST:,} 个之间的 {left_out:,} 个词元未在此列出，完整的见 tokenizer.json。",
        )
        blocks.append(Html(f'<p class="note">{escape(text)}</p>'))
    return blocks


def _parts(ids: Sequence[int]) -> list[Sequence[int]]:
    return [ids[start : start + A_FOLD] for start in range(0, len(ids), A_FOLD)]


def _title(ids: Sequence[int], ranked_from: int | None) -> str:
    title = tell(f"Pieces {ids[0]:,} – {ids[-1]:,}", f"词元 {ids[0]:,} – {ids[-1]:,}")
    if ranked_from is None or ids[-1] < ranked_from:
        return title
    first, last = max(ids[0] - ranked_from, 0) + 1, ids[-1] - ranked_from + 1
    return title + tell(f" (score rank {first:,} – {last:,})", f"（得分名次 {first:,} – {last:,}）")


def _pieces(vocabulary: Vocabulary, ids: Sequence[int]) -> Html:
    return Html(f'<ol class="pieces" start="{ids[0]}">{"".join(_items(vocabulary, ids))}</ol>')


def _items(vocabulary: Vocabulary, ids: Sequence[int]) -> Iterator[str]:
    expected = ids[0]
    for i in ids:
        place = "" if i == expected else f' value="{i}"'
        needed = vocabulary.counts_V[i] or vocabulary.kinds_V[i] == MARKS
        pale = "" if needed else ' class="u"'
        piece = vocabulary.encoder.piece_bytes[i]
        bytes_of_it = f"<code>{piece.hex(' ').upper()}</code>"
        yield f"<li{place}{pale}>{bytes_of_it if vocabulary.kinds_V[i] == BYTES else shown(piece.decode())}</li>"
        expected = i + 1
