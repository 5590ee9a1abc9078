"""A dialogue comes in; why it must not be trained on comes out, or None.

What a dialogue trains is what its assistant says, so this looks for what would teach something false: a reply to
nobody, an answer made up without its tool's result, a reply said twice, a call that is no JSON. A dialogue is left out
whole, because what follows a broken turn answers it. What is merely unusual stays: two questions in a row, a call that
nobody answers, a tool's result before the user speaks again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise

from utils.chat import ROLES, Message
from utils.console import tell

_ROLES = frozenset(ROLES)
SHORT = 10
"""Characters of a reply that may well answer two questions in a row: 好的。"""

IN_ORDER = (["user", "assistant"], ["system", "user", "assistant"])
"""What most dialogues are: nobody can speak out of turn or repeat himself."""

REASONS = {
    "empty_text": ("no text", "没有文字"),
    "preference": ("preference pairs: not packed yet", "偏好对：暂不打包"),
    "unknown_kind": ("neither text nor chat", "既非文本也非对话"),
    "unknown_role": (
        "a role that is none of system, user, assistant, tool",
        "角色不是 system、user、assistant、tool 之一",
    ),
    "no_trained_token": ("the assistant says nothing", "助手没有说话"),
    "tools_not_json": ("its tools are no JSON list of objects", "工具不是由对象组成的 JSON 列表"),
    "calls_not_json": ("a tool call is no JSON list of objects", "工具调用不是由对象组成的 JSON 列表"),
    "empty_reply": ("an assistant turn with neither words nor calls", "助手的一轮既无文字也无调用"),
    "system_not_first": ("a system turn that is not the first", "system 不在开头"),
    "result_without_call": ("a tool's result that no call asked for", "没有调用却有工具结果"),
    "reply_before_user": ("a reply before the user has spoken", "用户还没说话，助手先答"),
    "repeated_reply": ("the same reply word for word twice in a row", "前后两次回答一字不差"),
    "two_replies": ("two assistant turns with nobody between them", "助手连说两轮"),
}
"""Why a record is left out, in words; the first three are not told by `why_not`."""


def in_words(reason: str) -> str:
    """A reason, in the reader's language."""
    return tell(*REASONS[reason])


def why_not(messages: Sequence[Message], tools: str | None = None) -> str | None:
    """Why a dialogue cannot be trained on: the first reason that holds; None if there is none."""
    roles = [message["role"] if message else "" for message in messages]
    if not set(roles) <= _ROLES:
        return "unknown_role"
    if "assistant" not in roles:
        return "no_trained_token"
    if tools and not _are_objects(tools):
        return "tools_not_json"
    replies = [message for message in messages if message["role"] == "assistant"]
    if any(not (m["content"] or "").strip() and not _calls(m) for m in replies):
        return "empty_reply"
    if any(m["tool_calls"] and not _are_objects(m["tool_calls"]) for m in replies):
        return "calls_not_json"
    return None if roles in IN_ORDER else _out_of_order(messages, roles)


def _out_of_order(messages: Sequence[Message], roles: Sequence[str]) -> str | None:
    if "system" in roles[1:]:
        return "system_not_first"
    if any(now == "tool" and not (i and _may_answer(messages[i - 1])) for i, now in enumerate(roles)):
        return "result_without_call"
    if "user" not in roles[: roles.index("assistant")]:
        return "reply_before_user"
    if _repeats_itself(messages):
        return "repeated_reply"
    return "two_replies" if ("assistant", "assistant") in pairwise(roles) else None


def _may_answer(before: Message) -> bool:
    """A tool speaks only after a call, or after another result."""
    return before["role"] == "tool" or (before["role"] == "assistant" and _calls(before))


def _repeats_itself(messages: Sequence[Message]) -> bool:
    """The same reply word for word twice in a row; a short one may answer two questions."""
    asked, before, answered = None, None, None
    for message in messages:
        said = (message["content"] or "").strip()
        if message["role"] != "assistant":
            asked = said
        elif (said, message["tool_calls"]) == before and (len(said) >= SHORT or asked == answered):
            return True
        else:
            before, answered = (said, message["tool_calls"]), asked
    return False


def _calls(message: Message) -> bool:
    return (message["tool_calls"] or "").strip() not in ("", "[]", "null")


def _are_objects(text: str) -> bool:
    """JSON of a list of objects, which UTF-8 can hold."""
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):  # half a character is a ValueError as well
        return False
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)
