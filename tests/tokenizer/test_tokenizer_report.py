"""The tokenizer's report: GPT-2 as it is, figures that a slower count confirms, and a page that nothing breaks."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from pipeline.clean.config import CleanConfig, Input
from pipeline.clean.stage import run as clean
from pipeline.tokenizer import measure
from pipeline.tokenizer.config import TokenizerConfig
from pipeline.tokenizer.measured import MERGES, OURS, Measured, compared, from_folder, gpt2, ours
from pipeline.tokenizer.page import page_of
from pipeline.tokenizer.page_pieces import Vocabulary, listing
from pipeline.tokenizer.stage import run
from pipeline.tokenizer.texts import PASSAGE, held_out, passages, trained_on
from tests.utils.test_page import EVIL, Balance
from utils.chat import MARKS
from utils.codec import Codec
from utils.console import UserError
from utils.language import language
from utils.stage import damaged_files, identity, manifest, read_json

TEXTS = [
    "",
    " ",
    "两个  空格\n\n",
    "The cat's 3.14 naïve café…",
    "😀👨‍👩‍👧 龘𠮷 rare",
    "\u2581 \0 \ufeff",
    "<|im_end|><think>",
]


@pytest.fixture(scope="module")
def gpt() -> Measured:
    return gpt2()


@pytest.fixture(scope="module")
def mine(folder: Path) -> Measured:
    return ours(folder)


# ---------------------------------------------------------------- tokenizers


def test_gpt2_is_what_openai_published(gpt: Measured) -> None:
    content = gzip.decompress(MERGES.read_bytes())
    published = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"  # as tiktoken expects vocab.bpe
    assert hashlib.sha256(content).hexdigest() == published
    assert len(gpt.piece_bytes) == 50257
    assert gpt.marks == {50256}


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("Hello world", [15496, 995]),
        (" the", [262]),
        ("你好", [19526, 254, 25001, 121]),
        ("你好，世界！", [19526, 254, 25001, 121, 171, 120, 234, 10310, 244, 45911, 234, 171, 120, 223]),
        ("3.14\n\n x", [18, 13, 1415, 628, 2124]),
        ("<|endoftext|>", [27, 91, 437, 1659, 5239, 91, 29]),
    ],
)
def test_gpt2_encodes_as_gpt2_does(gpt: Measured, text: str, ids: list[int]) -> None:
    assert gpt.encode([text])[0].tolist() == ids


@settings(max_examples=200)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from([*TEXTS, *MARKS])).map("".join))
def test_gpt2_loses_nothing_and_every_spelled_character_is_counted(gpt: Measured, text: str) -> None:
    ids = gpt.encode([text])[0]
    assert b"".join(gpt.piece_bytes[i] for i in ids).decode() == text
    assert measure.use(gpt, [text]).spelled_P.tolist() == [spelled(gpt, text)]


def spelled(encoder: Measured, text: str) -> int:
    """Characters within which a token ends, counted one by one."""
    ends = np.cumsum([len(encoder.piece_bytes[i]) for i in encoder.encode([text])[0]]).tolist()
    starts = np.cumsum([0, *(len(c.encode()) for c in text)]).tolist()
    return sum(any(a < end < b for end in ends) for a, b in pairwise(starts))


def test_ours_is_the_codec(mine: Measured, folder: Path) -> None:
    codec, other = Codec(folder), from_folder(folder)
    assert list(mine.piece_bytes[1:]) == codec.piece_bytes[1:]
    assert {i for i in range(codec.vocab_size) if codec.encoder.spm.IsByte(i)} == mine.spelling
    assert mine.marks == set(range(len(MARKS) + 1))
    for text, a, b in zip(TEXTS, mine.encode(TEXTS), other.encode(TEXTS), strict=True):
        assert codec.encode(text).tolist() == a.tolist() == b.tolist()
        assert measure.use(mine, [text]).spelled_P.tolist() == [spelled(mine, text.replace("\u2581", " "))]


def test_a_folder_that_adds_cuts_and_pads_is_asked_for_the_text_alone(tmp_path: Path) -> None:
    words = ["[UNK]", "[CLS]", "the", "##n", "好"]
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["[CLS]"])
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", 1)])
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=3)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    encoder = from_folder(tmp_path)
    used = measure.use(encoder, ["then the the the 好 [CLS]", "坏"])
    assert used.tokens_P.tolist() == [6 + 3, 1]  # a typed [CLS] is three unknown words
    assert used.unknown_P.tolist() == [3, 1]
    assert encoder.piece_bytes[3] == b"n"


def test_a_folder_of_unigrams(tmp_path: Path) -> None:
    """As T5 has it: spaces as U+2581, and no bytes to spell with."""
    tokenizer = Tokenizer(models.Unigram([("<pad>", 0.0), ("?", 0.0), ("\u2581good", -1.0), ("s", -2.0)], unk_id=1))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    encoder = from_folder(tmp_path)
    used = measure.use(encoder, ["goods", "坏"])
    assert encoder.piece_bytes[2] == b" good"
    assert (used.tokens_P[0], used.unknown_P.tolist()) == (2, [0, 1])


def test_what_is_no_tokenizer_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "tokenizer.json").write_text('{"version": "1.0", "model"')
    mistakes = {"gone": "no such folder; correct", "empty": "holds no tokenizer.json; copy", "bad": "copy it again"}
    for name, mend in mistakes.items():
        with pytest.raises(UserError, match=rf"{name}.*{mend}") as told:
            from_folder(tmp_path / name)
        assert "\n" not in str(told.value)


def test_folders_are_told_apart_by_the_end_of_their_paths(folder: Path, tmp_path: Path) -> None:
    for name in ("a/model", "b/model"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    paths = [str(tmp_path / name) for name in ("a/model", "b/model")]
    assert [encoder.name for encoder in compared(paths)] == ["gpt2", "a/model", "b/model"]


def test_a_fork_afterwards_is_silent(folder: Path) -> None:
    code = (
        "import os; from pathlib import Path; from utils.encoders import FastEncoder\n"
        f"FastEncoder(Path({str(folder / 'tokenizer.json')!r})).encode_all(['a b c'] * 100)\n"
        "assert 'TOKENIZERS_PARALLELISM' not in os.environ\n"
        "if os.fork() == 0: os._exit(0)\n"
        "os.wait()"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stderr == b""


# ---------------------------------------------------------------- texts


@given(st.text("a 字。\n", max_size=3000))
def test_passages_are_the_text(text: str) -> None:
    parts = list(passages(text))
    assert "".join(parts) in (text, text[: len("".join(parts))])
    assert not text[len("".join(parts)) :].strip()
    assert all(len(part) <= PASSAGE for part in parts)


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source with held-out records, and one too small to have any."""
    home = tmp_path_factory.mktemp("split")
    rows = [{"text": f"第 {n} 篇：这是一段留作检验的中文，写的是平常的事。"} for n in range(300)]
    (home / "many.jsonl").write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    talk = [{"role": "user", "content": "What is this?"}, {"role": "assistant", "content": "A small test of it."}]
    (home / "few.jsonl").write_text(json.dumps({"messages": talk}), encoding="utf-8")
    clean(CleanConfig(inputs=[Input(str(home / "*.jsonl"))], valid=0.2), home / "clean")
    return home / "clean"


def test_measured_on_what_is_held_out_or_else_on_what_is_trained_on(split: Path) -> None:
    texts = held_out(split)
    assert texts.held_out == {"few": False, "many": True}
    assert [t for t, s in zip(texts.texts, texts.sources, strict=True) if s == "few"] == [
        "What is this?", "A small test of it.",
    ]  # fmt: skip
    assert 20 < texts.sources.count("many") < 120
    assert not set(texts.texts) & set(trained_on(split)) - {"What is this?", "A small test of it."}
    assert measure.sizes(texts)["languages"]["en"]["characters"] == len("What is this?A small test of it.")
    assert measure.sizes(texts)["all"]["all"]["characters"] == texts.held_out_P @ [len(t) for t in texts.texts]
    assert vars(held_out(split)) == vars(texts)


# ---------------------------------------------------------------- figures


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("天气", "han"), (" 天", "han"), ("the", "latin"), (" the", "latin"), ("n't", "latin"), ("é", "latin"),
        ("，我", "mixed"), ("e.", "mixed"), ("A股", "mixed"), ("1st", "mixed"), ("3", "digits"), ("の", "other"),
        ("и", "other"), ("。”", "signs"), ("'", "signs"), ("😀", "signs"), ("×", "signs"), ("\n", "spaces"),
        ("   ", "spaces"), ("𠮷", "han"),
    ],
)  # fmt: skip
def test_kinds_of_pieces(text: str, kind: str) -> None:
    assert measure.kind_of(text) == kind


def test_the_vocabulary_adds_up(mine: Measured, gpt: Measured) -> None:
    for encoder in (mine, gpt):
        kinds = measure.kinds(encoder)
        composition = measure.composition(encoder, kinds)
        assert sum(row["pieces"] for row in composition.values()) == len(encoder.piece_bytes)
    assert composition["han"]["pieces"] < 100 < 40_000 < composition["latin"]["pieces"]


def test_use_unused_longest_and_coverage(mine: Measured) -> None:
    texts = ["从前有一个人，很喜欢猫。", "从前有一个人，龘龘𠮷"]
    counts_V, kinds_V = measure.use(mine, texts).counts_V, measure.kinds(mine)
    ids = np.concatenate(mine.encode(texts))
    assert counts_V.tolist() == [int((ids == i).sum()) for i in range(len(mine.piece_bytes))]
    unused = measure.unused(counts_V, kinds_V, mine)
    assert unused["pieces"] == unused["of"] - sum(1 for i in set(ids.tolist()) if i not in mine.spelling)
    assert not {row["id"] for row in unused["examples"]} & set(ids.tolist())
    rows = measure.longest(mine, counts_V, kinds_V)["han"]
    lengths = [len(row["piece"]) for row in rows]
    assert lengths == sorted(lengths, reverse=True)
    assert all(row["count"] == counts_V[row["id"]] for row in rows)
    found = measure.coverage(mine, texts)
    assert found["missing"] == [{"character": "龘", "count": 2}, {"character": "𠮷", "count": 1}]
    assert found["share"] == round(1 - 3 / len("".join(texts)), 6)


def test_tokens_give_the_text_back_and_a_spelled_character_its_number(mine: Measured, gpt: Measured) -> None:
    for encoder in (mine, gpt):
        for text in TEXTS:
            tokens = measure.tokens_in(encoder, text)
            assert "".join(piece for piece, _ in tokens) == (text if encoder is gpt else text.replace("\u2581", " "))
            assert sum(number for _, number in tokens) == len(encoder.encode([text])[0])
    assert measure.tokens_in(mine, "𠮷") == [("𠮷", 4)]
    assert measure.tokens_in(gpt, "你好") == [("你", 2), ("好", 2)]


# ---------------------------------------------------------------- the stage


@pytest.fixture(scope="module")
def reported(split: Path, folder: Path) -> Path:
    """A tokenizer whose report compares it with another."""
    output = split.parent / "tokenizer"
    run(TokenizerConfig(vocab_size=500, compare=[str(folder)]), split, output)
    return output


def test_figures_are_what_a_slow_count_gives(reported: Path, split: Path, folder: Path, gpt: Measured) -> None:
    report, texts = read_json(reported / "report.json"), held_out(split)
    assert list(report["fit"]) == [OURS, "gpt2", "/".join(folder.parts[-2:])]
    for encoder, codec in ((OURS, Codec(reported)), ("/".join(folder.parts[-2:]), Codec(folder))):
        for by, name, belongs in (("sources", "many", texts.sources), ("languages", "zh", map(language, texts.texts))):
            chosen = [text for text, one in zip(texts.texts, belongs, strict=True) if one == name]
            tokens = sum(len(codec.encode(text)) for text in chosen)
            row = report["fit"][encoder][by][name]
            assert row["tokens"] == tokens
            assert row["characters_per_token"] == round(sum(map(len, chosen)) / tokens, 3)
            assert row["bytes_per_token"] == round(sum(len(text.encode()) for text in chosen) / tokens, 3)
    assert report["characters_per_token"]["many"] == report["fit"][OURS]["sources"]["many"]["characters_per_token"]
    curve = report["fertility"]["zh"]["quantiles"]["gpt2"]
    ratios = [
        len(gpt.encode([text])[0]) / len(text)
        for text, source in zip(texts.texts, texts.sources, strict=True)
        if source == "many"
    ]
    assert [curve[0], curve[20], curve[40]] == np.quantile(ratios, [0, 0.5, 1]).round(3).tolist()
    assert "en" not in report["fertility"]  # two passages say nothing


def test_the_closing_line_names_both(
    reported: Path, split: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(TokenizerConfig(vocab_size=500), split, tmp_path / "tokenizer")
    line = capsys.readouterr().out.splitlines()[-1]
    assert re.search(
        r"characters a token \(gpt2 in brackets\): Chinese \d\.\d\d \(\d\.\d\d\), English \d\.\d\d \(", line
    )


def test_another_comparison_makes_the_report_again_and_nothing_else(
    split: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "tokenizer"
    assert run(TokenizerConfig(vocab_size=500), split, output)
    before, made = identity(output), (output / "spm.model").stat().st_mtime_ns
    config = TokenizerConfig(vocab_size=500, compare=[str(folder)])
    assert run(config, split, output)
    assert "made again" not in capsys.readouterr().out
    assert (output / "spm.model").stat().st_mtime_ns == made
    assert identity(output) == before
    vouched = manifest(output)
    assert vouched is not None
    assert damaged_files(output, vouched) == []
    assert len(read_json(output / "report.json")["fit"]) == 3
    assert not run(config, split, output)
    with pytest.raises(UserError, match="no such folder"):
        run(TokenizerConfig(vocab_size=500, compare=["nowhere"]), split, output)


def test_ids_follow_the_score(reported: Path) -> None:
    spm, first = Codec(reported).encoder.spm, read_json(reported / "report.json")["ranked_from"]
    scores = [spm.GetScore(i) for i in range(first, spm.GetPieceSize())]
    assert first == 268
    assert scores == sorted(scores, reverse=True)


# ---------------------------------------------------------------- the page


@pytest.fixture(params=["en_US.UTF-8", "zh_CN.UTF-8"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """An English and a Chinese reader."""
    for name in ("LANGUAGE", "LC_MESSAGES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LC_ALL", request.param)
    return str(request.param)


def vocabulary_of(pieces: list[bytes]) -> Vocabulary:
    encoder = Measured("ours", lambda texts: [], pieces)
    return Vocabulary(encoder, measure.kinds(encoder), np.arange(len(pieces)))


HOSTILE = [EVIL.encode("utf-8", "replace"), b"\xff\xfe", b"\xe4\xbd", "\u202eabc".encode(), b"\0", "\u0301".encode()]
HOSTILE += [
    "\u2028".encode(),
    b"",
    "\U0010ffff".encode(),
    "العربية".encode(),
    b"</li></ol></details>",
    b"\n",
    b" " * 60,
]


def test_nothing_in_a_vocabulary_breaks_the_page(reported: Path, reader: str) -> None:
    report = read_json(reported / "report.json")
    rows = [{"id": 1, "piece": piece.decode("utf-8", "replace"), "count": 7} for piece in HOSTILE]
    report["longest"] = {"mixed": rows}
    report["unused"]["examples"] = rows
    report["coverage"]["missing"] = [{"character": c, "count": 1} for c in "<&\0\u0301\u202e\U0010ffff"]
    report["samples"] = [{"source": EVIL, "language": "zh", "tokens": {OURS: [[EVIL, 2], ["\u202e", 1]]}}]
    text = page_of(report, vocabulary_of(HOSTILE))
    text.encode("utf-8")
    read = Balance(text)
    assert read.open == []
    assert "script" not in read.tags
    assert all(link.startswith("#") for link in read.links)
    assert not {"\0", "\u202e", "\u2028"} & set(text)
    assert "<code>E4 BD</code>" in text
    assert "◌\u0301" in text


def test_the_page_shows_every_piece_behind_its_id(reported: Path) -> None:
    text = (reported / "report.html").read_text(encoding="utf-8")
    assert Balance(text).open == []
    shown = re.findall(r'<ol class="pieces" start="(\d+)">(.*?)</ol>', text)
    ids = []
    for start, items in shown:
        at = int(start)
        for value in re.findall(r"<li(?: value=\"(\d+)\")?", items):
            at = int(value) if value else at
            ids.append(at)
            at += 1
    assert sorted(ids) == list(range(Codec(reported).vocab_size))
    assert "gpt2" in text


@pytest.mark.parametrize("size", [32_000, 60_000])
def test_a_large_vocabulary_makes_no_large_page(size: int) -> None:
    kinds = [f" piece{i}" for i in range(size // 2)] + [chr(0x4E00 + i % 20000) * 2 for i in range(size // 2)]
    blocks = listing(vocabulary_of([piece.encode() for piece in kinds]), None)
    text = "".join(blocks)
    assert len(text.encode()) < 2_500_000
    assert text.count("<li") == min(size, 40_000)
    assert "value=" not in text  # a browser counts the ids
    assert (f"{size - 40_000:,}" in blocks[-1]) == (size > 40_000)
