"""Turns of a dialogue as the many formats write them, brought to the four roles and four fields of a record.

The order that is kept: an optional system turn, then user and assistant in turn, where tool turns may stand
between two assistant turns; the last word is the assistant's. What follows the last assistant turn is cut off,
because there is nothing to learn from it; any other order makes the record unreadable.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from pipeline.clean.protocol import Found, Message, careful, message

LISTS = ("conversations", "messages", "conversation")
"""Keys under which a list of turns stands."""

ROLE_NAMES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "tool_call": "assistant",
    "tool": "tool",
    "observation": "tool",
    "function": "tool",
    "tool_response": "tool",
}
FOLLOWS = {
    "": ("system", "user"),
    "system": ("user",),
    "user": ("assistant",),
    "assistant": ("user", "tool"),
    "tool": ("tool", "assistant"),
}
"""Who may speak after whom; the empty name is the beginning."""


@careful
def conversation(value: Mapping[str, Any]) -> Found:
    """A JSON object with a list of turns as a record, its roles in order, or why that cannot be."""
    key = next((name for name in LISTS if isinstance(value.get(name), list)), None)
    if key is None:
        raise ValueError(f"no list of turns under {' or '.join(LISTS)}")
    tools = value.get("tools")
    messages: list[Message] = []
    if isinstance(said := value.get("system"), str) and said.strip():
        messages.append(message("system", said))
    for one in value[key]:
        messages.append(turn(one))
        tools = tools or one.get("tools")
    meta = {k: v for k, v in value.items() if k not in (key, "tools", "system") and v not in (None, "")}
    return Found(messages=in_order(messages), tools=_listed(tools, "tools"), meta=meta)


def in_order(messages: Sequence[Message]) -> list[Message]:
    """The messages up to the assistant's last word; ValueError if someone speaks out of turn."""
    if len(messages) == 2 and messages[0]["role"] == "user" and messages[1]["role"] == "assistant":
        return list(messages)
    last = max((i for i, m in enumerate(messages) if m["role"] == "assistant"), default=-1)
    if last < 0:
        raise ValueError("no assistant turn")
    before = ""
    for one in messages[: last + 1]:
        if one["role"] not in FOLLOWS[before]:
            raise ValueError(f"{one['role']} turn {'after ' + before if before else 'at the beginning'}")
        before = one["role"]
    return list(messages[: last + 1])


def turn(value: Any) -> Message:
    """A turn as `role` and `content`, or `from` and `value`; ValueError if it is neither."""
    if not isinstance(value, Mapping):
        raise ValueError(f"a turn is a {type(value).__name__}, not an object")
    said = value.get("role") or value.get("from")
    name = str(said).strip().lower()
    role = ROLE_NAMES.get(name)
    if role is None:
        raise ValueError(f"unknown role {said!r}"[:100])
    content = value.get("content")
    if content is None:
        content = value.get("value")
    if content is not None and not isinstance(content, str):
        raise ValueError(f"the content of a turn is a {type(content).__name__}, not text")
    if name in ("function_call", "tool_call"):
        return message("assistant", "", tool_calls=_calls(content))
    if role != "assistant":
        return message(role, content or "")
    reasoning = value.get("reasoning_content") or value.get("reasoning")
    if reasoning is not None and not isinstance(reasoning, str):
        raise ValueError("the reasoning of a turn is not text")
    return message(role, content or "", reasoning, _calls(value.get("tool_calls")))


def _listed(value: Any, name: str) -> str | None:
    """A JSON list, given as such or as text; nothing if it is empty."""
    if isinstance(value, str):
        if not value.strip():
            return None
        try:
            value = json.loads(value)
        except ValueError:
            raise ValueError(f"{name} are not JSON") from None
    if not value:
        return None
    if not isinstance(value, list | dict):
        raise ValueError(f"{name} are a {type(value).__name__}, not a list")
    return json.dumps(value if isinstance(value, list) else [value], ensure_ascii=False, default=str)


def _calls(value: Any) -> str | None:
    """Calls as [{name, arguments}], whatever the format wraps around them."""
    listed = _listed(value, "tool calls")
    if listed is None:
        return None
    calls = []
    for call in json.loads(listed):
        inner = call.get("function", call) if isinstance(call, dict) else None
        if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
            raise ValueError("a tool call has no name")
        arguments = inner.get("arguments", inner.get("parameters", {}))
        if isinstance(arguments, str):
            with suppress(ValueError):  # a call may pass plain text
                arguments = json.loads(arguments)
        calls.append({"name": inner["name"], "arguments": arguments})
    return json.dumps(calls, ensure_ascii=False)
