"""A small corpus of every kind, cleaned, and the tokenizer that was learned from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.clean.config import CleanConfig, Input
from pipeline.clean.stage import run as clean
from pipeline.tokenizer.config import TokenizerConfig
from pipeline.tokenizer.stage import run as tokenize

SUBJECTS = ["猫", "狗", "月亮", "春天", "大海", "茶", "书", "面包", "雪", "风筝"]
PARTS = [
    ("{}是什么？", "{}是人们常常说起的东西，小时候就认识它了。"),
    ("你喜欢{}吗？", "喜欢呀！说到{}，我总是很开心，你呢？"),
    ("Tell me about {}.", "Of course: {} is one of the first words a child learns, 3.14 times a day."),
]


def write_corpus(folder: Path) -> list[Input]:
    """Thirty dialogues, one with a tool, and ten documents."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [(q.format(s), a.format(s)) for s in SUBJECTS for q, a in PARTS]
    lines: list[dict[str, Any]] = [
        {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]} for q, a in rows
    ]
    call = {"name": "weather", "arguments": {"city": "北京"}}
    lines.append(
        {
            "tools": [{"name": "weather", "description": "查天气"}],
            "messages": [
                {"role": "user", "content": "北京天气怎么样？"},
                {"role": "assistant", "content": "", "reasoning_content": "要查一下天气。", "tool_calls": [call]},
                {"role": "tool", "content": '{"temperature": 3}'},
                {"role": "assistant", "content": "现在 3 度，多穿点。"},
            ],
        }
    )
    chat = folder / "chat.jsonl"
    chat.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    text = folder / "story.txt"
    text.write_text(
        "\n\n".join(f"{s}的故事\n从前有一个人，很喜欢{s}，天天看着它。" for s in SUBJECTS), encoding="utf-8"
    )
    return [Input(str(chat)), Input(str(text))]


@pytest.fixture(scope="session")
def cleaned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished clean stage."""
    home = tmp_path_factory.mktemp("tokenizer")
    clean(CleanConfig(inputs=write_corpus(home / "raw"), valid=0), home / "clean")
    return home / "clean"


@pytest.fixture(scope="session")
def folder(cleaned: Path) -> Path:
    """A finished tokenizer stage."""
    output = cleaned.parent / "tokenizer"
    tokenize(TokenizerConfig(vocab_size=6400), cleaned, output)
    return output
