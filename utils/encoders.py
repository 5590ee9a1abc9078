"""What turns text into ids, behind one small interface: SentencePiece, or the `tokenizers` package.

A tokenizer folder comes in. With `spm.model` in it SentencePiece encodes, five times faster; a folder that was
imported has `tokenizer.json` alone. Neither ever makes a special token out of what a text says.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import sentencepiece

from utils.console import UserError

SPM = "spm.model"
FAST = "tokenizer.json"
SPACE = "\u2581"
"""How SentencePiece, and those who follow it, write a space."""

LONG = 1 << 12
"""Characters beyond which a text is encoded in pieces: SentencePiece is fastest on a few thousand (an eighth less time
for documents of ten thousand, half for a million), and takes 55 bytes and more for each."""
PIECE = 1 << 11
NEAR_END = 1 << 10
"""So far a place to cut is looked for, before the next PIECE begins."""
MANY = 64
"""Texts that are worth a call for all of them, which starts a thread."""


class Encoder(Protocol):
    """Ids of texts, and what an id stands for."""

    path: Path
    vocab_size: int

    def encode_all(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The ids of each text; no special token is among them, whatever the text says."""

    def id_of(self, piece: str) -> int | None:
        """The id of a piece; None if there is no such piece."""

    @property
    def piece_bytes(self) -> list[bytes]:
        """The bytes that each id stands for; special tokens as written, nothing for an unknown one."""


def encoder_file(folder: Path) -> Path | None:
    """The file of a folder that decides its ids; None if it holds no tokenizer."""
    return next((path for name in (SPM, FAST) if (path := folder / name).is_file()), None)


def open_encoder(folder: Path) -> Encoder:
    """The tokenizer of a folder."""
    path = encoder_file(folder)
    if path is None:
        raise UserError(f"{folder / SPM}: no tokenizer there; run the tokenizer stage, or give a folder that Yaya made")
    return SentencePieceEncoder(path) if path.name == SPM else FastEncoder(path)


def damaged(path: Path) -> UserError:
    """A file that cannot be read, and its mend: what lies beside weights is not to be deleted."""
    beside_weights = (path.parent / "config.json").is_file()
    mend = f"copy {path.name} again" if beside_weights else f"delete {path.parent} and run the tokenizer stage again"
    return UserError(f"{path}: damaged; {mend}")


class SentencePieceEncoder:
    """A vocabulary that Yaya learned."""

    def __init__(self, path: Path):
        self.path = path
        self.spm = sentencepiece.SentencePieceProcessor()
        try:
            self.spm.Load(str(path))
        except RuntimeError:
            raise damaged(path) from None
        self.vocab_size: int = self.spm.GetPieceSize()

    def encode_all(self, texts: Sequence[str]) -> list[np.ndarray]:
        pieces = [self._pieces(text) for text in texts]
        encoded = self._encode([piece for of_text in pieces for piece in of_text])
        if len(encoded) == len(texts):
            return encoded
        ends = accumulate(map(len, pieces))
        return [np.concatenate(encoded[end - len(some) : end]) for some, end in zip(pieces, ends, strict=True)]

    def _encode(self, texts: list[str]) -> list[np.ndarray]:
        if len(texts) < MANY:
            return [self.spm.Encode(text, return_type="numpy") for text in texts]
        return self.spm.Encode(texts, return_type="numpy", num_threads=1)  # type: ignore[no-any-return]

    def _pieces(self, text: str) -> list[str]:
        """A long text cut where no token can lie across, so that the pieces' ids are the text's."""
        if len(text) <= LONG:
            return [text]
        starts = [0]
        at = PIECE
        while at < len(text) - PIECE:
            cut = next((i for i in range(at, at + NEAR_END) if self._is_edge(text[i - 1 : i + 1])), None)
            if cut is not None:
                starts.append(cut)
            at = (cut or at) + PIECE
        return [text[start:end] for start, end in zip(starts, [*starts[1:], None], strict=True)]

    def _is_edge(self, pair: str) -> bool:
        return pair.replace(SPACE, " ") not in self._joined

    @cached_property
    def _joined(self) -> frozenset[str]:
        """Characters that stand side by side in some token; merging never crosses any other pair."""
        pieces = (self.spm.IdToPiece(i).replace(SPACE, " ") for i in range(self.vocab_size))
        return frozenset(a + b for piece in pieces for a, b in pairwise(piece))

    def id_of(self, piece: str) -> int | None:
        number: int = self.spm.PieceToId(piece)
        return number if self.spm.IdToPiece(number) == piece else None

    @cached_property
    def piece_bytes(self) -> list[bytes]:
        table = []
        for i in range(self.vocab_size):
            piece = self.spm.IdToPiece(i)
            if self.spm.IsByte(i):
                table.append(bytes([int(piece[3:5], 16)]))
            elif self.spm.IsUnknown(i):
                table.append(b"")
            else:
                table.append(piece.replace(SPACE, " ").encode())
        return table


class FastEncoder:
    """A Hugging Face `tokenizer.json`."""

    def __init__(self, path: Path):
        from tokenizers import Tokenizer  # here: what only talks to models of ours does not pay for it

        self.path = path
        try:
            self.tokenizer = Tokenizer.from_file(str(path))
        except Exception:  # `tokenizers` raises this very class for whatever is wrong with the file
            raise damaged(path) from None
        self.tokenizer.encode_special_tokens = True
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.vocab_size = 1 + max(self.tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
        if not self.vocab_size:
            raise damaged(path)

    def encode_all(self, texts: Sequence[str]) -> list[np.ndarray]:
        with _one_thread():
            found = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(one.ids, np.int32) for one in found]

    def id_of(self, piece: str) -> int | None:
        return self.tokenizer.token_to_id(piece)  # type: ignore[no-any-return]

    @cached_property
    def spec(self) -> dict[str, Any]:
        """What the file says."""
        return json.loads(self.tokenizer.to_str())  # type: ignore[no-any-return]

    @cached_property
    def pieces(self) -> list[str]:
        """Each id as the file writes it; nothing where an id is not given out."""
        table = [""] * self.vocab_size
        for piece, i in self.tokenizer.get_vocab(with_added_tokens=True).items():
            table[i] = piece
        return table

    @cached_property
    def piece_bytes(self) -> list[bytes]:
        as_bytes = _reader(self.spec)
        added = {token["id"] for token in self.spec["added_tokens"]}
        return [piece.encode() if i in added else as_bytes(piece) for i, piece in enumerate(self.pieces)]


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
            os.environ.pop(name, None)  # another thread may have been here
        else:
            os.environ[name] = before


# ---------------------------------------------------------------- what the pieces of a tokenizer.json stand for


def byte_level_letters() -> dict[str, int]:
    """The letters that GPT-2 and its heirs write bytes in, in the order of their ids: printable ones as themselves,
    the rest from U+0100 on."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + n): byte for n, byte in enumerate(others)}


def bytes_of_letters(piece: str) -> bytes:
    """A piece written in those letters; one that is not is text."""
    return bytes(_LETTERS[c] for c in piece) if set(piece) <= _LETTERS.keys() else piece.encode()


_LETTERS = byte_level_letters()


def byte_of(piece: str) -> int | None:
    """The byte that a piece such as `<0x0A>` spells; None for any other."""
    return int(piece[3:5], 16) if re.fullmatch("<0x[0-9A-Fa-f]{2}>", piece) else None


def in_byte_letters(spec: dict[str, Any]) -> bool:
    """Does this tokenizer.json write its pieces in GPT-2's letters?"""
    return "ByteLevel" in {*_steps(spec.get("decoder")), *_steps(spec.get("pre_tokenizer"))}


def why_not_understood(spec: dict[str, Any]) -> str:
    """Why the pieces of this tokenizer.json cannot be told as bytes; nothing if they can."""
    kind = spec["model"].get("type")
    if kind not in ("BPE", "Unigram"):
        return f"a {kind} vocabulary, which loses spaces or letters"
    known = {"Sequence", "ByteLevel", "ByteFallback", "Metaspace", "Replace", "Fuse", "Strip"}
    strange = [name for name in _steps(spec.get("decoder")) if name not in known]
    return f"a decoder ({', '.join(strange)}) that is not known here" if strange else ""


def _steps(part: Any) -> list[str]:
    """The types of all steps of a decoder or pre-tokenizer."""
    if isinstance(part, dict):
        inner = [name for value in part.values() for name in _steps(value)]
        return [str(part["type"]), *inner] if "type" in part else inner
    return [name for one in part for name in _steps(one)] if isinstance(part, list) else []


def _reader(spec: dict[str, Any]) -> Callable[[str], bytes]:
    """From a piece to its bytes: in GPT-2's letters, or as SentencePiece or BERT write."""
    if in_byte_letters(spec):
        return bytes_of_letters
    unknown = spec["model"].get("unk_token")

    def read(piece: str) -> bytes:
        if (byte := byte_of(piece)) is not None:
            return bytes([byte])
        return b"" if piece == unknown else piece.removeprefix("##").replace(SPACE, " ").encode()

    return read
