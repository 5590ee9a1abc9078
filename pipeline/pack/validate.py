"""A dialogue comes in; why it must not be trained on comes out, or None.

What a dialogue trains is what its assistant says, so this looks for what would teach something false: a reply to
nobody, an answer made up without its tool's result, a reply said twice, a call that is no JSON. A dialogue is left out
whole, because what follows a broken turn answers it. What is merely unusual stays: two questions in a row, a call that
nobody answers, a tool's result before the user speaks again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from utils.chat import ROLES, Message

SHORT = 10
"""Characters of a reply that may well answer two questions in a row: 好的。"""


def why_not(messages: Sequence[Message], tools: str | None = None) -> str | None:
    """Why a dialogue cannot be trained on: the first of REASONS that holds."""
    if any(message["role"] not in ROLES for message in messages):
        return "unknown_role"
    if all(message["role"] != "assistant" for message in messages):
        return "no_trained_token"
    if not _are_objects(tools):
        return "tools_not_json"
    return next((reason for reason, holds in REASONS.items() if holds(messages)), None)


def _has_empty_reply(messages: Sequence[Message]) -> bool:
    return any(_is_reply(m) and not (m["content"] or "").strip() and not _calls(m) for m in messages)


def _has_bad_call(messages: Sequence[Message]) -> bool:
    return any(m["tool_calls"] and (not _is_reply(m) or not _are_objects(m["tool_calls"])) for m in messages)


def _has_late_system(messages: Sequence[Message]) -> bool:
    return any(m["role"] == "system" for m in messages[1:])


def _has_stray_result(messages: Sequence[Message]) -> bool:
    """A tool speaks only after a call, or after another result."""
    before = [None, *messages]
    return any(
        m["role"] == "tool" and (b is None or not (b["role"] == "tool" or _calls(b)))
        for b, m in zip(before, messages, strict=False)
    )


def _speaks_unasked(messages: Sequence[Message]) -> bool:
    return next((m["role"] for m in messages if m["role"] in ("user", "assistant")), "") == "assistant"


def _repeats_itself(messages: Sequence[Message]) -> bool:
    """The same reply word for word twice in a row; a short one may answer two questions."""
    replies = [i for i, m in enumerate(messages) if _is_reply(m)]
    for i, j in pairwise(replies):
        said, again = (((messages[k]["content"] or "").strip(), messages[k]["tool_calls"]) for k in (i, j))
        if said == again and (len(said[0]) >= SHORT or _asked(messages, i) == _asked(messages, j)):
            return True
    return False


def _replies_twice(messages: Sequence[Message]) -> bool:
    """Two assistant turns with nobody between them."""
    return any(_is_reply(a) and _is_reply(b) for a, b in pairwise(messages))


REASONS: dict[str, Callable[[Sequence[Message]], bool]] = {
    "empty_reply": _has_empty_reply,
    "calls_not_json": _has_bad_call,
    "system_not_first": _has_late_system,
    "result_without_call": _has_stray_result,
    "reply_before_user": _speaks_unasked,
    "repeated_reply": _repeats_itself,
    "two_replies": _replies_twice,
}
"""What is wrong with the order or the words of turns whose roles are known."""


def _is_reply(message: Message) -> bool:
    return bool(message["role"] == "assistant")


def _calls(message: Message) -> bool:
    return bool(_is_reply(message) and message["tool_calls"] and message["tool_calls"].strip() != "[]")


def _asked(messages: Sequence[Message], reply: int) -> Any:
    """What stands before a reply; two replies in a row answer the same."""
    last = next((i for i in range(reply - 1, -1, -1) if not _is_reply(messages[i])), None)
    return None if last is None else (messages[last]["role"], messages[last]["content"])


def _are_objects(text: str | None) -> bool:
    """JSON of a list of objects, which UTF-8 can hold; nothing is fine too."""
    if not text:
        return True
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):  # half a character is a ValueError as well
        return False
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)
