"""Tokenizers to measure, ours and others behind one face: texts go in, ids come out, and what each id stands for.

Ours is opened by `utils/codec.py`; GPT-2's is built from its merges in `data/gpt2/`; any other is the
`tokenizer.json` of a folder. Texts are text to all of them: a typed mark is spelled out, nothing is added or cut.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers

from utils.codec import Codec
from utils.console import UserError
from utils.encoders import SPACE

OURS, GPT2 = "ours", "gpt2"
MERGES = Path(__file__).parents[2] / "data" / "gpt2" / "merges.txt.gz"
PRINTABLE = (*range(33, 127), *range(161, 173), *range(174, 256))
"""The bytes that GPT-2 writes as the character of the same number; the others follow from U+0100 on."""


@dataclass(frozen=True)
class Encoder:
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


def ours(folder: Path) -> Encoder:
    """The tokenizer of a folder that the stage has filled."""
    codec = Codec(folder)
    tables = from_folder(folder)
    marks = tables.marks | ({tables.unknown} if tables.unknown is not None else set())
    return replace(tables, name=OURS, encode=lambda texts: [codec.encode(text) for text in texts], marks=marks)


def gpt2() -> Encoder:
    """GPT-2's, with its own ids: the bytes, the merges in their order, the mark."""
    lines = gzip.decompress(MERGES.read_bytes()).decode().split("\n")
    merges = [(left, right) for left, _, right in (line.partition(" ") for line in lines[1:-1])]  # behind a version
    pieces = [*_byte_letters(), *map("".join, merges), "<|endoftext|>"]
    tokenizer = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    texts = [_bytes_of_letters(piece) for piece in pieces]
    return Encoder(GPT2, _encoding(tokenizer), texts, frozenset({len(pieces) - 1}))


def compared(folders: Sequence[str]) -> list[Encoder]:
    """GPT-2's tokenizer and those of the folders; what is no tokenizer is refused, in one line."""
    return [gpt2(), *(from_folder(Path(folder), name) for folder, name in _names(folders).items())]


def from_folder(folder: Path, name: str = "") -> Encoder:
    """What the `tokenizer.json` of a folder says."""
    path = folder / "tokenizer.json"
    if not folder.is_dir():
        raise UserError(f"tokenizer.compare: {folder}: no such folder; correct its path, or take it out of the list")
    if not path.is_file():
        raise UserError(f"tokenizer.compare: {folder}: holds no tokenizer.json; copy it there, or take it out")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the package raises nothing narrower
        why = str(error).split("\n")[0][:120]
        raise UserError(f"{path}: no tokenizer that can be read ({why}); copy it again, or take it out") from None
    return _of(tokenizer, name or folder.name)


def _names(folders: Sequence[str]) -> dict[str, str]:
    """A short name for each folder: as much of the end of its path as tells it from the others."""
    parts = {folder: Path(folder).absolute().parts for folder in folders}
    for length in range(2, max(map(len, parts.values()), default=0) + 1):
        names = {folder: "/".join(path[-length:]) for folder, path in parts.items()}
        if len(set(names.values())) == len(names):
            return names
    return {folder: folder for folder in folders}


# ---------------------------------------------------------------- one of the `tokenizers` package


def _of(tokenizer: Tokenizer, name: str) -> Encoder:
    """A tokenizer of the package, and what its ids stand for."""
    spec = json.loads(tokenizer.to_str())
    vocabulary = {i: piece for piece, i in tokenizer.get_vocab(with_added_tokens=True).items()}
    added = {token["id"]: token for token in spec["added_tokens"]}
    unknown = spec["model"].get("unk_id")  # as Unigram says it
    if unknown is None:
        unknown = tokenizer.token_to_id(spec["model"].get("unk_token") or "<unk>")
    in_bytes = "ByteLevel" in _kinds(spec["pre_tokenizer"]) | _kinds(spec["decoder"])
    as_bytes = _bytes_of_letters if in_bytes else _bytes_of_piece
    pieces, spelling = [], []
    for i in range(max(vocabulary, default=-1) + 1):
        piece = vocabulary.get(i, "")
        pieces.append(piece.encode() if i in added else as_bytes(piece))
        if not in_bytes and _spelled(piece) is not None:
            spelling.append(i)
    marks = frozenset(i for i, token in added.items() if token["special"])
    return Encoder(name, _encoding(tokenizer), pieces, marks, frozenset(spelling), unknown)


def _encoding(tokenizer: Tokenizer) -> Callable[[Sequence[str]], list[np.ndarray]]:
    """Its way from texts to ids, told to leave texts as they are."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True  # a typed mark is text

    def encode(texts: Sequence[str]) -> list[np.ndarray]:
        with _one_thread():
            found = tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(one.ids, np.int64) for one in found]

    return encode


@contextmanager
def _one_thread() -> Iterator[None]:
    """The package's threads, once used, make it complain at every later fork of this process."""
    name = "TOKENIZERS_PARALLELISM"
    before = os.environ.get(name)
    os.environ[name] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _kinds(part: Any) -> set[str]:
    """The types of all steps of a pre-tokenizer or decoder."""
    if isinstance(part, dict):
        return {str(part.get("type"))}.union(*map(_kinds, part.values()))
    return set().union(*map(_kinds, part)) if isinstance(part, list) else set()


def _byte_letters() -> list[str]:
    """GPT-2's letters for bytes, in the order of its ids."""
    others = 256 - len(PRINTABLE)
    return [*map(chr, PRINTABLE), *(chr(256 + n) for n in range(others))]


_BYTE_OF = dict(zip(_byte_letters(), [*PRINTABLE, *(b for b in range(256) if b not in PRINTABLE)], strict=True))


def _bytes_of_letters(piece: str) -> bytes:
    """A piece written in GPT-2's letters; one that is not is text."""
    try:
        return bytes([_BYTE_OF[letter] for letter in piece])
    except KeyError:
        return piece.encode()


def _bytes_of_piece(piece: str) -> bytes:
    """A piece written as SentencePiece writes it, or as BERT does, whose ## says that no space goes before."""
    spelled = _spelled(piece)
    if spelled is not None:
        return bytes([spelled])
    return piece.removeprefix("##").replace(SPACE, " ").encode()


def _spelled(piece: str) -> int | None:
    """The byte that a piece such as <0xE4> stands for."""
    if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
        try:
            return int(piece[3:5], 16)
        except ValueError:
            return None
    return None
