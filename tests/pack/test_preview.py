"""Records as they will be trained, in the terminal: what is trained is seen to be, and nothing in a text acts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.pack.__main__ import asked, show
from pipeline.pack.config import PackConfig
from pipeline.pack.preview import CLOSE, OPEN, PLAIN, TRAINED, has_colour, preview
from pipeline.pack.show import pieces
from utils.chat import TURN
from utils.codec import Codec
from utils.console import UserError
from utils.records import write_records
from utils.stage import write_manifest

EVIL = "一\x1b[2J二\x07\r三\x9b31m\u202e四<|im_end|>"
CALL = json.dumps([{"name": "天气", "arguments": {}}], ensure_ascii=False)


def talk(number: int, *turns: tuple[str, str], **more: Any) -> dict[str, Any]:
    messages = [{"role": role, "content": said} | more.get(role, {}) for role, said in turns]
    return {"id": f"talk/a.json/{number}", "source": "talk", "kind": "chat", "messages": messages}


RECORDS = [
    talk(0, ("user", f"你好！{EVIL}"), ("assistant", "你好！我叫牙牙，\n很高兴认识你。")),
    talk(
        1,
        ("user", "天气？"),
        ("assistant", "看。"),
        ("tool", "晴"),
        ("assistant", "晴。"),
        assistant={"tool_calls": CALL},
    ),
    talk(2, ("user", "在吗？"), ("assistant", "")),
]


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    write_records(tmp_path / "clean/train/talk-00000.parquet", RECORDS)
    story = {"id": "book/b/0", "source": "book", "kind": "text", "text": "水在零度结冰。" * 500}
    write_records(tmp_path / "clean/valid/book-00000.parquet", [story])
    write_records(tmp_path / "clean/train/book-00000.parquet", [story | {"id": "book/b/1"}])
    write_manifest(tmp_path / "clean", "clean", {}, {}, {}, ("pyarrow",))
    return tmp_path / "clean"


def shown(clean: Path, tokenizer: Path, wanted: str, capsys: pytest.CaptureFixture[str]) -> str:
    preview(PackConfig(), clean, tokenizer, wanted)
    return capsys.readouterr().out


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR", "LANGUAGE", "LC_ALL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


def test_without_colour_what_is_trained_stands_in_brackets(
    clean: Path, tokenizer: Path, capsys: pytest.CaptureFixture[str]
):
    said = shown(clean, tokenizer, "talk/a.json/0", capsys)
    assert f"<|im_start|>assistant\n{OPEN}你好！我叫牙牙，\n很高兴认识你。<|im_end|>{CLOSE}\n" in said
    assert re.search(r"talk/a\.json/0 · train · finetune · \d+ tokens, \d+ trained", said)
    assert said.count(OPEN) == 2, "the legend and the one reply"


def test_a_text_does_nothing_but_be_read(clean: Path, tokenizer: Path, capsys: pytest.CaptureFixture[str]):
    said = shown(clean, tokenizer, "talk/a.json/0", capsys)
    assert "一\\x1b[2J二\\x07\\r三\\x9b31m\\u202e四<\\|im_end|><|im_end|>" in said, "the typed mark, then the real one"
    assert not set("\x1b\x07\r\x9b\u202e") & set(said)


def test_with_colour(clean: Path, tokenizer: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    said = shown(clean, tokenizer, "talk/a.json/0", capsys)
    assert f"{TRAINED}你好！我叫牙牙，{PLAIN}\n{TRAINED}很高兴认识你。{PLAIN}" in said, (
        "no colour runs over a line's end"
    )
    assert OPEN not in said
    monkeypatch.delenv("FORCE_COLOR")
    without = re.sub(r"\x1b\[[\d;]*m", "", said)
    plain = shown(clean, tokenizer, "talk/a.json/0", capsys)
    assert without == plain.replace(OPEN, "").replace(CLOSE, "")
    assert not set("\x07\r\x9b\u202e") & set(without)


def test_a_tool_s_result_is_not_trained_and_a_call_is(clean: Path, tokenizer: Path, capsys: pytest.CaptureFixture[str]):
    trained = re.findall(f"{OPEN}(.*?){CLOSE}", shown(clean, tokenizer, "talk/a.json/1", capsys), re.DOTALL)[1:]
    call = '\n<tool_call>\n{"name": "天气", "arguments": {}}\n</tool_call>'
    assert trained == [f"看。{call}<|im_end|>", f"晴。{call}<|im_end|>"]


def test_so_many_of_each_source_in_turn(clean: Path, tokenizer: Path, capsys: pytest.CaptureFixture[str]):
    said = shown(clean, tokenizer, "4", capsys)
    heads = re.findall(r"^(\S+/\d+) · (.*)$", said, re.MULTILINE)
    assert [name for name, _ in heads] == ["book/b/1", "talk/a.json/0", "talk/a.json/1", "talk/a.json/2"]
    assert heads[-1][1] == "train · left out: an assistant turn with neither words nor calls"
    assert " …[2,900]… " in said, "long texts are shortened,"
    whole = shown(clean, tokenizer, "book/b/0", capsys)
    assert "水在零度结冰。" * 500 in whole, "unless one is asked for"
    assert "book/b/0 · valid · pretrain" in whole


def test_what_is_not_there_is_named(clean: Path, tokenizer: Path, tmp_path: Path):
    with pytest.raises(UserError, match=r"talk/9: no such record.*book, talk"):
        preview(PackConfig(), clean, tokenizer, "talk/9")
    with pytest.raises(UserError, match="²: no such record"):
        preview(PackConfig(), clean, tokenizer, "²")
    with pytest.raises(UserError, match="run the clean stage"):
        preview(PackConfig(), tmp_path, tokenizer, "3")


def test_every_token_is_shown_once(tokenizer: Path):
    codec = Codec(tokenizer)
    edge, opens, ends = codec.end_of_text, codec.marks[TURN], codec.end_of_turn
    said, more = codec.encode("user\nfox").tolist(), codec.encode("dog").tolist()
    tokens = np.array([edge, more[0], opens, *said, ends, ends, opens, *more], codec.dtype)
    for bits in range(0, 1 << len(tokens), 97):
        trained = np.array([bits >> i & 1 for i in range(len(tokens))], bool)
        assert "".join(piece.text for piece in pieces(tokens, trained, codec)) == codec.decode(tokens.tolist())
    assert pieces(tokens[:0], None, codec) == []


def test_words_of_the_command():
    assert asked(["--preview"]) == ("3", [])
    assert asked(["a.yaml", "--preview", "7", "workspace=w"]) == ("7", ["a.yaml", "workspace=w"])
    assert asked(["--preview", "a.yaml"]) == ("3", ["a.yaml"])
    assert asked(["--preview=talk/a=b.json/3", "a.yaml"]) == ("talk/a=b.json/3", ["a.yaml"])
    assert asked(["a.yaml", "--preview", "talk/a.json/3"]) == ("talk/a.json/3", ["a.yaml"])
    with pytest.raises(UserError, match="give a number"):
        asked(["--preview", "-5"])


def test_colour_is_decided_as_elsewhere():
    assert has_colour({"TERM": "xterm"}, True)
    assert not has_colour({"TERM": "xterm"}, False)
    assert not has_colour({"NO_COLOR": "1"}, True)
    assert not has_colour({"TERM": "dumb"}, True)
    assert has_colour({"FORCE_COLOR": "1"}, False)


def test_the_command(
    clean: Path,
    tiny_tokenizer: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    (tmp_path / "tokenizer").symlink_to(tiny_tokenizer)
    (tmp_path / "r.yaml").write_text("{}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    show(["r.yaml", "workspace=.", "--preview", "1"])
    assert capsys.readouterr().out.startswith(f"{OPEN}参与训练{CLOSE}\n\nbook/b/1 · train · pretrain · ")
    assert not (tmp_path / "pack").exists()
