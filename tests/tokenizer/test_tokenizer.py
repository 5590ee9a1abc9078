"""The tokenizer stage: both files give the same ids, text comes back, marks cannot be typed, and small texts work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.clean.config import CleanConfig, Input
from pipeline.clean.stage import run as clean
from pipeline.tokenizer.config import TokenizerConfig
from pipeline.tokenizer.sample import draw, lines_of
from pipeline.tokenizer.stage import run
from pipeline.tokenizer.vocabulary import is_special, learn, load, train
from utils.chat import MARK_IDS, MARKS, conversation
from utils.codec import Codec
from utils.console import UserError
from utils.encoders import SPM
from utils.stage import read_json

VARIED = [
    "",
    " ",
    "  两个  空格  ",
    "\t制表\t符",
    "一行\n\n两行\n",
    "\r\n",
    "😀👨‍👩‍👧🏳️‍🌈",
    "龘𠮷𰻝 rare",
    "Hello, World! 3.14159 https://a.b/c?d=e&f=1 x²",
    "nul\0 and \u2585 block",
    "<unk><0x0A><s></s>",
    "e\u0301 é \u200b \u3000 \ufeff",
]


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    transformers = pytest.importorskip("transformers")
    return transformers.AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def codec(folder: Path) -> Codec:
    return Codec(folder)


@pytest.mark.parametrize("text", VARIED)
def test_both_files_agree_and_round_trip(tokenizer: Any, codec: Codec, text: str) -> None:
    ids = codec.encode(text).tolist()
    assert tokenizer(text, split_special_tokens=True)["input_ids"] == ids
    assert codec.decode(ids) == tokenizer.decode(ids) == "".join(codec.stream(ids)) == text


pieces = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\u2581"), max_size=20)
mixed = st.lists(st.sampled_from([*VARIED, *MARKS, "故事", "喜欢", "the "]) | pieces, max_size=6).map("".join)


@settings(max_examples=500, deadline=None)
@given(mixed)
def test_agree_on_anything(tokenizer: Any, codec: Codec, text: str) -> None:
    ids = codec.encode(text).tolist()
    assert tokenizer(text, split_special_tokens=True)["input_ids"] == ids
    assert codec.decode(ids) == tokenizer.decode(ids) == text
    assert not set(ids) & {0, *MARK_IDS.values()}


def test_u2581_is_a_space_to_both(tokenizer: Any, codec: Codec) -> None:
    ids = codec.encode("a\u2581b").tolist()
    assert tokenizer("a\u2581b", split_special_tokens=True)["input_ids"] == ids
    assert codec.decode(ids) == "a b"


def test_typed_marks_stay_text_in_a_conversation(codec: Codec) -> None:
    typed = "".join(MARKS)
    ids, spans = codec.encode_segments(
        conversation([{"role": "user", "content": typed}, {"role": "assistant", "content": typed}])
    )
    marks = [i for i in ids.tolist() if i in MARK_IDS.values()]
    assert marks == [MARK_IDS["<|im_start|>"], MARK_IDS["<|im_end|>"]] * 2
    assert codec.decode(ids[spans[0][0] : spans[0][1] - 1].tolist()) == typed


def test_special_tokens(tokenizer: Any, codec: Codec) -> None:
    assert tokenizer.convert_tokens_to_ids(list(MARKS)) == list(range(1, 11))
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|pad|>")
    assert tokenizer.unk_token is None
    assert tokenizer.bos_token is None
    assert len(tokenizer) == codec.vocab_size
    added = read_json(codec.folder / "tokenizer.json")["added_tokens"]
    assert [(token["content"], token["special"]) for token in added] == [*((m, True) for m in MARKS), ("\n", False)]
    assert tokenizer("你好")["input_ids"] == codec.encode("你好").tolist()
    assert tokenizer.decode([1, *codec.encode("你好"), 3], skip_special_tokens=True) == "你好"


def test_small_text_shrinks_the_vocabulary(cleaned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(TokenizerConfig(vocab_size=32000), cleaned, tmp_path / "tokenizer")
    report = read_json(tmp_path / "tokenizer" / "report.json")
    assert report["asked"] == 32000
    assert 300 < report["vocab_size"] < 2000
    assert Codec(tmp_path / "tokenizer").vocab_size == report["vocab_size"]
    assert set(report["characters_per_token"]) == {"chat", "story"}
    spoken = capsys.readouterr()
    assert f"32,000 pieces are too many for this text; the vocabulary has {report['vocab_size']:,}" in spoken.out
    assert spoken.err == ""
    assert not run(TokenizerConfig(vocab_size=32000), cleaned, tmp_path / "tokenizer")


def test_learned_pieces_occur_twice(cleaned: Path, folder: Path) -> None:
    spm = load((folder / SPM).read_bytes())
    text = "\n".join(draw(cleaned, TokenizerConfig()).lines())
    learned = [
        p.replace("\u2581", " ")
        for i in range(spm.GetPieceSize())
        if len(p := spm.IdToPiece(i)) > 1 and not is_special(spm, i)
    ]
    assert len(learned) > 50
    assert all(text.count(piece) >= 2 for piece in learned)


def test_size_asked_is_size_got(cleaned: Path, tmp_path: Path) -> None:
    run(TokenizerConfig(vocab_size=480), cleaned, tmp_path / "tokenizer")
    assert Codec(tmp_path / "tokenizer").vocab_size == 480


def test_too_few_pieces_for_the_characters(cleaned: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"vocab_size = 300: .* need \d+; raise it, or lower tokenizer.coverage"):
        run(TokenizerConfig(vocab_size=300), cleaned, tmp_path / "tokenizer")
    assert not (tmp_path / "tokenizer").exists()


def test_a_coverage_that_nobody_can_learn() -> None:
    for wrong in (0.95, 1.01):
        with pytest.raises(ValueError, match=f"coverage = {wrong}; .* between 0.98 and 1"):
            TokenizerConfig(coverage=wrong)


@pytest.mark.parametrize("coverage", [0.98, 1])
def test_the_ends_of_what_coverage_may_be(cleaned: Path, tmp_path: Path, coverage: float) -> None:
    assert run(TokenizerConfig(coverage=coverage), cleaned, tmp_path / "tokenizer")


def test_twenty_dialogues(tmp_path: Path) -> None:
    table = tmp_path / "my.csv"
    table.write_text("问题,回答\n" + "".join(f"第{n}个问题,这是第{n}个回答。\n" for n in range(20)), encoding="gb18030")
    clean(CleanConfig(inputs=[Input(str(table))]), tmp_path / "clean")
    run(TokenizerConfig(), tmp_path / "clean", tmp_path / "tokenizer")
    codec = Codec(tmp_path / "tokenizer")
    assert codec.decode(codec.encode("第3个问题").tolist()) == "第3个问题"


def test_one_character_repeated(tmp_path: Path) -> None:
    """Nothing can be merged here; the stage still ends well."""
    assert load(learn(["啊"], TokenizerConfig()).model).GetPieceSize() == 269


@pytest.mark.parametrize("apart", [False, True])
def test_same_bytes_again(
    cleaned: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, apart: bool
) -> None:
    if apart:  # as a large sample is: in a process of its own
        monkeypatch.setattr("pipeline.tokenizer.stage.LONG", 0)
    run(TokenizerConfig(vocab_size=6400), cleaned, tmp_path / "tokenizer")
    known, again = (read_json(place / "manifest.json")["files"] for place in (folder, tmp_path / "tokenizer"))
    assert known == again


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of threads is fixed for the file's sake; the pieces would be the same with another."""
    sentences = ["从前有一座山，山里有一座庙。", "the cat sat on the mat", "山里的庙里有一只猫 the cat"] * 20
    models = []
    for threads in (1, 8):
        monkeypatch.setattr("pipeline.tokenizer.vocabulary.THREADS", threads)
        spm = load(train(sentences, TokenizerConfig(), 320))
        models.append([(spm.IdToPiece(i), spm.GetScore(i)) for i in range(spm.GetPieceSize())])
    assert models[0] == models[1]


def test_long_lines_and_forbidden_characters_are_not_lost() -> None:
    lines = list(lines_of("长" * 5000 + "\n短\0空\u2585块"))
    assert [len(line) for line in lines] == [2000, 2000, 1000, 1, 1, 1]
    model = learn(lines, TokenizerConfig(coverage=1)).model
    assert load(model).PieceToId("块") != 0


def test_no_torch_and_no_transformers() -> None:
    code = (
        "import sys, pipeline.clean.stage, pipeline.tokenizer.stage, pipeline.clean.readers as r; r.readers(); "
        "assert not {'torch', 'transformers', 'datasets'} & set(sys.modules), set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_clean_not_run_yet(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="which makes what is missing"):
        run(TokenizerConfig(), tmp_path / "clean", tmp_path / "tokenizer")


def test_silent_on_the_error_stream(cleaned: Path, tmp_path: Path) -> None:
    """SentencePiece writes its log from C++, past Python's streams."""
    recipe = tmp_path / "r.yaml"
    recipe.write_text("tokenizer:\n  vocab_size: 5000\n")
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "clean").symlink_to(cleaned)
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.tokenizer", str(recipe), f"workspace={tmp_path / 'w'}"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "too many for this text" in done.stdout
