"""Contract 3: how a text and a conversation become tokens, and which of them are trained. The one truth.

Messages go in, segments come out: pieces of text and marks, each with whether the model is trained to say it.
Segments are encoded one by one (`utils/codec.py`), so a mark that a user types stays text. The form is
append-only: the segments of n turns are a prefix of those of n + 1. `TEMPLATE` says the same in Jinja for the
tools that people already use; a test holds the two together.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

MARKS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|pad|>",
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
)
"""Their ids are 1 to 10, in this order, behind `<unk>` 0."""

END_OF_TEXT, TURN, END_OF_TURN, PAD, THINK, END_THINK, CALL, END_CALL, RESPONSE, END_RESPONSE = MARKS
MARK_IDS = {mark: i for i, mark in enumerate(MARKS, start=1)}
ROLES = ("system", "user", "assistant", "tool")

TOOLS_HEADER = "# Tools\n"
"""Stands in the system turn before one JSON line for each tool."""

Message = dict[str, Any]


class Segment(NamedTuple):
    """A mark, or a piece of text that holds none."""

    text: str
    is_mark: bool = False
    trained: bool = False


def conversation(messages: Sequence[Message], tools: str | None = None, ask: bool = False) -> list[Segment]:
    """A conversation as segments; `ask` opens the assistant's next turn for the model to fill."""
    segments: list[Segment] = []
    if listed := json.loads(tools) if tools else []:
        first_is_system = bool(messages) and messages[0]["role"] == "system"
        said = (messages[0].get("content") or "") if first_is_system else ""
        lines = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in listed)
        segments += _turn("system", (f"{said}\n\n" if said else "") + TOOLS_HEADER + lines)
        messages = messages[1:] if first_is_system else messages
    for message in messages:
        segments += _message(message)
    if ask:
        segments += [Segment(TURN, True), Segment("assistant\n")]
    return segments


def _message(message: Message) -> list[Segment]:
    role, content = message["role"], message.get("content") or ""
    if role == "assistant":
        said = [Segment(text, is_mark, True) for text, is_mark in _assistant(message, content) if text]
        end = Segment(END_OF_TURN, True, True)
        return [Segment(TURN, True), Segment("assistant\n"), *said, end, Segment("\n")]
    if role == "tool":
        inside = [Segment(RESPONSE, True), Segment(f"\n{content}\n"), Segment(END_RESPONSE, True)]
        return [Segment(TURN, True), Segment("tool\n"), *inside, Segment(END_OF_TURN, True), Segment("\n")]
    return _turn(role, content)


def _turn(role: str, content: str) -> list[Segment]:
    return [Segment(TURN, True), Segment(f"{role}\n{content}"), Segment(END_OF_TURN, True), Segment("\n")]


def spoken(message: Message) -> str:
    """What an assistant's turn says, marks as they are written: its thought, its words, its calls."""
    return "".join(text for text, _ in _assistant(message, message.get("content") or ""))


def _assistant(message: Message, content: str) -> Iterator[tuple[str, bool]]:
    """What it says, and whether that is a mark."""
    if reasoning := message.get("reasoning"):
        yield from ((THINK, True), (f"\n{reasoning}\n", False), (END_THINK, True), ("\n\n", False))
    yield content, False
    calls = message.get("tool_calls")
    for number, call in enumerate(json.loads(calls) if calls else []):
        yield "\n" if number or content else "", False
        yield from ((CALL, True), (f"\n{json.dumps(call, ensure_ascii=False)}\n", False), (END_CALL, True))


TEMPLATE = """\
{%- set ns = namespace(start=0) -%}
{%- if tools -%}
{{- '<|im_start|>system\\n' -}}
{%- if messages and messages[0]['role'] == 'system' -%}
{%- set ns.start = 1 -%}
{%- if messages[0]['content'] -%}{{- messages[0]['content'] + '\\n\\n' -}}{%- endif -%}
{%- endif -%}
{{- '# Tools' -}}
{%- for tool in tools -%}{{- '\\n' + (tool | tojson) -}}{%- endfor -%}
{{- '<|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages[ns.start:] -%}
{%- set content = message['content'] or '' -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['role'] == 'assistant' -%}
{%- generation -%}
{%- if message['reasoning'] -%}{{- '<think>\\n' + message['reasoning'] + '\\n</think>\\n\\n' -}}{%- endif -%}
{{- content -}}
{%- if message['tool_calls'] -%}
{%- set calls = message['tool_calls'] -%}
{%- for call in calls -%}
{%- if content or not loop.first -%}{{- '\\n' -}}{%- endif -%}
{{- '<tool_call>\\n' + ((call['function'] if call['function'] is defined else call) | tojson) + '\\n</tool_call>' -}}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>' -}}
{%- endgeneration -%}
{{- '\\n' -}}
{%- elif message['role'] == 'tool' -%}
{{- '<tool_response>\\n' + content + '\\n</tool_response><|im_end|>\\n' -}}
{%- else -%}
{{- content + '<|im_end|>\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""
"""The same in Jinja, published with every tokenizer; `{% generation %}` marks what is trained."""
