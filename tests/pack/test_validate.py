"""What must not be trained on: every valid dialogue passes, and each defect put into one is caught by its name."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.pack.validate import REASONS, SHORT, why_not

Turns = list[dict[str, Any]]
CALL = json.dumps([{"name": "天气", "arguments": {"城市": "北京"}}], ensure_ascii=False)


def turn(role: str, content: str | None, calls: str | None = None) -> dict[str, Any]:
    return {"role": role, "content": content, "reasoning": None, "tool_calls": calls}


@st.composite
def dialogues(draw: st.DrawFn) -> Turns:
    """Valid ones of every shape: a system turn or none, rounds with and without tools, unusual but honest orders."""
    words = st.text("天地玄黄ab \n", max_size=20)
    turns = [turn("system", draw(words))] if draw(st.booleans()) else []
    for number in range(draw(st.integers(1, 4))):
        turns += [turn("user", f"{draw(words)}{number}") for _ in range(draw(st.integers(1, 2)))]
        for _ in range(draw(st.integers(0, 2))):
            turns.append(
                turn("assistant", draw(st.sampled_from([None, "", "我查查。"])), CALL.replace("北", str(len(turns))))
            )
            turns += [turn("tool", draw(words)) for _ in range(draw(st.integers(1, 2)))]
        turns.append(turn("assistant", draw(st.sampled_from(["好的。", f"第{number}个回答，各不相同，足够长。"]))))
        if draw(st.booleans()):
            turns[-1]["content"] += f" {number}"
    return turns + [turn("user", "谢谢")] * draw(st.integers(0, 1))


def answers(turns: Turns) -> list[int]:
    """Replies that call nothing."""
    return [i for i, one in enumerate(turns) if one["role"] == "assistant" and not one["tool_calls"]]


def empty(turns: Turns, at: int) -> None:
    turns[at] |= {"content": " \n　", "tool_calls": "[]"}


def said_twice(turns: Turns, at: int) -> None:
    turns.insert(at + 1, dict(turns[at]))


def same_round_again(turns: Turns, at: int) -> None:
    turns[at]["tool_calls"] = None
    turns[at]["content"] = "好。"
    turns[at + 1 : at + 1] = [turn("user", turns[at - 1]["content"]), turn("assistant", " 好。")]
    turns[at - 1]["role"] = "user"


def same_long_reply(turns: Turns, at: int) -> None:
    turns[at] |= {"content": "长" * SHORT, "tool_calls": None}
    turns[at + 1 : at + 1] = [turn("user", "另一个问题"), turn("assistant", "长" * SHORT)]


DEFECTS: dict[str, list[Callable[[Turns, int], None]]] = {
    "unknown_role": [
        lambda turns, at: turns[at - 1].update(role="boss"),
        lambda turns, at: turns[at].update(role=None),
    ],
    "empty_reply": [empty, lambda turns, at: turns[at].update(content=None, tool_calls=None)],
    "calls_not_json": [
        lambda turns, at: turns[at].update(tool_calls=CALL[:-1]),
        lambda turns, at: turns[at].update(tool_calls='{"name": "天气"}'),
        lambda turns, at: turns[at].update(content="好", tool_calls="null"),
    ],
    "system_not_first": [lambda turns, at: turns.insert(at, turn("system", "你是牙牙。"))],
    "result_without_call": [
        lambda turns, at: turns.insert(turns[0]["role"] == "system", turn("tool", "晴")),
        lambda turns, at: turns.insert(at + 1, turn("tool", "晴")),
        lambda turns, at: turns.insert(at + 1, turn("user", "天气？")) or turns.insert(at + 2, turn("tool", "晴")),
    ],
    "repeated_reply": [said_twice, same_round_again, same_long_reply],
}


@given(dialogues())
def test_a_valid_dialogue_passes(turns: Turns):
    assert why_not(turns, f"[{CALL[1:-1]}]") is None


@pytest.mark.parametrize(("reason", "number"), [(name, i) for name, some in DEFECTS.items() for i in range(len(some))])
@given(turns=dialogues(), draw=st.data())
def test_each_defect_is_caught_wherever_it_is(reason: str, number: int, turns: Turns, draw: st.DataObject):
    turns = [dict(one) for one in turns]
    DEFECTS[reason][number](turns, draw.draw(st.sampled_from(answers(turns))))
    assert why_not(turns) == reason


@given(dialogues())
def test_nobody_has_said_anything_to_learn(turns: Turns):
    assert why_not([one for one in turns if one["role"] != "assistant"]) == "no_trained_token"
    assert why_not([]) == "no_trained_token"


@given(dialogues())
def test_a_reply_before_the_user_has_spoken(turns: Turns):
    at = 1 if turns[0]["role"] == "system" else 0
    greeting = [*turns[:at], turn("assistant", "你好，有什么可以帮你？"), *turns[at:]]
    assert why_not(greeting) == "reply_before_user"


def test_two_replies_in_a_row():
    turns = [turn("user", "天气？"), turn("assistant", None, CALL), turn("assistant", "晴。")]
    assert why_not(turns) == "two_replies", "made up without the tool's result"


def test_tools_have_to_be_objects():
    turns = [turn("user", "天气？"), turn("assistant", "晴。")]
    for tools in ("天气", '"天气"', '["天气"]', '{"name": "天气"}', '[{"name": "\\ud800"}]', "[" * 100_000):
        assert why_not(turns, tools) == "tools_not_json"
    for fine in (None, "", "[]", CALL):
        assert why_not(turns, fine) is None


def test_a_short_reply_may_answer_two_questions():
    turns = [
        turn("user", "一加一等于二吗？"),
        turn("assistant", "对。"),
        turn("user", "二加二呢，四？"),
        turn("assistant", "对。"),
    ]
    assert why_not(turns) is None
    turns[2]["content"] = turns[0]["content"]
    assert why_not(turns) == "repeated_reply"


def test_every_reason_has_its_words():
    named = {*DEFECTS, "no_trained_token", "reply_before_user", "two_replies", "tools_not_json"}
    assert named | {"empty_text", "preference", "unknown_kind"} == set(REASONS)
