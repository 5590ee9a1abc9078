"""Tokenizers to measure, ours and others behind one face: texts go in, ids come out, and what each id stands for.

Ours is opened as everywhere (`utils/encoders.py`); GPT-2's is built from its merges in `data/gpt2/`; any other is the
`tokenizer.json` of a folder. Texts are text to all of them: a typed mark is spelled out, nothing is added or cut.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers

from utils.console import UserError
from utils.encoders import (
    FAST,
    FastEncoder,
    byte_level_letters,
    byte_of,
    bytes_of_letters,
    in_byte_letters,
    open_encoder,
)

OURS, GPT2 = "ours", "gpt2"
MERGES = Path(__file__).parents[2] / "data" / "gpt2" / "merges.txt.gz"


@dataclass(frozen=True)
class Measured:
    """A tokenizer as the report asks it."""

    name: str
    encode: Callable[[Sequence[str]], list[np.ndarray]]
    piece_bytes: Sequence[bytes]
    """What each id stands for; nothing if it stands for no text."""

    marks: frozenset[int] = frozenset()
    """Ids that no text gives: special tokens."""

    spelling: frozenset[int] = frozenset()
    """Ids of single bytes, for the spelling of what has no piece."""

    unknown: int | None = None

    @cached_property
    def parts(self) -> np.ndarray:
        """Is a piece only a part of some character?"""
        return np.array([not _is_text(piece) for piece in self.piece_bytes])

    @cached_property
    def begun(self) -> np.ndarray:
        """Does a piece begin a character that it does not end? Every character that is spelled has one such piece."""
        pieces = zip(self.piece_bytes, self.parts.tolist(), strict=True)
        return np.array([is_part and _is_cut_short(piece) for piece, is_part in pieces])


def _is_text(piece: bytes) -> bool:
    try:
        piece.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_cut_short(piece: bytes) -> bool:
    """Does UTF-8 want more bytes at its end?"""
    for length in range(1, min(len(piece), 3) + 1):
        first = piece[-length]
        if first >= 0xC0:
            return length < 2 + (first >= 0xE0) + (first >= 0xF0)
        if first < 0x80:
            return False
    return False


# ---------------------------------------------------------------- where they come from


def ours(folder: Path) -> Measured:
    """The tokenizer of a folder that the stage has filled."""
    tables = _of(FastEncoder(folder / FAST), OURS)
    unknown = set() if tables.unknown is None else {tables.unknown}
    return replace(tables, encode=open_encoder(folder).encode_all, marks=tables.marks | unknown)


def gpt2() -> Measured:
    """GPT-2's, with its own ids: the bytes, the merges in their order, the mark."""
    lines = gzip.decompress(MERGES.read_bytes()).decode().split("\n")
    merges = [(left, right) for left, _, right in (line.partition(" ") for line in lines[1:-1])]  # behind a version
    pieces = [*byte_level_letters(), *map("".join, merges), "<|endoftext|>"]
    tokenizer = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)

    def encode(texts: Sequence[str]) -> list[np.ndarray]:
        return [np.array(tokenizer.encode(text).ids, np.int64) for text in texts]

    return Measured(GPT2, encode, [bytes_of_letters(piece) for piece in pieces], frozenset({len(pieces) - 1}))


def compared(folders: Sequence[str]) -> list[Measured]:
    """GPT-2's tokenizer and those of the folders; what is no tokenizer is refused, in one line."""
    return [gpt2(), *(from_folder(Path(folder), name) for folder, name in _names(folders).items())]


def from_folder(folder: Path, name: str = "") -> Measured:
    """What the `tokenizer.json` of a folder says."""
    path = tokenizer_in(folder)
    try:
        return _of(FastEncoder(path), name or folder.name)
    except UserError:
        raise UserError(f"{path}: no tokenizer that can be read; copy it again, or take it out") from None


def tokenizer_in(folder: Path) -> Path:
    """The file of a folder to compare with."""
    if not folder.is_dir():
        raise UserError(f"tokenizer.compare: {folder}: no such folder; correct its path, or take it out of the list")
    if not (folder / FAST).is_file():
        raise UserError(f"tokenizer.compare: {folder}: holds no {FAST}; copy it there, or take it out")
    return folder / FAST


def _of(encoder: FastEncoder, name: str) -> Measured:
    """What a tokenizer.json says of its ids."""
    model = encoder.spec["model"]
    unknown = model.get("unk_id")  # as Unigram says it
    if unknown is None:
        unknown = encoder.id_of(model.get("unk_token") or "<unk>")
    spelled = () if in_byte_letters(encoder.spec) else encoder.pieces
    spelling = frozenset(i for i, piece in enumerate(spelled) if byte_of(piece) is not None)
    marks = frozenset(token["id"] for token in encoder.spec["added_tokens"] if token["special"])
    return Measured(name, encoder.encode_all, encoder.piece_bytes, marks, spelling, unknown)


def _names(folders: Sequence[str]) -> dict[str, str]:
    """A short name for each folder: as much of the end of its path as tells it from the others."""
    parts = {folder: Path(folder).absolute().parts for folder in folders}
    for length in range(2, max(map(len, parts.values()), default=0) + 1):
        names = {folder: "/".join(path[-length:]) for folder, path in parts.items()}
        if len(set(names.values())) == len(names):
            return names
    return {folder: folder for folder in folders}
