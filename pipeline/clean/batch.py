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
from utils.records import KINDS, MESSAGE

TEXT, USER, ASSISTANT, OTHER = range(4)
"""What a field is: a document, a question, a reply that is to be learned, or anything else."""

_ROLE = {"user": USER, "assistant": ASSISTANT}


@dataclass
class _Turns:
    """One of the columns that hold lists of turns."""

    ends: list[int] = field(default_factory=lambda: [0])
    absent: list[bool] = field(default_factory=list)
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
        self._turns = {name: _Turns() for name in ("messages", "chosen", "rejected")}
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
        self._listen("chosen", found.chosen)
        self._listen("rejected", found.rejected)
        self._kinds.append(KINDS[0] if messages is None else KINDS[1] if found.chosen is None else KINDS[2])
        self._tools.append(_encodable(found.tools) if found.tools else None)
        self._metas.append(found.meta)
        self.ordinals.append(ordinal)
        self.siblings.append(found.siblings)
        self.scores.append(np.nan if found.score is None else found.score)
        self.counts_R.append(len(self.fields) - before)

    def _listen(self, name: str, messages: list[Message] | None) -> None:
        turns = self._turns[name]
        turns.absent.append(messages is None)
        for message in messages or ():
            role, calls, reasoning = message["role"], message["tool_calls"], message["reasoning"]
            turns.roles.append(role)
            turns.contents.append(len(self.fields))
            self._say(message["content"], OTHER if calls else _ROLE.get(role, OTHER))
            turns.reasonings.append(len(self.fields) if reasoning else -1)
            if reasoning:
                self._say(reasoning, OTHER)
            turns.calls.append(_encodable(calls) if calls else None)
        turns.ends.append(len(turns.roles))

    def _say(self, text: str, role: int) -> None:
        self.fields.append(text)
        self.roles_F.append(role)
        self._characters += len(text)

    def table(self) -> pa.Table:
        """The records as RECORD_COLUMNS."""
        columns = {
            "kind": pa.array(self._kinds, pa.string()),
            "text": pa.array([None if i < 0 else self.fields[i] for i in self._texts], pa.string()),
            "tools": pa.array(self._tools, pa.string()),
            "meta": pa.array([_json(meta) for meta in self._metas], pa.string()),
        }
        columns |= {name: self._turns_column(turns) for name, turns in self._turns.items()}
        return pa.table(columns).select(RECORD_COLUMNS.names).cast(RECORD_COLUMNS)

    def _turns_column(self, turns: _Turns) -> pa.Array:
        said = [
            pa.array(turns.roles, pa.string()),
            pa.array([self.fields[i] for i in turns.contents], pa.string()),
            pa.array([(self.fields[i] or None) if i >= 0 else None for i in turns.reasonings], pa.string()),
            pa.array(turns.calls, pa.string()),
        ]
        values = pa.StructArray.from_arrays(said, fields=list(MESSAGE))
        ends = pa.array(turns.ends, pa.int32())
        return pa.ListArray.from_arrays(ends, values, mask=pa.array(turns.absent, pa.bool_()))

    def saying(self) -> list[bytes]:
        """What each record says, as bytes that are equal for records that say the same."""
        found = []
        start = 0
        turns = {name: _calls_by_end(t) for name, t in self._turns.items()}
        for record, count in enumerate(self.counts_R):
            said = self.fields[start : start + count]
            roles = self.roles_F[start : start + count]
            start += count
            if count == 1 and roles[0] == TEXT:
                found.append(said[0].encode())
                continue
            more = [column[record] for column in turns.values() if column[record]]
            whole = [*said, bytes(roles).hex(), *more, self._tools[record] or ""]
            found.append("\x1e".join(whole).encode())
        return found


def _calls_by_end(turns: _Turns) -> list[str]:
    """Of each record what its turns hold beyond fields: roles that are neither user's nor assistant's, and calls."""
    plain = all(call is None for call in turns.calls) and set(turns.roles) <= {"user", "assistant"}
    if plain:
        return [""] * (len(turns.ends) - 1)
    bounds = zip(turns.ends, turns.ends[1:], strict=False)
    return [json.dumps([turns.roles[a:b], turns.calls[a:b]]) if b > a else "" for a, b in bounds]


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
