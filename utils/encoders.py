"""What turns text into ids, behind one small interface: SentencePiece, or the `tokenizers` package.

A tokenizer folder comes in. With `spm.model` in it SentencePiece encodes, five times faster; a folder that was
imported has `tokenizer.json` alone. Neither ever makes a special token out of what a text says.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import sentencepiece

from utils.console import UserError

SPM = "spm.model"
FAST = "tokenizer.json"
SPACE = "\u2581"
"""How SentencePiece, and those who follow it, write a space."""


class Encoder(Protocol):
    """Ids of texts, and what an id stands for."""

    path: Path
    vocab_size: int

    def encode(self, text: str) -> np.ndarray:
        """A text's ids; no special token is among them, whatever the text says."""

    def encode_all(self, texts: Sequence[str]) -> list[np.ndarray]:
        """`encode` of each."""

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

    def encode(self, text: str) -> np.ndarray:
        return self.spm.Encode(text, return_type="numpy")  # type: ignore[no-any-return]

    def encode_all(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [self.spm.Encode(text, return_type="numpy") for text in texts]

    def id_of(self, piece: str) -> int | None:
        number: int = self.spm.PieceToId(piece)
        return number if self.spm.IdToPiece(number) == piece else None

    @cached_property
    def piece_bytes(self) -> list[bytes]:
        table = []
        for i in range(self.vocab_size):
            piece = self.spm.IdToPiece(i)
            if self.spm.IsByte(i):
                table.append(byte_of(piece))
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
        self.vocab_size = 1 + max(self.tokenizer.get_vocab(with_added_tokens=True).values())

    def encode(self, text: str) -> np.ndarray:
        return np.array(self.tokenizer.encode(text, add_special_tokens=False).ids, np.int32)

    def encode_all(self, texts: Sequence[str]) -> list[np.ndarray]:
        found = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(one.ids, np.int32) for one in found]

    def id_of(self, piece: str) -> int | None:
        return self.tokenizer.token_to_id(piece)  # type: ignore[no-any-return]

    @cached_property
    def piece_bytes(self) -> list[bytes]:
        how = json.loads(self.tokenizer.to_str())
        as_bytes = _reader(how)
        added = {token["id"]: token["content"].encode() for token in how["added_tokens"]}
        table = [b""] * self.vocab_size
        for piece, i in self.tokenizer.get_vocab(with_added_tokens=True).items():
            table[i] = added[i] if i in added else as_bytes(piece)
        return table


def byte_of(piece: str) -> bytes:
    """The byte that a piece such as `<0x0A>` spells."""
    return bytes([int(piece[3:5], 16)])


# ---------------------------------------------------------------- what the pieces of a tokenizer.json stand for


def byte_level_letters() -> dict[str, int]:
    """The letters that GPT-2 and its heirs write bytes in: printable ones as themselves, the rest from U+0100 on."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + n): byte for n, byte in enumerate(others)}


def why_not_understood(tokenizer: dict[str, Any]) -> str:
    """Why the pieces of this tokenizer.json cannot be told as bytes; nothing if they can."""
    kind = tokenizer["model"].get("type")
    if kind not in ("BPE", "Unigram"):
        return f"a {kind} vocabulary, which loses spaces or letters"
    known = {"ByteLevel", "ByteFallback", "Metaspace", "Replace", "Fuse", "Strip"}
    strange = [name for name in _decoders(tokenizer) if name not in known]
    return f"a decoder ({', '.join(strange)}) that is not known here" if strange else ""


def _decoders(tokenizer: dict[str, Any]) -> list[str]:
    decoder = tokenizer.get("decoder") or {}
    parts = decoder.get("decoders", [decoder]) if decoder else []
    return [part["type"] for part in parts]


def _reader(tokenizer: dict[str, Any]) -> Any:
    """A function from a piece to its bytes, by the decoder that the file names."""
    if "ByteLevel" in _decoders(tokenizer):
        letters = byte_level_letters()
        return lambda piece: bytes(letters[c] for c in piece) if set(piece) <= letters.keys() else piece.encode()
    falls_back = tokenizer["model"].get("byte_fallback", False)
    unknown = tokenizer["model"].get("unk_token")

    def of_piece(piece: str) -> bytes:
        if falls_back and len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
            return byte_of(piece)
        return b"" if piece == unknown else piece.replace(SPACE, " ").encode()

    return of_piece
