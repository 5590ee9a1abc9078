"""The published template says what `utils/chat.py` says, to the last id and the last trained token, on every branch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from utils.chat import MARKS, TEMPLATE, conversation
from utils.codec import Codec

transformers = pytest.importorskip("transformers")

CALL = {"name": "weather", "arguments": {"city": "北京", "days": 2, "note": "a \"b\" <c> & 'd'"}}
TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "天气 <now>", "parameters": {"type": "object"}},
}

BRANCHES: dict[str, tuple[list[dict[str, Any]], list[Any]]] = {
    "one turn": ([{"role": "user", "content": "你好"}, {"role": "assistant", "content": "你好呀！"}], []),
    "system": ([{"role": "system", "content": "你是牙牙"}, {"role": "user", "content": "hi"}], []),
    "tools": ([{"role": "user", "content": "北京天气"}], [TOOL, TOOL]),
    "system and tools": ([{"role": "system", "content": "听话"}, {"role": "user", "content": "在吗"}], [TOOL]),
    "empty system and tools": ([{"role": "system", "content": ""}, {"role": "user", "content": "在吗"}], [TOOL]),
    "reasoning": (
        [{"role": "user", "content": "1+1"}, {"role": "assistant", "content": "2", "reasoning": "想\n\n想"}],
        [],
    ),
    "call": ([{"role": "user", "content": "天气"}, {"role": "assistant", "content": "", "tool_calls": [CALL]}], [TOOL]),
    "content and calls": (
        [{"role": "user", "content": "天气"}, {"role": "assistant", "content": "查一下", "tool_calls": [CALL, CALL]}],
        [TOOL],
    ),
    "all of it": (
        [
            {"role": "user", "content": "天气"},
            {"role": "assistant", "content": "", "reasoning": "要查", "tool_calls": [CALL]},
            {"role": "tool", "content": '{"temp": 3}'},
            {"role": "tool", "content": ""},
            {"role": "assistant", "content": "3 度。\n"},
            {"role": "user", "content": " 谢谢 "},
            {"role": "assistant", "content": "不客气"},
        ],
        [TOOL],
    ),
    "nothing said": ([{"role": "user", "content": ""}, {"role": "assistant", "content": ""}], []),
}


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def codec(folder: Path) -> Codec:
    return Codec(folder)


def as_record(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages as a record holds them: calls as JSON."""
    return [
        m | {"tool_calls": json.dumps(m["tool_calls"], ensure_ascii=False)} if "tool_calls" in m else m
        for m in messages
    ]


def agree(tokenizer: Any, codec: Codec, messages: list[dict[str, Any]], tools: list[Any], ask: bool) -> None:
    segments = conversation(as_record(messages), json.dumps(tools, ensure_ascii=False), ask)
    ids, spans = codec.encode_segments(segments)
    mask = [0] * len(ids)
    for start, end in spans:
        mask[start:end] = [1] * (end - start)
    theirs = tokenizer.apply_chat_template(
        messages,
        tools=tools,
        add_generation_prompt=ask,
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    written = tokenizer.apply_chat_template(messages, tools=tools, add_generation_prompt=ask, tokenize=False)
    assert written == "".join(segment.text for segment in segments)
    assert theirs["input_ids"] == ids.tolist()
    assert theirs["assistant_masks"] == mask


@pytest.mark.parametrize("ask", [False, True])
@pytest.mark.parametrize("name", BRANCHES)
def test_every_branch(tokenizer: Any, codec: Codec, name: str, ask: bool) -> None:
    messages, tools = BRANCHES[name]
    agree(tokenizer, codec, messages, tools, ask)


def test_calls_wrapped_as_functions_are_the_same_calls(tokenizer: Any) -> None:
    messages, _ = BRANCHES["call"]
    wrapped = [messages[0], messages[1] | {"tool_calls": [{"id": "1", "type": "function", "function": CALL}]}]
    plain = tokenizer.apply_chat_template(messages, tokenize=False)
    assert tokenizer.apply_chat_template(wrapped, tokenize=False) == plain


def test_published_as_written(folder: Path) -> None:
    assert (folder / "chat_template.jinja").read_text(encoding="utf-8") == TEMPLATE


said = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\u2581"), max_size=12) | st.sampled_from(
    ["\n", "\n\n", " ", "  x", "x\n", "\nx", "你好\n\n", "assistant\n", "\t", "😀\n", "</s>", "{{ x }}", "{% if %}"]
)
texts = st.lists(said, max_size=4).map("".join).filter(lambda text: not any(mark in text for mark in MARKS))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts, st.lists, max_leaves=3
)
objects = st.dictionaries(texts, values, max_size=3)
calls = st.builds(lambda name, arguments: {"name": name, "arguments": arguments}, texts, objects)
maybe = st.none() | texts


@st.composite
def dialogues(draw: Any) -> tuple[list[dict[str, Any]], list[Any]]:
    messages = []
    if draw(st.booleans()):
        messages.append({"role": "system", "content": draw(maybe)})
    for role in draw(st.lists(st.sampled_from(["user", "assistant", "tool"]), min_size=1, max_size=5)):
        message: dict[str, Any] = {"role": role, "content": draw(maybe)}
        if role == "assistant":
            if draw(st.booleans()):
                message["reasoning"] = draw(maybe)
            if draw(st.booleans()):
                message["tool_calls"] = draw(st.lists(calls, max_size=3))
        messages.append(message)
    return messages, draw(st.lists(objects, max_size=2))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(dialogues(), st.booleans())
def test_any_conversation(tokenizer: Any, codec: Codec, dialogue: tuple[Any, Any], ask: bool) -> None:
    agree(tokenizer, codec, *dialogue, ask)


@settings(max_examples=100, deadline=None)
@given(dialogues())
def test_append_only(dialogue: tuple[Any, Any]) -> None:
    messages, tools = dialogue
    record, listed = as_record(messages), json.dumps(tools)
    whole = conversation(record, listed)
    for turns in range(1, len(messages)):
        shorter = conversation(record[:turns], listed)
        assert whole[: len(shorter)] == shorter
