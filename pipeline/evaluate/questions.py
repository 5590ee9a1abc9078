"""Where the questions of an evaluation come from: clean records and exam files come in, questions go out.

The records are read once, as a stream: a corpus of millions costs no more memory than the questions kept.
"""

from __future__ import annotations

import csv
import heapq
import io
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import xxhash

from utils.chat import Message, spoken
from utils.console import UserError
from utils.records import Record, read_records, record_shards


@dataclass(frozen=True)
class Question:
    """What is asked, and the reply that would be right."""

    text: str
    answer: str
    source: str
    system: str = ""
    original: str = ""
    """An exam's: the trained question that this one says in other words."""

    @property
    def messages(self) -> list[Message]:
        asked = [{"role": "user", "content": self.text}]
        return [{"role": "system", "content": self.system}, *asked] if self.system else asked


@dataclass(frozen=True)
class Taught:
    """What the train split says about a set of questions."""

    recall: list[Question]
    """Single-turn records to ask again, in a fixed order."""

    trained: int
    """How many single-turn records there are."""

    ambiguous: int
    """How many of `recall` share their question with a record of another answer: not all of them can come back."""

    found: set[str]
    """Those of the wanted questions (as `key` writes them) that were trained."""


def key(question: str) -> str:
    """A question without spaces, punctuation and case: one that differs in these alone counts as taught."""
    letters = "".join(c for c in unicodedata.normalize("NFKC", question).casefold() if c.isalnum())
    return letters or question.strip()


def read_taught(clean: Path, at_most: int, wanted: Iterable[str]) -> Taught:
    """One pass over the train split: records to recall, and which of the wanted questions were taught."""
    wanted_keys = {key(question) for question in wanted}
    found: set[str] = set()
    answers: dict[int, int] = {}
    counts = [0, 0]

    def ranked() -> Iterator[tuple[int, str, Question]]:
        for record in _chats(clean):
            found.update(wanted_keys & {key(m["content"] or "") for m in record["messages"] if m["role"] == "user"})
            if (question := single_turn(record)) is not None:
                counts[0] += 1
                asked = _hash(f"{question.system}\0{question.text}")
                told = _hash(question.answer)
                if answers.setdefault(asked, told) != told:
                    answers[asked] = 0  # asked twice, answered differently
                yield _hash(record["id"]), record["id"], question

    drawn = heapq.nsmallest(at_most, ranked(), key=lambda row: row[:2])  # a draw by hash: the same on every machine
    recall = [question for _, _, question in drawn]
    ambiguous = sum(answers[_hash(f"{q.system}\0{q.text}")] == 0 for q in recall)
    return Taught(recall, counts[0], ambiguous, found)


def _hash(text: str) -> int:
    return xxhash.xxh3_64_intdigest(text.encode())


def _chats(clean: Path) -> Iterator[Record]:
    for shards in record_shards(clean, "train").values():
        for path in shards:
            for record in read_records(path, ["id", "source", "kind", "messages", "tools"]):
                if record["kind"] == "chat" and record["messages"]:
                    yield record


def single_turn(record: Record) -> Question | None:
    """A record of one question and one answer without calls, with or without a system message; None if it is another.

    A thought is a part of the answer.
    """
    messages = list(record["messages"])
    system = messages.pop(0)["content"] if messages[0]["role"] == "system" else None
    if [m["role"] for m in messages] != ["user", "assistant"] or record["tools"]:
        return None
    asked, told = messages
    if told["tool_calls"] or not told["content"]:
        return None
    return Question(asked["content"] or "", spoken(told), record["source"], system or "")


def read_exam(path: Path) -> list[Question]:
    """A CSV file of question,answer and, if known, original: UTF-8, or Excel's GB18030."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"evaluate.exams: {path} not found; correct the path, or take it out of the list") from None
    except IsADirectoryError:
        raise UserError(f"evaluate.exams: {path} is a folder; name the CSV files in it") from None
    rows = csv.DictReader(io.StringIO(_decoded(raw, path), newline=""), strict=True)
    try:
        names = [name.strip() for name in rows.fieldnames or []]
        missing = [name for name in ("question", "answer") if name not in names]
        if missing:
            have = ", ".join(names) or "nothing"
            raise UserError(f"{path}: no column {' or '.join(missing)} (there is {have}); head it question,answer")
        rows.fieldnames = names
        questions = [_exam_question(row, path.stem) for row in rows]
    except csv.Error as error:
        raise UserError(f"{path} line {rows.line_num + 1}: not valid CSV ({error}); mend that line") from None
    kept = [question for question in questions if question.text and question.answer]
    if not kept:
        raise UserError(f"{path}: no question in it; write one a line, or take it out of evaluate.exams")
    return kept


def _exam_question(row: dict[str, str | None], source: str) -> Question:
    text, answer, original = ((row.get(name) or "").strip() for name in ("question", "answer", "original"))
    return Question(text, answer, source, original=original)


def _decoded(raw: bytes, path: Path) -> str:
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise UserError(f"{path}: neither UTF-8 nor GB18030; save it as UTF-8")
