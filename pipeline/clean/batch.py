"""A few thousand records, column by column: what readers found becomes fields to mend and measure, then Arrow columns.

A *field* is one text of a record: a document, what a turn says, its reasoning. All fields of a batch stand in one
list (F), record after record (R), so that mending and measuring see one long array and not a million small objects.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from pipeline.clean.parts import RECORD_COLUMNS
from pipeline.clean.protocol import Found, Message
from pipeline.clean.turns import in_order
from utils.arrays import arrow, strings
from utils.records import KINDS, MESSAGE

TEXT, USER, ASSISTANT, SYSTEM, TOOL, REASONING, CALLING = range(7)
"""What a field is: a document, a question, a reply to be learned, …, what is said beside a call."""
CHOSEN, REJECTED = 16, 32
"""Added where it stands in a preference's continuations."""
WHAT = 15
"""The bits of a field's role that say what it is."""

_ROLE = {"user": USER, "assistant": ASSISTANT, "system": SYSTEM, "tool": TOOL}


@dataclass
class _Turns:
    """One of the columns that hold lists of turns."""

    where: int
    """CHOSEN, REJECTED or nothing."""
    owners: list[int] = field(default_factory=list)
    """The records that have a list here, in order."""
    ends: list[int] = field(default_factory=list)
    """Where each of those lists ends."""
    roles: list[str] = field(default_factory=list)
    contents: list[int] = field(default_factory=list)
    reasonings: list[int] = field(default_factory=list)
    calls: list[str | None] = field(default_factory=list)


class Batch:
    """Records being gathered; `add` until `is_full`, then mend `fields` in place of themselves and ask for columns."""

    RECORDS = 8192
    CHARACTERS = 1 << 20

    def __init__(self) -> None:
        self.fields: list[str] = []
        self.roles_F: list[int] = []
        self.counts_R: list[int] = []
        self.ordinals: list[int] = []
        self.siblings: list[str] = []
        self.scores: list[float] = []
        self._kinds: list[str] = []
        self._texts: list[int] = []
        self._tools: list[str | None] = []
        self._metas: list[dict[str, Any]] = []
        self._turns = {"messages": _Turns(0), "chosen": _Turns(CHOSEN), "rejected": _Turns(REJECTED)}
        self._calls: dict[int, list[str]] = {}
        self._characters = 0

    def __len__(self) -> int:
        return len(self.ordinals)

    @property
    def is_full(self) -> bool:
        """Enough for one go."""
        return len(self.ordinals) >= self.RECORDS or self._characters >= self.CHARACTERS

    def add(self, found: Found, ordinal: int) -> None:
        """Take a record in; ValueError, and nothing taken, if its turns are out of order."""
        messages = found.messages
        if messages is not None and found.chosen is None:
            messages = in_order(messages)
        before = len(self.fields)
        if messages is None:
            self._texts.append(before)
            self._say(found.text or "", TEXT)
        else:
            self._texts.append(-1)
            self._listen("messages", messages)
        if found.chosen is not None:
            self._listen("chosen", found.chosen)
        if found.rejected is not None:
            self._listen("rejected", found.rejected)
        self._kinds.append(KINDS[0] if messages is None else KINDS[1] if found.chosen is None else KINDS[2])
        self._tools.append(_encodable(found.tools) if found.tools else None)
        self._metas.append(found.meta)
        self.ordinals.append(ordinal)
        self.siblings.append(found.siblings)
        self.scores.append(np.nan if found.score is None else found.score)
        self.counts_R.append(len(self.fields) - before)

    def _listen(self, name: str, messages: list[Message]) -> None:
        turns, record = self._turns[name], len(self.ordinals)
        for message in messages:
            role, calls, reasoning = message["role"], message["tool_calls"], message["reasoning"]
            turns.roles.append(role)
            turns.contents.append(len(self.fields))
            self._say(message["content"], turns.where + (CALLING if calls else _ROLE[role]))
            turns.reasonings.append(len(self.fields) if reasoning else -1)
            if reasoning:
                self._say(reasoning, turns.where + REASONING)
            if calls:
                calls = _encodable(calls)
                self._calls.setdefault(record, []).append(calls)
            turns.calls.append(calls or None)
        turns.owners.append(record)
        turns.ends.append(len(turns.roles))

    def _say(self, text: str, role: int) -> None:
        self.fields.append(text)
        self.roles_F.append(role)
        self._characters += len(text)

    def table(self) -> pa.Table:
        """The records as RECORD_COLUMNS."""
        columns = {
            "kind": strings(self._kinds),
            "text": strings([None if i < 0 else self.fields[i] for i in self._texts]),
            "tools": strings(self._tools),
            "meta": strings([_json(meta) for meta in self._metas]),
        }
        columns |= {name: self._turns_column(turns) for name, turns in self._turns.items()}
        return pa.table([columns[name] for name in RECORD_COLUMNS.names], schema=RECORD_COLUMNS)

    def _turns_column(self, turns: _Turns) -> pa.Array:
        said = [
            strings(turns.roles),
            strings([self.fields[i] for i in turns.contents]),
            strings([(self.fields[i] or None) if i >= 0 else None for i in turns.reasonings]),
            strings(turns.calls),
        ]
        values = pa.StructArray.from_arrays(said, fields=list(MESSAGE))
        absent = np.ones(len(self), bool)
        absent[turns.owners] = False
        ends = np.zeros(len(self) + 1, np.int32)
        ends[np.array(turns.owners, np.int64) + 1] = turns.ends
        return pa.ListArray.from_arrays(arrow(np.maximum.accumulate(ends)), values, mask=arrow(absent))

    def _said(self, start: int, end: int) -> tuple[list[str], list[int]]:
        """Some fields and their roles, without reasoning of which nothing is left."""
        said, roles = self.fields[start:end], self.roles_F[start:end]
        if "" in said:
            kept = [i for i, role in enumerate(roles) if said[i] or role & WHAT != REASONING]
            return [said[i] for i in kept], [roles[i] for i in kept]
        return said, roles

    def saying(self) -> list[bytes]:
        """What each record says, as bytes that are equal for records that say the same."""
        found = []
        start = 0
        for record, count in enumerate(self.counts_R):
            end = start + count
            if count == 1 and self.roles_F[start] == TEXT:
                found.append(self.fields[start].encode())
            else:
                said, roles = self._said(start, end)
                more = [*self._calls.get(record, ()), self._tools[record] or ""]
                found.append("\x1e".join([*said, bytes(roles).decode("latin-1"), *more]).encode())
            start = end
        return found


def _json(meta: dict[str, Any]) -> str:
    if not meta:
        return "{}"
    try:
        return orjson.dumps(meta).decode()
    except TypeError:  # half a character, or a type that JSON does not know
        return _encodable(json.dumps(meta, ensure_ascii=False, default=str))


def _encodable(text: str) -> str:
    """JSON may hold half a character (`\\ud83d`), which no UTF-8 file can."""
    return text.encode("utf-8", "replace").decode()
