"""Questions, blurred: some tokens of what the user says are left out or replaced, each time others.

A small model that always reads a question in the same letters learns the letters. If every reading lacks some of
them, it has to answer by what is left, and so answers the same question put in other words more often. Nothing that
is trained is touched. What a row becomes is a pure function of the row and its number: any world size, any resume.

Shapes: N rows, L = seq_len.
"""

from __future__ import annotations

import numpy as np

from pipeline.train.order import uniform
from pipeline.train.rows import Rows, positions
from utils.chat import END_OF_TURN, TURN
from utils.codec import Codec
from utils.scoring import UNTRAINED

LEAST = 4
"""Tokens of a turn that is blurred. A shorter one has none to spare: without its only word, 你好 is 谢谢."""


class Blur:
    """Leaves out or replaces a share of the user's tokens in rows of dialogues."""

    def __init__(self, share: float, seed: int, codec: Codec):
        self.share, self.seed, self.pad = share, seed, codec.pad
        # Pieces of Yaya's own tokenizers never reach across a line break, so that a turn begins with these whatever is
        # said in it. Those of one that was taken over may; a turn that begins with such a piece is left alone.
        self._header = [codec.marks[TURN], *codec.encode("user\n").tolist()]
        self._edges = (codec.marks[TURN], codec.marks[END_OF_TURN])
        self._others = pieces_of_text(codec)

    def __call__(self, rows: Rows, first: int) -> Rows:
        """These rows as the sequences from number `first` on read them."""
        asked_NL = without_short(users_words(rows.input_ids, self._header, self._edges), LEAST)
        blurred = Rows(rows.input_ids.copy(), rows.targets.copy(), rows.position_ids.copy())
        length = rows.input_ids.shape[1]
        for row, asked_L in enumerate(asked_NL):
            key = f"{self.seed}/blur/{first + row}"
            drawn_L, others_L = uniform(length, key), uniform(length, f"{key}/others")
            replaced_L = asked_L & (drawn_L < self.share / 2)
            others_L = self._others[(others_L * len(self._others)).astype(np.int64)]
            blurred.input_ids[row, replaced_L] = others_L[replaced_L]
            self._leave_out(blurred, row, asked_L & (drawn_L >= 1 - self.share / 2))
        return blurred

    def _leave_out(self, rows: Rows, row: int, gone_L: np.ndarray) -> None:
        """Close the gaps; the row grows shorter, and is padded as a row that is not full."""
        kept_L = np.flatnonzero(~gone_L)
        end = len(kept_L)
        if end == len(gone_L):
            return
        starts_L = np.zeros(len(gone_L), bool)
        starts_L[:end] = rows.position_ids[row, kept_L] == 0
        starts_L[end] = rows.input_ids[row, kept_L[-1]] != self.pad  # padding that was there begins earlier
        for values_L, padding in ((rows.input_ids[row], self.pad), (rows.targets[row], UNTRAINED)):
            values_L[:end] = values_L[kept_L]
            values_L[end:] = padding
        rows.position_ids[row] = positions(starts_L[None])[0]


def pieces_of_text(codec: Codec) -> np.ndarray:
    """Every id but the marks and the unknown, in order."""
    table = [i for i, stands_for in enumerate(codec.piece_bytes) if stands_for]
    return np.setdiff1d(table, list(codec.marks.values()))


def users_words(ids_NL: np.ndarray, header: list[int], edges: tuple[int, int]) -> np.ndarray:
    """Which tokens stand in a user's turn, between its header and its end."""
    places_L = np.arange(ids_NL.shape[1])
    opens_NL = np.ones(ids_NL.shape, bool)
    for offset, token in enumerate(header):
        opens_NL &= np.roll(ids_NL, -offset, axis=1) == token
    turns_NL = np.isin(ids_NL, edges)
    last_NL = np.maximum.accumulate(np.where(turns_NL, places_L, 0), axis=1)
    return np.take_along_axis(opens_NL, last_NL, axis=1) & (places_L - last_NL >= len(header))


def without_short(asked_NL: np.ndarray, least: int) -> np.ndarray:
    """The same without stretches of fewer places than `least`."""
    closed_NP = np.pad(asked_NL, ((0, 0), (1, 1))).astype(np.int8)
    rows, edges = np.nonzero(np.diff(closed_NP, axis=1))  # a stretch's first place and the one behind it, in turn
    kept_NL = asked_NL.copy()
    for row, start, end in zip(rows[::2], edges[::2], edges[1::2], strict=True):
        if end - start < least:
            kept_NL[row, start:end] = False
    return kept_NL
