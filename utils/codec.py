"""A tokenizer folder, opened: text to ids and back, the same in every stage.

SentencePiece encodes (five times faster than the published `tokenizer.json`, which gives the same ids); marks
get their ids from `utils/chat.py` and never arise from text. Decoding goes through bytes, so that a character
spread over several tokens never shows as a broken one while it streams.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import sentencepiece

from utils.chat import END_OF_TEXT, END_OF_TURN, MARK_IDS, MARKS, PAD, Segment
from utils.console import UserError

SPM = "spm.model"
Span = tuple[int, int]


class Codec:
    """Encode and decode with the tokenizer of one folder."""

    def __init__(self, folder: Path):
        path = folder / SPM
        if not path.is_file():
            raise UserError(f"{path}: no tokenizer there; run the tokenizer stage, or give a folder that Yaya made")
        self.folder = folder
        self.spm = sentencepiece.SentencePieceProcessor()
        try:
            self.spm.Load(str(path))
        except RuntimeError:
            beside_weights = (folder / "config.json").is_file()  # a trained model's folder: not one to delete
            mend = f"copy {SPM} again" if beside_weights else f"delete {folder} and run the tokenizer stage again"
            raise UserError(f"{path}: damaged; {mend}") from None
        self.vocab_size: int = self.spm.GetPieceSize()
        if self.vocab_size <= max(MARK_IDS.values()):
            raise UserError(f"{path}: only {self.vocab_size} pieces; not a Yaya tokenizer")
        for mark, number in MARK_IDS.items():
            if self.spm.IdToPiece(number) != mark:
                raise UserError(
                    f"{path}: id {number} is {self.spm.IdToPiece(number)!r}, not {mark!r}; not a Yaya tokenizer"
                )
        self.end_of_text = MARK_IDS[END_OF_TEXT]
        self.end_of_turn = MARK_IDS[END_OF_TURN]
        self.pad = MARK_IDS[PAD]
        self.dtype = np.dtype(np.uint16 if self.vocab_size <= 1 << 16 else np.uint32)

    def encode(self, text: str) -> np.ndarray:
        """A text's ids; no mark is among them, whatever the text says."""
        return np.asarray(self.spm.Encode(text, return_type="numpy"), self.dtype)

    def encode_segments(self, segments: Iterable[Segment]) -> tuple[np.ndarray, list[Span]]:
        """Segments as ids, and the half-open spans of those that are trained, neighbours joined."""
        parts: list[np.ndarray] = []
        spans: list[Span] = []
        at = 0
        for segment in segments:
            if segment.is_mark:
                ids = np.array([MARK_IDS[segment.text]], self.dtype)
            else:
                ids = self.encode(segment.text)
            if segment.trained and len(ids):
                if spans and spans[-1][1] == at:
                    spans[-1] = (spans[-1][0], at + len(ids))
                else:
                    spans.append((at, at + len(ids)))
            parts.append(ids)
            at += len(ids)
        return np.concatenate(parts, dtype=self.dtype) if parts else np.empty(0, self.dtype), spans

    @cached_property
    def piece_bytes(self) -> list[bytes]:
        """The bytes that each id stands for; marks are shown as written, unknown as nothing."""
        table = []
        for i in range(self.vocab_size):
            piece = self.spm.IdToPiece(i)
            if self.spm.IsByte(i):
                table.append(bytes([int(piece[3:5], 16)]))
            elif self.spm.IsUnknown(i):
                table.append(b"")
            else:
                table.append(piece.replace("\u2581", " ").encode())
        return table

    def decode(self, ids: Sequence[int]) -> str:
        """Ids as text; bytes that are no UTF-8 become U+FFFD."""
        return b"".join(self.piece_bytes[i] for i in ids).decode("utf-8", "replace")

    def stream(self, ids: Iterable[int]) -> Iterator[str]:
        """Text as it grows, never half a character."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for i in ids:
            if text := decoder.decode(self.piece_bytes[i]):
                yield text
        if text := decoder.decode(b"", final=True):
            yield text

    def text_bytes(self, ids: np.ndarray) -> np.ndarray:
        """How many bytes of text each id stands for; marks stand for none."""
        return self._lengths[ids]

    @cached_property
    def _lengths(self) -> np.ndarray:
        lengths = np.array([len(b) for b in self.piece_bytes], np.int64)
        lengths[: len(MARKS) + 1] = 0
        return lengths
