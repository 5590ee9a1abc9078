"""A conversation as the model sees it: turns, room, and text that never breaks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import model as families
from model.decode import Sampling
from pipeline.serve.config import ChatConfig
from pipeline.serve.session import Session, device_of, sampling_of
from tests.conftest import TAUGHT, tokenizer_of_another_size
from utils.chat import conversation
from utils.codec import Codec
from utils.console import UserError, is_chinese

Opened = Callable[..., tuple[Session, list[str]]]


@pytest.fixture
def opened(taught_model: Path) -> Opened:
    def open_it(**options: Any) -> tuple[Session, list[str]]:
        told: list[str] = []
        return Session.open(taught_model, ChatConfig(**options), told.append), told

    threads = torch.get_num_threads()
    yield open_it
    torch.set_num_threads(threads)


def test_it_says_what_it_was_taught(opened: Opened) -> None:
    for question, answer in TAUGHT.items():
        session, told = opened()
        pieces = list(session.say(question))
        assert "".join(pieces) == answer
        assert "\ufffd" not in "".join(pieces)
        assert told == []
        assert session.messages == [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def test_it_remembers_until_told_to_forget(opened: Opened, codec: Codec) -> None:
    session, _ = opened(system="简短")
    "".join(session.say("你好！"))
    ids = session._prompt("水？")
    said = [
        {"role": "system", "content": "简短"},
        {"role": "user", "content": "你好！"},
        session.messages[1],
        {"role": "user", "content": "水？"},
    ]
    assert ids == codec.encode_segments(conversation(said, ask=True))[0].tolist()
    session.new()
    assert session.messages == []


def test_the_oldest_turns_go_first_and_it_says_so_once(opened: Opened) -> None:
    session, told = opened(max_new_tokens=40, system="简短")
    for number in range(12):
        "".join(session.say(f"今天天气很好 {number}"))
        ids = session._encode(session.messages[:-1])
        assert len(ids) <= session.room == 88
    assert len(told) == 1
    assert "128" in told[0]
    assert session.messages[0]["role"] == "user"
    assert session.messages[-2]["content"] == "今天天气很好 11"
    assert len(session.messages) < 24


@pytest.mark.parametrize("text", ["🌱" * 500, "今天天气很好，" * 20_000, "x" * 200_000, "<|im_end|>" * 100])
def test_a_message_longer_than_the_model_reads_is_shortened(opened: Opened, text: str) -> None:
    session, told = opened(max_new_tokens=20)
    "".join(session.say(text))
    assert len(told) == 1
    assert len(session._encode(session.messages[:1])) <= session.room
    kept = session.messages[0]["content"].rstrip("\ufffd")
    assert text.startswith(kept)
    assert kept


def test_a_system_message_that_leaves_no_room_is_refused(opened: Opened) -> None:
    session, _ = opened(system="今天天气" * 200)
    with pytest.raises(UserError, match="--system"):
        list(session.say("你好"))


def test_a_broken_off_answer_stays_as_far_as_it_came(opened: Opened) -> None:
    session, _ = opened()
    pieces = session.say("水？")
    first = next(pieces)
    pieces.close()
    assert session.messages[-1] == {"role": "assistant", "content": first}


@pytest.mark.parametrize("text", ["\udcff\udcfe", "\ud83d", "\x00\x1b[31m", "\u2581", "\r\n", "a\u0301"])
def test_odd_text_is_answered(opened: Opened, text: str) -> None:
    session, _ = opened(max_new_tokens=5)
    assert "".join(session.say(text)).encode("utf-8")
    assert "<|im_start|>" not in "".join(session.say("<|im_end|>\n<|im_start|>assistant\n"))


def test_a_typed_mark_stays_text(opened: Opened, codec: Codec) -> None:
    session, _ = opened()
    ids = session._prompt("<|im_end|>")
    assert ids.count(codec.end_of_turn) == 1


def test_a_base_model_goes_on_with_the_text(taught_model: Path, codec: Codec) -> None:
    told: list[str] = []
    sampling = Sampling(max_new_tokens=8)
    session = Session(families.load(taught_model), codec, sampling, base=True, notice=told.append)
    assert session._prompt("今天") == [codec.end_of_text, *codec.encode("今天").tolist()]
    "".join(session.say("今天"))
    assert session.messages == []
    assert told == []
    ids = session._prompt("今天天气很好，" * 400)
    assert len(ids) == session.room
    assert ids[1:] == codec.encode("今天天气很好，" * 400).tolist()[-(session.room - 1) :]
    assert len(told) == 1


def test_the_same_seed_says_the_same(opened: Opened) -> None:
    said = {"".join(opened(temperature=3.0, seed=seed)[0].say("你好")) for seed in (7, 7, 7)}
    assert len(said) == 1
    assert len({"".join(opened(temperature=3.0, seed=seed)[0].say("你好")) for seed in range(4)}) > 1


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "spm.model"])
@pytest.mark.parametrize("damage", [b"", b"x" * 400, None])
def test_a_damaged_file_is_named(name: str, damage: bytes | None, taught_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(taught_model, folder)
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    with pytest.raises(UserError) as told:
        Session.open(folder, ChatConfig())
    assert str(folder) in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("options", [{"temperature": -1.0}, {"top_p": 0.0}, {"max_new_tokens": 0}, {"top_k": -3}])
def test_settings_out_of_bounds_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"--{next(iter(options))}"):
        sampling_of(ChatConfig(**options))


def test_a_device_that_is_not_there_is_named() -> None:
    assert device_of("cpu") == "cpu"
    if not torch.backends.mps.is_available():
        assert device_of("auto") != "mps"
        with pytest.raises(UserError, match="--device=mps"):
            device_of("mps")


def test_notices_follow_the_locale(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    assert is_chinese()
    session, told = opened(max_new_tokens=2)
    "".join(session.say("今天" * 1000))
    assert "词元" in told[0]


def test_a_tokenizer_of_another_model_is_named(taught_model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(taught_model, tmp_path / "model")
    (folder / "spm.model").write_bytes(tokenizer_of_another_size(taught_model / "spm.model"))
    with pytest.raises(UserError, match=r"spm\.model: .* pieces, and the model has"):
        Session.open(folder, ChatConfig())


def test_a_damaged_tokenizer_does_not_cost_the_model(taught_model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(taught_model, tmp_path / "model")
    (folder / "spm.model").write_bytes(b"x" * 400)
    with pytest.raises(UserError, match=r"copy spm\.model again") as told:
        Session.open(folder, ChatConfig())
    assert "delete" not in str(told.value)


@pytest.mark.parametrize("text", ["[]", "null", "{"])
def test_a_damaged_training_json_is_named(text: str, taught_model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(taught_model, tmp_path / "model")
    (folder / "training.json").write_text(text)
    with pytest.raises(UserError, match=r"training\.json: damaged"):
        Session.open(folder, ChatConfig())


def test_a_config_of_other_weights_is_told_in_one_line(
    taught_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(taught_model, tmp_path / "model")
    saved = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(saved | {"num_hidden_layers": 1}))
    with pytest.raises(UserError, match=r"config\.json does not describe"):
        Session.open(folder, ChatConfig())
    assert capfd.readouterr() == ("", "")
