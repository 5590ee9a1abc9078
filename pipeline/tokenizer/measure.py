"""Figures of a vocabulary: encoded passages come in, numbers for `report.json` go out. Pure functions.

P passages, V ids of a vocabulary.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.tokenizer.measured import Measured
from pipeline.tokenizer.texts import Texts, preferred
from utils.language import LANGUAGES, Language
from utils.stage import Json

AT_ONCE = 500
"""Passages encoded together: their ids are counted and let go."""

POINTS = 41
"""Of a fertility curve: the shares of the passages, from none to all."""

FEWEST = 5
"""Passages of a language without which a curve says nothing."""


@dataclass(frozen=True)
class Use:
    """What came of encoding some passages."""

    counts_V: np.ndarray
    tokens_P: np.ndarray
    parts_P: np.ndarray
    """Tokens that are only a part of a character."""

    spelled_P: np.ndarray
    """Characters that had to be spelled."""

    unknown_P: np.ndarray


def use(encoder: Measured, texts: Sequence[str]) -> Use:
    """How often each id is needed, and how many ids of which kind each passage takes."""
    counts_V = np.zeros(len(encoder.piece_bytes), np.int64)
    rows: list[tuple[int, int, int, int]] = []
    for start in range(0, len(texts), AT_ONCE):
        for ids in encoder.encode(texts[start : start + AT_ONCE]):
            counts_V += np.bincount(ids, minlength=len(counts_V))
            unknown = 0 if encoder.unknown is None else int((ids == encoder.unknown).sum())
            rows.append((len(ids), int(encoder.parts[ids].sum()), int(encoder.begun[ids].sum()), unknown))
    return Use(counts_V, *np.array(rows, np.int64).reshape(-1, 4).T)


# ---------------------------------------------------------------- how well a vocabulary fits


def sizes(texts: Texts) -> Json:
    """What was measured, by source and by language."""
    sizes_P = _sizes(texts.texts)
    return {
        by: {name: _row(sizes_P, chosen_P) for name, chosen_P in groups.items()}
        for by, groups in _groups(texts).items()
    }


def fit(texts: Texts, used: Use) -> Json:
    """Tokens, and how much text one holds, by source and by language."""
    known_P = _sizes(texts.texts) | {"tokens": used.tokens_P, "byte_tokens": used.parts_P}
    known_P |= {"spelled": used.spelled_P, "unknown": used.unknown_P}
    return {
        by: {name: _fit(_row(known_P, chosen_P)) for name, chosen_P in groups.items()}
        for by, groups in _groups(texts).items()
    }


def _fit(row: Mapping[str, int]) -> Json:
    tokens, characters = max(row["tokens"], 1), max(row["characters"], 1)
    return {
        "tokens": row["tokens"],
        "characters_per_token": round(row["characters"] / tokens, 3),
        "bytes_per_token": round(row["bytes"] / tokens, 3),
        "byte_tokens": round(row["byte_tokens"] / tokens, 4),
        "spelled_characters": round(row["spelled"] / characters, 4),
        "unknown": row["unknown"],
    }


def _sizes(texts: Sequence[str]) -> dict[str, np.ndarray]:
    return {
        "characters": np.array([len(text) for text in texts], np.int64),
        "bytes": np.array([len(text.encode()) for text in texts], np.int64),
    }


def _groups(texts: Texts) -> dict[str, dict[str, np.ndarray]]:
    """Which passages belong together: a mask of each source, of each language, and of all."""
    sources_P = np.array(texts.sources)
    return {
        "sources": {name: sources_P == name for name in texts.held_out},
        "languages": {name: texts.of_language(name) for name in LANGUAGES if name in texts.languages},
        "all": {"all": preferred(np.ones(len(texts.texts), bool), texts.held_out_P)},
    }


def _row(values_P: Mapping[str, np.ndarray], chosen_P: np.ndarray) -> dict[str, int]:
    return {name: int(values[chosen_P].sum()) for name, values in values_P.items()}


def fertility(texts: Texts, uses: Mapping[str, Use]) -> Json:
    """Tokens a character of Chinese and tokens a word of English: passages in order, from the fewest to the most."""
    found: Json = {}
    for name, unit in UNITS.items():
        units_P = np.array([unit.count(text) for text in texts.texts], np.int64)
        chosen_P = texts.of_language(name) & (units_P >= unit.least)
        if chosen_P.sum() >= FEWEST:
            shares = np.linspace(0, 1, POINTS)
            curves = {
                encoder: np.quantile(used.tokens_P[chosen_P] / units_P[chosen_P], shares).round(3).tolist()
                for encoder, used in uses.items()
            }
            found[name] = {"unit": unit.name, "passages": int(chosen_P.sum()), "quantiles": curves}
    return found


@dataclass(frozen=True)
class Unit:
    """What tokens are counted by in a language, and how many of it a passage needs to say something."""

    name: str
    count: Callable[[str], int]
    least: int


UNITS: dict[Language, Unit] = {
    "zh": Unit("character", len, 20),
    "en": Unit("word", lambda text: len(text.split()), 8),
}


# ---------------------------------------------------------------- what a vocabulary is made of

MARKS, BYTES, SPACES, SIGNS, DIGITS = "marks", "bytes", "spaces", "signs", "digits"
HAN, LATIN, OTHER, MIXED = "han", "latin", "other", "mixed"
KINDS = (HAN, LATIN, OTHER, MIXED, DIGITS, SIGNS, SPACES, BYTES, MARKS)
SCRIPTS = (
    (HAN, re.compile("[\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]")),
    (LATIN, re.compile("[A-Za-z\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f]")),
    (DIGITS, re.compile(r"\d")),
    (OTHER, re.compile(r"[^\W\d_]")),
)


def kinds(encoder: Measured) -> list[str]:
    """What each id stands for, in a word."""
    return [_kind(encoder, i, piece) for i, piece in enumerate(encoder.piece_bytes)]


def _kind(encoder: Measured, i: int, piece: bytes) -> str:
    if i in encoder.marks or not piece:
        return MARKS
    if i in encoder.spelling or encoder.parts[i]:
        return BYTES
    return kind_of(piece.decode())


def kind_of(text: str) -> str:
    """The script of a piece of text; signs beside letters make it mixed, spaces and apostrophes do not."""
    rest = text.replace("'", "").replace("’", "") if len(text) > 1 else text
    rest = "".join(rest.split())
    if rest.isascii() and rest.isalpha():  # nearly all of GPT-2
        return LATIN
    if not rest:
        return SPACES if text.isspace() else SIGNS
    found = []
    for name, pattern in SCRIPTS:
        shorter = pattern.sub("", rest)
        if shorter != rest:
            found.append(name)
        rest = shorter
    if rest:
        found.append(SIGNS)
    return found[0] if len(found) == 1 else MIXED


def composition(encoder: Measured, kinds_V: Sequence[str]) -> Json:
    """How many pieces are of which kind, and how many of them are a single character."""
    pieces, single = Counter(kinds_V), Counter(kinds_V[i] for i in _own_characters(encoder).values())
    return {kind: {"pieces": pieces[kind], "single": single[kind]} for kind in KINDS if pieces[kind]}


def longest(encoder: Measured, counts_V: np.ndarray, kinds_V: Sequence[str], most: int = 30) -> Json:
    """The longest pieces of each script, with how often the measured text needs them."""
    found: Json = {}
    for name, chosen in {HAN: (HAN,), LATIN: (LATIN,), MIXED: (MIXED, OTHER), SIGNS: (SIGNS, SPACES)}.items():
        pieces = {i: encoder.piece_bytes[i].decode() for i, kind in enumerate(kinds_V) if kind in chosen}
        order = sorted(pieces, key=lambda i: (-len(pieces[i]), -counts_V[i], i))
        rows = [{"id": i, "piece": pieces[i], "count": int(counts_V[i])} for i in order[:most] if len(pieces[i]) > 1]
        if rows:
            found[name] = rows
    return found


def unused(counts_V: np.ndarray, kinds_V: Sequence[str], encoder: Measured, most: int = 80) -> Json:
    """Pieces that the measured text never needs: how many, and the first that were learned."""
    ids = [i for i, kind in enumerate(kinds_V) if kind not in (MARKS, BYTES) and not counts_V[i]]
    learned = sum(kind not in (MARKS, BYTES) for kind in kinds_V)
    shown = [{"id": i, "piece": encoder.piece_bytes[i].decode()} for i in ids[:most]]
    return {"pieces": len(ids), "of": learned, "examples": shown}


def coverage(encoder: Measured, texts: Iterable[str], most: int = 80) -> Json:
    """Which characters of the text have a piece of their own, and the most frequent that have none."""
    points, counts = np.unique(np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32), return_counts=True)
    own = _own_characters(encoder)
    missing = [(int(n), chr(p)) for p, n in zip(points, counts, strict=True) if chr(p) not in own]
    missing.sort(key=lambda pair: (-pair[0], pair[1]))
    total, lost = int(counts.sum()), sum(n for n, _ in missing)
    return {
        "characters": len(points),
        "with_a_piece": len(points) - len(missing),
        "share": round(1 - lost / max(total, 1), 6),
        "missing": [{"character": c, "count": n} for n, c in missing[:most]],
    }


def _own_characters(encoder: Measured) -> dict[str, int]:
    """Characters that are a piece, and its id."""
    found = {}
    for i, piece in enumerate(encoder.piece_bytes):
        if len(piece) <= 4 and not encoder.parts[i] and i not in encoder.spelling and i not in encoder.marks:
            text = piece.decode()
            if len(text) == 1:
                found[text] = i
    return found


# ---------------------------------------------------------------- a text in tokens


def tokens_in(encoder: Measured, text: str) -> list[tuple[str, int]]:
    """A text cut into its tokens; those that only together are a text stand together, with their number."""
    found, held, number = [], b"", 0
    for i in encoder.encode([text])[0]:
        held, number = held + encoder.piece_bytes[i], number + 1
        try:
            found.append((held.decode(), number))
        except UnicodeDecodeError:
            continue
        held, number = b"", 0
    return [*found, (held.decode("utf-8", "replace"), number)] if number else found
