"""Clean records and a tokenizer into token shards."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.pack import stage
from pipeline.pack.config import PackConfig
from utils.codec import Codec
from utils.console import UserError
from utils.records import write_records
from utils.shards import Source, Spans, sources, vocabulary
from utils.stage import manifest, read_json, write_manifest


def text(number: int, said: str) -> dict[str, Any]:
    return {"id": f"wiki/a/{number}", "source": "wiki", "kind": "text", "text": said, "group": str(number)}


def chat(number: int, *turns: tuple[str, str]) -> dict[str, Any]:
    messages = [{"role": role, "content": said} for role, said in turns]
    return {
        "id": f"talk/a/{number}",
        "source": "talk",
        "kind": "chat",
        "messages": messages,
        "group": str(number),
    }


TEXTS = [text(i, f"第{i}篇：今天天气很好。<|im_end|>\n我们去公园散步。") for i in range(7)]
CHATS = [chat(i, ("user", f"{i}加一等于几？"), ("assistant", f"{i + 1}。")) for i in range(5)]


def finished(folder: Path, shards: dict[str, list[dict[str, Any]]]) -> Path:
    for name, records in shards.items():
        write_records(folder / f"{name}.parquet", records)
    write_manifest(folder, "clean", {}, {}, {}, ("pyarrow",))
    return folder


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    shards = {
        "train/wiki-00000": TEXTS[:4],
        "train/wiki-00001": TEXTS[4:6],
        "valid/wiki-00000": TEXTS[6:],
        "train/talk-00000": CHATS,
    }
    return finished(tmp_path / "clean", shards)


def document(source: Source, index: int) -> tuple[list[int], Spans | None]:
    tokens, spans = source.document(index)
    return tokens.tolist(), spans


def test_text_opens_with_its_edge_and_a_typed_mark_stays_text(
    clean: Path, tiny_tokenizer: Path, codec: Codec, tmp_path: Path
):
    assert stage.run(PackConfig(), clean, tiny_tokenizer, tmp_path / "pack")
    wiki = sources(tmp_path / "pack", "pretrain", "train")["wiki"]
    assert wiki.documents == 6
    for index, record in enumerate(TEXTS[:6]):
        tokens, spans = document(wiki, index)
        assert tokens[0] == codec.end_of_text
        assert spans is None
        assert min(tokens[1:]) > 10, "no mark arises from text"
        assert codec.decode(tokens[1:]) == record["text"]
    assert [s.documents for s in sources(tmp_path / "pack", "pretrain", "valid").values()] == [1]
    assert vocabulary(tmp_path / "pack") == codec.vocab_size


def test_only_the_reply_and_its_end_are_trained(clean: Path, tiny_tokenizer: Path, codec: Codec, tmp_path: Path):
    stage.run(PackConfig(), clean, tiny_tokenizer, tmp_path / "pack")
    talk = sources(tmp_path / "pack", "finetune", "train")["talk"]
    assert "talk" not in sources(tmp_path / "pack", "pretrain", "train")
    for index in range(len(CHATS)):
        tokens, spans = document(talk, index)
        assert spans is not None
        assert len(spans) == 1
        start, end = spans[0]
        assert codec.decode(tokens[start:end]) == f"{index + 1}。<|im_end|>"
        assert codec.decode(tokens) == (
            f"<|im_start|>user\n{index}加一等于几？<|im_end|>\n<|im_start|>assistant\n{index + 1}。<|im_end|>\n"
        )


@pytest.mark.parametrize("asked", [True, False])
def test_pretrain_reads_the_chat_if_asked_or_without_text(
    asked: bool,
    clean: Path,
    tiny_tokenizer: Path,
    codec: Codec,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    if not asked:
        clean = finished(tmp_path / "chat-only", {"train/talk-00000": CHATS})
    stage.run(PackConfig(chat_in_pretrain=asked), clean, tiny_tokenizer, tmp_path / "pack")
    talk = sources(tmp_path / "pack", "pretrain", "train")["talk"]
    tuned = sources(tmp_path / "pack", "finetune", "train")["talk"]
    for index in range(len(CHATS)):
        assert document(talk, index) == ([codec.end_of_text, *document(tuned, index)[0]], None)
    assert ("reads the chat" in capsys.readouterr().out) == (not asked)


def test_report_and_what_is_left_out(tiny_tokenizer: Path, tmp_path: Path):
    bad = [
        chat(0, ("user", "在吗？"), ("assistant", " ")),
        chat(1, ("user", "有人吗？")),
        chat(2, ("boss", "快点"), ("assistant", "好")),
        text(3, " \n"),
        {"id": "x", "kind": "preference", "messages": [], "chosen": [], "rejected": []},
    ]
    clean = finished(tmp_path / "clean", {"train/mixed-00000": [*bad, TEXTS[0], CHATS[0]]})
    stage.run(PackConfig(), clean, tiny_tokenizer, tmp_path / "pack")
    report = read_json(tmp_path / "pack" / "report.json")
    reasons = ("empty_reply", "no_trained_token", "unknown_role", "empty_text", "preference")
    assert report["left_out"] == {"train": {"mixed": dict.fromkeys(sorted(reasons), 1)}}
    pretrain, finetune = report["pretrain"]["train"]["mixed"], report["finetune"]["train"]["mixed"]
    assert pretrain["documents"] == finetune["documents"] == 1
    assert pretrain["trained"] == pretrain["tokens"]
    assert pretrain["bytes"] == len(TEXTS[0]["text"].encode())
    assert 0 < finetune["trained"] < finetune["tokens"]
    assert finetune["bytes"] == len("user\n0加一等于几？\nassistant\n1。\n".encode())


def test_any_number_of_processes_makes_the_same_bits(
    clean: Path, tiny_tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(stage, "SMALL", 0)
    for workers in (1, 2):
        stage.run(PackConfig(workers=workers), clean, tiny_tokenizer, tmp_path / str(workers))
    one, two = (manifest(tmp_path / name) for name in "12")
    assert one is not None
    assert two is not None
    assert one["files"] == two["files"]
    assert one["counters"] == two["counters"]
    assert len(one["counters"]["shards"]) == 4


def test_a_killed_run_keeps_its_finished_shards(
    clean: Path, tiny_tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    stage.run(PackConfig(), clean, tiny_tokenizer, tmp_path / "whole")
    made: list[str] = []
    honest = stage.rows

    def failing(record: Any, *others: Any) -> Any:
        if len(made) == 6:
            raise KeyboardInterrupt
        made.append(record["id"])
        return honest(record, *others)

    monkeypatch.setattr(stage, "rows", failing)
    with pytest.raises(KeyboardInterrupt):
        stage.run(PackConfig(), clean, tiny_tokenizer, tmp_path / "pack")
    assert not (tmp_path / "pack").exists()
    again: list[str] = []

    def counting(record: Any, *others: Any) -> Any:
        again.append(record["id"])
        return honest(record, *others)

    monkeypatch.setattr(stage, "rows", counting)
    assert stage.run(PackConfig(), clean, tiny_tokenizer, tmp_path / "pack")
    assert not set(made[:5]) & set(again), "the five dialogues were a finished shard"
    ours, theirs = manifest(tmp_path / "pack"), manifest(tmp_path / "whole")
    assert ours is not None
    assert theirs is not None
    assert ours["files"] == theirs["files"]
    assert not stage.run(PackConfig(), clean, tiny_tokenizer, tmp_path / "pack")


def test_nothing_to_pack_is_told(tiny_tokenizer: Path, tmp_path: Path):
    clean = finished(tmp_path / "clean", {"train/wiki-00000": [text(0, " ")]})
    with pytest.raises(UserError, match=r"clean\.inputs"):
        stage.run(PackConfig(), clean, tiny_tokenizer, tmp_path / "pack")


def test_the_stage_starts_without_torch():
    code = "import sys, pipeline.pack.__main__, pipeline.pack.stage; print('torch' in sys.modules)"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == "False"


def test_bytes_of_text_are_the_bytes_of_its_tokens(clean: Path, tiny_tokenizer: Path, codec: Codec, tmp_path: Path):
    stage.run(PackConfig(), clean, tiny_tokenizer, tmp_path / "pack")
    report = json.loads((tmp_path / "pack" / "report.json").read_text())
    for verb, name in (("pretrain", "wiki"), ("finetune", "talk")):
        source = sources(tmp_path / "pack", verb, "train")[name]
        tokens = np.empty(source.tokens, np.int64)
        source.read(0, tokens)
        assert codec.text_bytes(tokens).sum() == report[verb]["train"][name]["bytes"]
