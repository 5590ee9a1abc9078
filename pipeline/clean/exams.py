"""Exams that no record may hold: thirteen characters in a row, or a shorter question as a whole field.

An exam is any file that a reader of rows understands (its question's column), or plain text, a question a line.
Words alone are compared: letters, digits and Han characters, mended as a page from the web is, in lower case. Where
no Han character is among them, thirteen letters would be two English words: there forty have to agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from pipeline.clean.columns import plain
from pipeline.clean.config import Input
from pipeline.clean.files.encodings import has_bad_bytes
from pipeline.clean.files.places import CORRUPT
from pipeline.clean.files.rows import rows
from pipeline.clean.files.text_files import lines
from pipeline.clean.inputs import files_of
from pipeline.clean.protocol import Sample, Unreadable
from pipeline.clean.text.codes import HAN, Codes, among, kind_table, running
from pipeline.clean.text.mend import mend
from pipeline.clean.text.pii import PII
from pipeline.clean.text.rules import rules_for
from pipeline.clean.text.shingles import Words, words_of
from utils.console import UserError, tell, warn, well_formed
from utils.hashing import GOLDEN, mixed64

QUESTIONS = ("question", "问题", "题目", "prompt", "instruction", "query", "input", "ask", "problem", "text")
EXAM_SHINGLE = 13
"""Characters in a row that no record may share with an exam."""
STEP = 6
"""A run holds eight characters that begin at a multiple of this: only those places are looked at first."""
_BITS = 26
"""Of the table's hashes: 8 MB, in which CMMLU's beginnings fill one bit in 250."""
FOREIGN_RUN = 40
"""Characters in a row that a text and an exam must share where no Han character is among them: a dozen words."""


@dataclass(frozen=True)
class Exams:
    """What is looked for: the hashes of long runs, what they begin with, and the hashes of short questions."""

    runs: np.ndarray
    """Of EXAM_SHINGLE characters, a Han character among them; sorted."""
    foreign: np.ndarray
    """Of FOREIGN_RUN characters without one; sorted."""
    short: np.ndarray
    """Of whole questions that have neither; sorted."""
    begins: np.ndarray
    """A table of bits: may these eight characters stand at the beginning of a run, or up to STEP behind it?"""

    def found_in(self, words_F: Words) -> np.ndarray:
        """Which fields hold words of an exam."""
        found = np.zeros(len(words_F.counts_R), bool)
        if not len(self.begins) or not len(words_F.points_M):
            return found
        seen = np.flatnonzero(
            _is_set(self.begins, _eights(words_F.shingles_M, np.arange(0, len(words_F.points_M), STEP)))
        )
        maybe = np.unique((seen[:, None] * STEP - np.arange(STEP)).ravel().clip(0))
        for width, known in ((EXAM_SHINGLE, self.runs), (FOREIGN_RUN, self.foreign)):
            begin = maybe[maybe + width <= len(words_F.points_M)]
            begin = begin[among(run_hashes(words_F.points_M, begin, width), known)] if len(known) else begin[:0]
            owner = np.searchsorted(words_F.starts_R, begin, side="right") - 1
            inside = begin + width <= words_F.starts_R[owner] + words_F.counts_R[owner]
            found[owner[inside]] = True
        few = np.flatnonzero((words_F.counts_R > 0) & (words_F.counts_R < FOREIGN_RUN))
        found[few] |= among(words_F.hashes(few), self.short)
        return found

    def save(self, file: BinaryIO) -> None:
        """For other processes to read."""
        np.savez(file, **vars(self))

    @staticmethod
    def load(file: BinaryIO) -> Exams:
        """What `save` wrote."""
        with np.load(file, allow_pickle=False) as saved:
            return Exams(**saved)


_NONE = np.zeros(0, np.uint64)
NO_EXAMS = Exams(_NONE, _NONE, _NONE, np.zeros(0, np.uint8))


def run_hashes(points_M: np.ndarray, begin: np.ndarray, width: int) -> np.ndarray:
    """64-bit hashes of the `width` characters from each of these places."""
    hashes = np.zeros(len(begin), np.uint64)
    with np.errstate(over="ignore"):
        for step in range(width):
            hashes = hashes * GOLDEN + points_M[begin + step]
    return mixed64(hashes)


def exam_files(patterns: Sequence[str]) -> list[str]:
    """The files that the recipe's exams name, as its inputs are named."""
    found: list[str] = []
    for pattern in patterns:
        try:
            found += files_of(Input(pattern))
        except FileNotFoundError:
            told = f"clean.decontaminate: {well_formed(pattern)}: nothing there; correct the path, or take it out"
            raise UserError(told) from None
        except UserError as error:
            raise UserError(str(error).replace("clean.inputs", "clean.decontaminate", 1)) from None
    return list(dict.fromkeys(found))


def read_exams(files: Sequence[str]) -> Exams:
    """All questions of these files, hashed, as they stand and as mending would leave them."""
    asked = [question for name in files for question in _questions(name)]
    if not asked:
        return NO_EXAMS
    mended = mend(asked, rules_for("web", mask=False))
    questions = list(dict.fromkeys([*mended, *mend(mended, (PII,))]))
    words = words_of(Codes(questions))
    is_han_M = (kind_table()[np.minimum(words.points_M, len(kind_table()) - 1)] & np.uint16(HAN)) != 0
    begins = {}
    for width, wants_han in ((EXAM_SHINGLE, True), (FOREIGN_RUN, False)):
        begin = running(words.starts_R, np.maximum(words.counts_R - width + 1, 0))
        han_before = np.concatenate([[0], np.cumsum(is_han_M)])
        begins[width] = begin[(han_before[begin + width] > han_before[begin]) == wants_han]
    has_run = np.zeros(len(questions), bool)
    for begin in begins.values():
        has_run[np.searchsorted(words.starts_R, begin, side="right") - 1] = True
    starts = np.unique(np.concatenate(list(begins.values())))
    table = np.zeros(1 << (_BITS - 3), np.uint8)
    for step in range(STEP):
        _set(table, _eights(words.shingles_M, starts + step))
    return Exams(
        np.unique(run_hashes(words.points_M, begins[EXAM_SHINGLE], EXAM_SHINGLE)),
        np.unique(run_hashes(words.points_M, begins[FOREIGN_RUN], FOREIGN_RUN)),
        np.unique(words.hashes(np.flatnonzero(~has_run & (words.counts_R > 0)))),
        table,
    )


def _eights(shingles_M: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Hashes of eight characters in a row, from two shingles."""
    places = places[places + 3 < len(shingles_M)]
    return shingles_M[places] ^ (shingles_M[places + 3] * np.uint32(0x85EBCA6B))


def _set(table: np.ndarray, hashes: np.ndarray) -> None:
    place = hashes >> np.uint32(32 - _BITS)
    np.bitwise_or.at(table, place >> np.uint32(3), (np.uint8(1) << (place & np.uint32(7)).astype(np.uint8)))


def _is_set(table: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    place = hashes >> np.uint32(32 - _BITS)
    return (table[place >> np.uint32(3)] >> (place & np.uint32(7)).astype(np.uint8) & np.uint8(1)) != 0


def _questions(name: str) -> Iterator[str]:
    """A file's questions; told if some cannot be read, and an error if none can: nobody would look for them."""
    found = bad = 0
    try:
        for question in _read(Sample(name)):
            if question is None:
                bad += 1
            elif question.strip():
                found += 1
                yield question
    except (FileNotFoundError, PermissionError):
        raise
    except CORRUPT:
        bad += 1
    if not found:
        raise UserError(f"clean.decontaminate: {well_formed(name)}: no question can be read; mend it, or take it out")
    if bad:
        warn(
            tell(
                f"{name}: an exam of which {bad} of {found + bad} questions cannot be read, and so not looked for",
                f"{name}：这份考卷有 {bad}/{found + bad} 道题无法读取，因此不会去查",
            )
        )


def _read(sample: Sample) -> Iterator[str | None]:
    """Each question; None for one that cannot be read."""
    if sample.container == "text":
        for _, line in lines(sample):
            yield None if has_bad_bytes(line) else line.strip()
        return
    names = {plain(key): key for key in sample.keys}
    column = next((names[plain(q)] for q in QUESTIONS if plain(q) in names), None)
    if column is None:
        known, here = ", ".join(QUESTIONS), ", ".join(sample.keys) or "none"
        raise UserError(f"{sample.name}: an exam's question must stand under one of {known}; here are {here}")
    for _, row in rows(sample):
        question = None if isinstance(row, Unreadable) else row.get(column)
        yield question if isinstance(question, str) else None
