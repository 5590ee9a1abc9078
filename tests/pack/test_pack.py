"""Clean records and a tokenizer into token shards."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.pack import shard, stage
from pipeline.pack.config import PackConfig
from tests.conftest import tokenizer_of_another_size
from utils import shard_writer as writing
from utils.chat import conversation
from utils.codec import Codec
from utils.console import UserError
from utils.encoders import SPM
from utils.records import write_records
from utils.shard_check import refuse_damaged_shards
from utils.shards import TOKENIZER, Source, Spans, sources
from utils.stage import identity, manifest, read_json, write_manifest


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


def finished(folder: Path, held: dict[str, list[dict[str, Any]]]) -> Path:
    for name, records in held.items():
        write_records(folder / f"{name}.parquet", records)
    write_manifest(folder, "clean", {}, {}, {}, ("pyarrow",))
    return folder


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    held = {
        "train/wiki-00000": TEXTS[:4],
        "train/wiki-00001": TEXTS[4:6],
        "valid/wiki-00000": TEXTS[6:],
        "train/talk-00000": CHATS,
    }
    return finished(tmp_path / "clean", held)


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
        chat(3) | {"messages": [None, *chat(0, ("user", "在吗？"), ("assistant", "在。"))["messages"]]},
        text(4, " \n"),
        {"id": "x", "kind": "preference", "messages": [], "chosen": [], "rejected": []},
    ]
    clean = finished(tmp_path / "clean", {"train/mixed-00000": [*bad, TEXTS[0], CHATS[0]]})
    stage.run(PackConfig(), clean, tiny_tokenizer, tmp_path / "pack")
    report = read_json(tmp_path / "pack" / "report.json")
    reasons = ("empty_reply", "no_trained_token", "unknown_role", "empty_text", "preference")
    assert report["left_out"] == {"train": {"mixed": dict.fromkeys(sorted(reasons), 1) | {"unknown_role": 2}}}
    pretrain, finetune = report["pretrain"]["train"]["mixed"], report["finetune"]["train"]["mixed"]
    assert pretrain["documents"] == finetune["documents"] == 1
    assert pretrain["trained"] == pretrain["tokens"]
    assert pretrain["bytes"] == len(TEXTS[0]["text"].encode())
    assert 0 < finetune["trained"] < finetune["tokens"]
    assert finetune["bytes"] == len("user\n0加一等于几？\nassistant\n1。\n".encode())


@pytest.mark.parametrize("workers", [2, pytest.param(7, marks=pytest.mark.slow)])
def test_any_number_of_processes_makes_the_same_bits(
    workers: int, tiny_tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(stage, "SMALL", 0)
    held = {f"train/wiki-{i:05d}": [text(9 * i + j, f"第{i}篇。" * (30 * i + j)) for j in range(9)] for i in range(2)}
    clean = finished(tmp_path / "clean", held | {"train/talk-00000": CHATS})
    for count in (1, workers):
        stage.run(PackConfig(workers=count), clean, tiny_tokenizer, tmp_path / str(count))
    one, more = (manifest(tmp_path / str(count)) for count in (1, workers))
    assert one is not None
    assert more is not None
    assert one["files"] == more["files"]
    assert one["counters"] == more["counters"]
    assert len(one["counters"]["shards"]) == 3


def test_many_at_a_time_say_what_each_says_alone(
    tiny_tokenizer: Path, codec: Codec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Kinds mixed in a shard, blocks and record batches of any size: stored order, and the tokens of each record."""
    records = [one for pair in zip(TEXTS, CHATS * 2, strict=False) for one in pair]
    records.insert(3, text(90, "\u3000\n"))
    clean = finished(tmp_path / "clean", {"train/mixed-00000": records})
    wanted = []
    for record in records:
        if record["kind"] == "chat":
            wanted.append(codec.encode_segments(conversation(record["messages"]))[0].tolist())
        elif record["text"].strip():
            wanted.append(codec.encode(record["text"]).tolist())
    for most in (1, 100, 1 << 22):
        monkeypatch.setattr(shard, "TEXT_BYTES", most)
        monkeypatch.setattr(shard, "DIALOGUES", min(most, 1024))
        monkeypatch.setattr(writing, "BATCH_TOKENS", most)
        stage.run(PackConfig(chat_in_pretrain=True), clean, tiny_tokenizer, tmp_path / f"pack{most}")
        mixed = sources(tmp_path / f"pack{most}", "pretrain", "train")["mixed"]
        got = [document(mixed, i) for i in range(mixed.documents)]
        assert got == [([codec.end_of_text, *tokens], None) for tokens in wanted]


def test_a_shard_says_whose_tokens_it_holds(clean: Path, tiny_tokenizer: Path, codec: Codec, tmp_path: Path):
    stage.run(PackConfig(), clean, tiny_tokenizer, tmp_path / "pack")
    known = manifest(tmp_path / "pack")
    assert known is not None
    assert known["counters"]["tokenizer"] == identity(tiny_tokenizer)
    assert known["counters"]["vocab_size"] == codec.vocab_size
    for name in known["counters"]["shards"]:
        said = pa.ipc.open_file(pa.memory_map(str(tmp_path / "pack" / name))).schema.metadata
        assert said[TOKENIZER.encode()].decode() == identity(tiny_tokenizer)
    for verb in ("pretrain", "finetune"):
        refuse_damaged_shards(tmp_path / "pack", verb, codec.vocab_size, tmp_path / verb)


def test_a_tokenizer_that_was_learned_again_is_read_again(
    clean: Path, tiny_tokenizer: Path, codec: Codec, tmp_path: Path
):
    """Twice in one process, from one path."""
    tokenizer = shutil.copytree(tiny_tokenizer, tmp_path / "tokenizer")
    stage.run(PackConfig(), clean, tokenizer, tmp_path / "pack")
    (tokenizer / SPM).write_bytes(tokenizer_of_another_size(tokenizer / SPM))
    write_manifest(tokenizer, "tokenizer", {}, {}, {}, ("sentencepiece",))
    stage.run(PackConfig(), clean, tokenizer, tmp_path / "pack")
    known = manifest(tmp_path / "pack")
    assert known is not None
    assert known["counters"]["vocab_size"] == codec.vocab_size - 5
    assert known["counters"]["tokenizer"] == identity(tokenizer)
    tokens, _ = document(sources(tmp_path / "pack", "pretrain", "train")["wiki"], 0)
    assert Codec(tokenizer).decode(tokens[1:]) == TEXTS[0]["text"]


def test_what_would_break_a_json_reader_is_left_out_and_counted(tiny_tokenizer: Path, tmp_path: Path):
    """Records that clean would not write, but somebody's script may."""
    bad: list[dict[str, Any]] = [chat(i, ("user", "在吗？"), ("assistant", "在。")) for i in range(4)]
    for record, calls in zip(bad, ("{", '["a"]', '[{"name": "\\ud800"}]', "[" * 5000), strict=True):
        record["messages"][1]["tool_calls"] = calls
    bad.append(chat(4, ("user", "在吗？"), ("assistant", "在。")) | {"tools": "天气"})
    bad.append({"id": None, "kind": None})
    clean = finished(tmp_path / "clean", {"train/talk-00000": [*bad, CHATS[0] | {"id": None}]})
    stage.run(PackConfig(), clean, tiny_tokenizer, tmp_path / "pack")
    report = read_json(tmp_path / "pack" / "report.json")
    assert report["left_out"]["train"]["talk"] == {"calls_not_json": 4, "tools_not_json": 1, "unknown_kind": 1}
    assert report["finetune"]["train"]["talk"]["documents"] == 1


def test_lengths_are_counted(tiny_tokenizer: Path, codec: Codec, tmp_path: Path):
    clean = finished(tmp_path / "clean", {"train/wiki-00000": [text(i, "好" * i) for i in (1, 31, 32, 5000)]})
    stage.run(PackConfig(), clean, tiny_tokenizer, tmp_path / "pack")
    report = read_json(tmp_path / "pack" / "report.json")
    lengths = [1 + len(codec.encode("好" * i)) for i in (1, 31, 32, 5000)]
    edges = report["lengths"]["edges"]
    wanted = [sum(a < n <= b for n in lengths) for a, b in pairwise([0, *edges, 10**9])]
    assert report["lengths"]["pretrain"]["wiki"] == wanted


def test_nothing_to_pack_is_told(tiny_tokenizer: Path, tmp_path: Path):
    clean = finished(tmp_path / "clean", {"train/wiki-00000": [text(0, " ")]})
    with pytest.raises(UserError, match=r"clean\.inputs"):
        stage.run(PackConfig(), clean, tiny_tokenizer, tmp_path / "pack")


def test_bytes_of_text_are_the_bytes_of_its_tokens(clean: Path, tiny_tokenizer: Path, codec: Codec, tmp_path: Path):
    stage.run(PackConfig(), clean, tiny_tokenizer, tmp_path / "pack")
    report = json.loads((tmp_path / "pack" / "report.json").read_text())
    for verb, name in (("pretrain", "wiki"), ("finetune", "talk")):
        source = sources(tmp_path / "pack", verb, "train")[name]
        tokens = source.take(np.array([0]), np.array([source.tokens]))
        assert codec.text_bytes(tokens).sum() == report[verb]["train"][name]["bytes"]
