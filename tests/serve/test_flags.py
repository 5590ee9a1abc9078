"""What a person types reaches the chat as typed; what cannot be understood is told in one line."""

from __future__ import annotations

from typing import Any

import fire
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.serve.config import ChatConfig
from pipeline.serve.flags import literal_words, option_help
from utils.console import UserError


def through_fire(*words: str) -> dict[str, Any]:
    """The options that arrive behind Fire."""
    got: dict[str, Any] = {}
    fire.Fire(lambda **options: got.update(options), command=literal_words(words, ChatConfig, "cli_demo.py"), name="x")
    return got


@given(st.text(alphabet=st.characters(), max_size=12), st.booleans())
@example("3", True)
@example("1e5", False)
@example("True", True)
@example("None", True)
@example("[1]", False)
@example("{'a': 1}", True)
@example("--help", True)
@example("--model=x", True)
@example("-", True)
@example("--", True)
@example("", False)
@example("'\"\\", False)
@example("\udcff", True)
@example("a=b=c", False)
@settings(max_examples=60, deadline=None)
def test_chat_text_stays_text(text: str, apart: bool) -> None:
    words = ["--once", text] if apart else [f"--once={text}"]
    assert through_fire(*words, "--temperature", "1")["once"] == text


def test_values_get_the_type_of_their_field() -> None:
    got = through_fire("--temperature", "1", "--top-p=.5", "--max_new_tokens=1e2", "--seed", "3", "--model", "12")
    assert got == {"temperature": 1.0, "top_p": 0.5, "max_new_tokens": 100, "seed": 3, "model": "12"}
    assert isinstance(got["temperature"], float)
    ChatConfig(**got)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--temprature", "1"], "did you mean --temperature"),
        (["--qqq"], "there are: --model, --once"),
        (["--once"], "--once: give its value"),
        (["你好"], '--once "你好"'),
        (["--temperature", "hot"], "--temperature: expected a number, got 'hot'"),
        (["--max_new_tokens", "1.5"], "expected a whole number"),
        (["--device", "tpu"], "expected one of auto, cpu, cuda, mps"),
        (["--seed", "x"], "--seed: expected a whole number"),
    ],
)
def test_what_is_not_understood_is_told_in_one_line(words: list[str], told: str) -> None:
    with pytest.raises(UserError) as error:
        literal_words(words, ChatConfig, "cli_demo.py")
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_help_names_every_option() -> None:
    assert literal_words(["--model", "x", "--help"], ChatConfig, "x") == ["--help"]
    text = option_help(ChatConfig, "cli_demo.py")
    assert all(f"--{name}" in text for name in ChatConfig.__dataclass_fields__)
    assert "--temperature=0.0" in text
    assert "learned by heart" in text
