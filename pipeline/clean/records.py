"""From what a reader found to a clean record: normalised, with its id, its group and the hash of its content."""

from __future__ import annotations

import json
import re

import xxhash

from pipeline.clean.inputs import Raw
from pipeline.clean.normalise import clean_text, clean_turn
from pipeline.clean.protocol import Found, Message
from pipeline.clean.turns import in_order
from utils.records import Record

_NOT_WORDS = re.compile(r"[\W_]+")


def record_of(found: Found, raw: Raw, ordinal: int) -> Record:
    """A record by contract 2; ValueError if a dialogue is out of order or a field is not what it should be."""
    record: Record = {
        "id": f"{raw.source}/{raw.label}/{ordinal}",
        "source": raw.source,
        "kind": "chat" if found.messages is not None else "text",
        "text": None,
        "messages": None,
        "tools": found.tools,
        "chosen": None,
        "rejected": None,
        "cluster_size": 1,
        "meta": _encodable(json.dumps(found.meta, ensure_ascii=False, default=str)),
    }
    if found.messages is not None:
        record["messages"] = [_clean_message(m) for m in in_order(found.messages)]
        record["tools"] = _encodable(found.tools) if found.tools else None
    else:
        record["text"] = clean_text(found.text or "")
    record["group"] = group_of(record, f"{raw.source}/{raw.name}/{found.siblings}" if found.siblings else "")
    return record


def group_of(record: Record, siblings: str = "") -> str:
    """Records that share this never straddle splits: one first question, one document."""
    if siblings:
        said = siblings
    elif record["kind"] == "text":
        said = record["text"]
    else:
        asked = next((m["content"] for m in record["messages"] if m["role"] == "user"), "")
        said = _NOT_WORDS.sub("", asked.casefold()) or asked
    return xxhash.xxh3_64_hexdigest(said.encode())


def content_hash(record: Record) -> bytes:
    """16 bytes that are equal for records that say the same, whatever file they stand in."""
    said = [record["text"], record["messages"], record["tools"]]
    return xxhash.xxh3_128_digest(json.dumps(said, ensure_ascii=False, sort_keys=True).encode())


def _clean_message(message: Message) -> Message:
    reasoning = message.get("reasoning")
    calls = message.get("tool_calls")
    return {
        "role": message["role"],
        "content": clean_turn(message["content"]),
        "reasoning": clean_turn(reasoning) or None if reasoning else None,
        "tool_calls": _encodable(calls) if calls else None,
    }


def _encodable(text: str) -> str:
    """JSON may hold half a character (`\\ud83d`), which no UTF-8 file can."""
    return text.encode("utf-8", "replace").decode()
