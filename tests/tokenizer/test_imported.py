"""Another's tokenizer: its ids stay, the marks it lacks come, and everything behind the folder works alike."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from pipeline.pack.config import PackConfig
from pipeline.pack.stage import run as pack
from pipeline.tokenizer.config import TokenizerConfig
from pipeline.tokenizer.stage import run
from pipeline.train.feed import sequences_of
from tests.commands import TINY
from tests.commands import run as command
from utils.chat import MARK_IDS, MARKS, conversation
from utils.codec import Codec
from utils.console import UserError
from utils.stage import manifest, read_json

LINES = [
    "从前有一座山，山里有一座庙，庙里有一只猫。",
    "the cat sat on the mat, and the dog sat on the log",
    "你喜欢茶吗？喜欢呀！",
    "<0x41> 3.14 😀",
] * 20


def byte_level() -> Tokenizer:
    """As Qwen's: bytes as letters, a chat mark that it knows as special, and one that it does not treat so."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(" ?[^\\s]+|\\s+", "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(LINES, trainers.BpeTrainer(vocab_size=500, initial_alphabet=letters))
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in ("<|vision|>", "<|im_end|>", "<|endoftext|>")])
    tokenizer.add_tokens([AddedToken("<think>", special=False, normalized=False)])
    tokenizer.enable_truncation(8)
    return tokenizer


def metaspace() -> Tokenizer:
    """As Llama's first: spaces as ▁, bytes by name, and a beginning that is added to every text."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    pieces = ["<unk>", "<s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer.train_from_iterator(LINES, trainers.BpeTrainer(vocab_size=600, special_tokens=pieces))
    made = json.loads(tokenizer.to_str())
    made["added_tokens"] = made["added_tokens"][:2]  # bytes are no special tokens, but pieces
    tokenizer = Tokenizer.from_str(json.dumps(made))
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def word_piece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0, "cat": 1}, unk_token="[UNK]"))
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def unigram(special: Sequence[str] = ("<unk>", "</s>")) -> Tokenizer:
    """As T5's: no bytes to fall back on, and a normalizer that loses what it does not know."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=list(special), unk_token="<unk>")
    tokenizer.train_from_iterator(LINES, trainer)
    return tokenizer


@pytest.fixture(scope="module", params=[byte_level, metaspace])
def taken(request: pytest.FixtureRequest, cleaned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer folder taken from another's."""
    home = tmp_path_factory.mktemp("taken")
    make: Callable[[], Tokenizer] = request.param
    (home / "theirs").mkdir()
    make().save(str(home / "theirs" / "tokenizer.json"))
    assert run(TokenizerConfig(path=str(home / "theirs")), cleaned, home / "tokenizer")
    return home / "tokenizer"


def theirs(taken: Path) -> Tokenizer:
    return Tokenizer.from_file(str(taken.parent / "theirs" / "tokenizer.json"))


def test_ids_stay_and_missing_marks_come_behind(taken: Path) -> None:
    before, codec = theirs(taken), Codec(taken)
    before.encode_special_tokens = True
    before.no_truncation()
    for line in LINES[:4]:
        assert codec.encode(line).tolist() == before.encode(line, add_special_tokens=False).ids
    known = before.get_vocab(with_added_tokens=True)
    for mark, number in codec.marks.items():
        assert number == known.get(mark, number)
        assert number >= len(known) or mark in known
    assert sorted(codec.marks.values())[-1] == codec.vocab_size - 1
    report = read_json(taken / "report.json")
    assert report["marks_added"] == [mark for mark in MARKS if mark not in known]
    assert manifest(taken)["inputs"]["path"]["hash"]  # type: ignore[index]


@pytest.fixture(scope="module")
def tokenizer(taken: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(taken)


typed = st.sampled_from([*MARKS, "<|vision|>", "庙里", "the ", "\n", "  ", "<0x41>", "<unk>"])
said = st.lists(typed | st.text(), max_size=5)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(said.map("".join).filter(lambda text: "\u2581" not in text))
def test_the_published_folder_gives_the_same_ids_and_text_comes_back(tokenizer: Any, taken: Path, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    codec = codec_of(taken)
    ids = codec.encode(text).tolist()
    assert tokenizer(text, split_special_tokens=True)["input_ids"] == ids
    assert not set(ids) & set(codec.marks.values()), "a typed mark stays text"
    assert codec.decode(ids) == text == "".join(codec.stream(ids))
    assert codec.text_bytes(np.array(ids, np.int64)).sum() == len(text.encode())
    assert [array.tolist() for array in codec.encode_all([text, text])] == [ids, ids]


OPENED: dict[Path, Codec] = {}


def codec_of(folder: Path) -> Codec:
    return OPENED.setdefault(folder, Codec(folder))


def test_the_chat_template_gives_what_training_reads(tokenizer: Any, taken: Path) -> None:
    codec = Codec(taken)
    messages = [
        {"role": "system", "content": "简短"},
        {"role": "user", "content": "你喜欢茶吗？"},
        {"role": "assistant", "content": "喜欢呀！", "reasoning": "问茶"},
        {"role": "user", "content": "the cat?"},
        {"role": "assistant", "content": "sat on the mat"},
    ]
    ids, spans = codec.encode_segments(conversation(messages))
    mask = [0] * len(ids)
    for start, end in spans:
        mask[start:end] = [1] * (end - start)
    theirs = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    assert (theirs["input_ids"], theirs["assistant_masks"]) == (ids.tolist(), mask)
    assert read_json(taken / "report.json")["tried"]["template_differs"] == 0


def test_what_follows_reads_the_marks_from_the_pack(cleaned: Path, taken: Path, tmp_path: Path) -> None:
    pack(PackConfig(chat_in_pretrain=True), cleaned, taken, tmp_path / "pack")
    codec = Codec(taken)
    assert set(codec.marks.values()) != set(MARK_IDS.values())
    rows = sequences_of(tmp_path / "pack", "pretrain", "train", 64, tmp_path)["story"].rows(np.arange(1))
    assert rows.input_ids[0, 0] == codec.end_of_text
    tuned = sequences_of(tmp_path / "pack", "finetune", "train", 64, tmp_path)["chat"].rows(np.arange(2))
    assert (tuned.input_ids[:, 0] == codec.marks["<|im_start|>"]).all()
    assert (tuned.targets == codec.end_of_turn).any()


def test_our_own_folders_are_taken_whole(folder: Path, cleaned: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"  # as a trained model's folder, which has no manifest
    model.mkdir()
    shutil.copyfile(folder / "spm.model", model / "spm.model")
    run(TokenizerConfig(path=str(model)), cleaned, tmp_path / "tokenizer")
    for name in ("spm.model", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (tmp_path / "tokenizer" / name).read_bytes() == (folder / name).read_bytes()
    assert not run(TokenizerConfig(path=str(model)), cleaned, tmp_path / "tokenizer")


def test_losses_are_told(cleaned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unigram().save(str(tmp_path / "tokenizer.json"))
    run(TokenizerConfig(path=str(tmp_path)), cleaned, tmp_path / "out")
    spoken = capsys.readouterr().err
    assert re.search(r"of \d+ texts \(or turns\) in \d+ records do not come back as they were: '.+' -> '.+'", spoken)
    assert "dialogues get other ids from the chat template than in training" in spoken
    tried = read_json(tmp_path / "out" / "report.json")["tried"]
    assert 0 < tried["changed"] <= tried["texts"]
    assert 0 < tried["template_differs"] <= tried["chats"]


def test_what_cannot_be_taken_is_named(cleaned: Path, tmp_path: Path) -> None:
    def refused(folder: Path, *words: str) -> None:
        with pytest.raises(UserError) as told:
            run(TokenizerConfig(path=str(folder)), cleaned, tmp_path / "out")
        assert "\n" not in str(told.value)
        assert all(word in str(told.value) for word in words), str(told.value)

    refused(tmp_path / "none", "tokenizer.path", "no such folder")
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(empty, "tokenizer.path", "holds no tokenizer.json", "save_pretrained")
    (empty / "tokenizer.json").write_text("{")
    refused(empty, "tokenizer.path", "tokenizer.json", "copy it again")
    (empty / "tokenizer.json").write_text("\ufeff{}")
    refused(empty, "tokenizer.path", "copy it again")
    word_piece().save(str(empty / "tokenizer.json"))
    refused(empty, "WordPiece", "BPE or Unigram")
    (empty / "spm.model").write_bytes(b"another's")
    refused(empty, "WordPiece")
    (empty / "tokenizer.json").unlink()
    refused(empty, "tokenizer.path", "spm.model", "copy it again")
    (empty / "spm.model").unlink()
    Tokenizer(models.BPE()).save(str(empty / "tokenizer.json"))
    refused(empty, "tokenizer.path", "copy it again")
    Tokenizer(models.Unigram([("<unk>", 0.0)], 0, False)).save(str(empty / "tokenizer.json"))
    refused(empty, "brings back 4% of the characters of your texts")
    unigram(["<unk>", "</s>", *MARKS]).save(str(empty / "tokenizer.json"))
    refused(empty, "makes <|endoftext|>", "of what a text says")
    refused(Path("~nosuchuser/tokenizer"), "no such folder")


def test_nothing_is_left_to_chance(cleaned: Path, tmp_path: Path) -> None:
    spec = json.loads(byte_level().to_str())
    spec["model"]["dropout"] = 0.5
    (tmp_path / "tokenizer.json").write_text(json.dumps(spec), encoding="utf-8")
    run(TokenizerConfig(path=str(tmp_path)), cleaned, tmp_path / "out")
    codec = Codec(tmp_path / "out")
    assert len({tuple(codec.encode("the cat sat on the mat").tolist()) for _ in range(20)}) == 1


def test_a_folder_without_the_marks_is_no_tokenizer_of_ours(tmp_path: Path) -> None:
    byte_level().save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UserError, match=r"no <\|im_start\|> in its vocabulary.*tokenizer\.path"):
        Codec(tmp_path)


@pytest.mark.slow
def test_a_model_is_trained_and_spoken_to_with_anothers_tokenizer(tmp_path: Path) -> None:
    byte_level().save(str(tmp_path / "tokenizer.json"))
    words = [f"workspace={tmp_path / 'run'}", f"tokenizer.path={tmp_path}"]
    command([sys.executable, "-m", "pipeline", TINY, *words])
    model = tmp_path / "run" / "finetune" / "model"
    assert not (model / "spm.model").exists()
    assert Codec(model).vocab_size == read_json(model / "config.json")["vocab_size"]
    assert command([sys.executable, "cli_demo.py", "--model", model, "--once", "你好！"]).strip()
    assert "up to date" in command([sys.executable, "-m", "pipeline.tokenizer", TINY, *words])
