"""A tokenizer folder, opened: text to ids and back, the same in every stage.

What encodes is behind `utils/encoders.py`; marks get their ids here, by name, and never arise from text. Decoding goes
through bytes, so that a character spread over several tokens never shows as a broken one while it streams.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from utils.chat import END_OF_TEXT, END_OF_TURN, MARK_IDS, MARKS, PAD, Segment
from utils.console import UserError
from utils.encoders import FAST, SPM, SentencePieceEncoder, open_encoder

FILES = (SPM, FAST, "tokenizer_config.json", "chat_template.jinja")
"""What a tokenizer folder holds; an imported one has no SentencePiece model."""

Span = tuple[int, int]

FIXED = ("\n", "\n\n", "assistant\n", "tool\n")
"""Segments that stand in every dialogue."""


class Codec:
    """Encode and decode with the tokenizer of one folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.encoder = open_encoder(folder)
        self.files = {name: (folder / name).read_bytes() for name in FILES if (folder / name).is_file()}
        """Those of the folder that belong to the tokenizer, as they were when it was opened."""
        self.vocab_size = self.encoder.vocab_size
        self.marks = self._marks()
        """The id of each mark."""
        self.end_of_text = self.marks[END_OF_TEXT]
        self.end_of_turn = self.marks[END_OF_TURN]
        self.pad = self.marks[PAD]
        self.dtype = np.dtype(np.uint16 if self.vocab_size <= 1 << 16 else np.uint32)

    def _marks(self) -> dict[str, int]:
        path = self.encoder.path
        found: dict[str, int] = {}
        for mark in MARKS:
            number = self.encoder.id_of(mark)
            if number is None:
                mend = "give it to the tokenizer stage as tokenizer.path, which adds the marks"
                raise UserError(f"{path}: no {mark} in its vocabulary, so not a Yaya tokenizer; {mend}")
            found[mark] = number
        if isinstance(self.encoder, SentencePieceEncoder) and found != MARK_IDS:
            raise UserError(f"{path}: its marks are not the ids 1 to {len(MARKS)}; not a Yaya tokenizer")
        return found

    def encode(self, text: str) -> np.ndarray:
        """A text's ids; no mark is among them, whatever the text says."""
        return self.encode_all([text])[0].astype(self.dtype)

    def encode_all(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Each text's ids, in whatever integers they come: who has millions of them converts them together."""
        return self.encoder.encode_all(texts)

    def encode_dialogues(self, dialogues: Sequence[Sequence[Segment]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """N dialogues one behind the other as T tokens: tokens_T, which of them are trained (T), their lengths (N)."""
        segments = [segment for dialogue in dialogues for segment in dialogue]
        known = [self._mark_ids[s.text] if s.is_mark else self._fixed.get(s.text) for s in segments]
        others = iter(self.encode_all([s.text for s, ids in zip(segments, known, strict=True) if ids is None]))
        parts = [next(others) if ids is None else ids for ids in known]
        lengths_S = np.array([len(part) for part in parts], np.int64)
        trained_S = np.array([segment.trained for segment in segments], bool)
        ends_N = np.cumsum([len(dialogue) for dialogue in dialogues], dtype=np.int64)
        edges_S1 = np.concatenate([[0], np.cumsum(lengths_S)])
        tokens_T = np.concatenate(parts or [np.empty(0, np.int32)]).astype(self.dtype)
        return tokens_T, np.repeat(trained_S, lengths_S), np.diff(edges_S1[ends_N], prepend=0)

    @cached_property
    def _mark_ids(self) -> dict[str, np.ndarray]:
        return {mark: np.array([number], self.dtype) for mark, number in self.marks.items()}

    @cached_property
    def _fixed(self) -> dict[str, np.ndarray]:
        return dict(zip(FIXED, self.encode_all(FIXED), strict=True))

    def encode_segments(self, segments: Iterable[Segment]) -> tuple[np.ndarray, list[Span]]:
        """Segments as ids, and the half-open spans of those that are trained, neighbours joined."""
        tokens_T, trained_T, _ = self.encode_dialogues([list(segments)])
        edges = np.flatnonzero(np.diff(trained_T.astype(np.int8), prepend=0, append=0)).tolist()
        return tokens_T, list(zip(edges[::2], edges[1::2], strict=True))

    @property
    def piece_bytes(self) -> list[bytes]:
        """The bytes that each id stands for; marks are shown as written, unknown as nothing."""
        return self.encoder.piece_bytes

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
        lengths[list(self.marks.values())] = 0
        return lengths
