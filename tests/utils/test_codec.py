"""Many texts at once and long texts in pieces: the ids are those of each text alone, as SentencePiece says them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import LINES
from utils import encoders as encoders_module
from utils.chat import MARK_IDS, MARKS, conversation
from utils.codec import Codec
from utils.encoders import SPM

LETTERS = sorted({c for line in LINES for c in line} | set("😀龘\u2581\u3000 \t\r\x00é")) + list(MARKS)
TEXTS = st.lists(st.one_of(st.sampled_from(LETTERS), st.sampled_from(LINES)), max_size=60).map("".join)


def alone(codec: Codec, text: str) -> list[int]:
    return list(codec.encoder.spm.Encode(text))


@settings(max_examples=40)
@given(texts=st.lists(TEXTS, max_size=5), piece=st.integers(2, 30))
def test_long_texts_are_cut_where_no_token_lies_across(codec: Codec, texts: list[str], piece: int):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoders_module, "LONG", 2 * piece)
        patch.setattr(encoders_module, "PIECE", piece)
        patch.setattr(encoders_module, "NEAR_END", piece // 2)
        patch.setattr(encoders_module, "MANY", piece)
        got = codec.encode_all(texts)
    assert [ids.tolist() for ids in got] == [alone(codec, text) for text in texts]


def test_a_long_text_is_cut_and_one_that_cannot_be_is_not(codec: Codec):
    long = "".join(LINES) * 1000
    pieces = codec.encoder._pieces(long)
    assert "".join(pieces) == long
    assert max(map(len, pieces)) < 2 * encoders_module.PIECE + encoders_module.NEAR_END
    assert codec.encode(long).tolist() == alone(codec, long)
    joined = next(pair for pair in sorted(codec.encoder._joined) if pair[0] == pair[1])
    assert codec.encoder._pieces(joined * encoders_module.LONG) == [joined * encoders_module.LONG]


def test_the_sign_that_stands_for_a_space_is_joined_like_one(codec: Codec, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(encoders_module, "LONG", 8)
    monkeypatch.setattr(encoders_module, "PIECE", 4)
    monkeypatch.setattr(encoders_module, "NEAR_END", 2)
    for space in (" ", "\u2581"):
        text = f"The{space}quick{space}brown{space}fox{space}jumps{space}over{space}the{space}lazy{space}dog." * 9
        assert codec.encode(text).tolist() == alone(codec, text)
        assert len(codec.encoder._pieces(text)) > 9


@settings(max_examples=40)
@given(st.lists(st.lists(st.tuples(TEXTS, TEXTS), max_size=3), max_size=4))
def test_dialogues_together_are_each_alone(codec: Codec, talks: list[list[tuple[str, str]]]):
    said = [[message for pair in talk for message in zip(("user", "assistant"), pair, strict=True)] for talk in talks]
    segments = [conversation([{"role": role, "content": text} for role, text in talk]) for talk in said]
    tokens_T, trained_T, lengths_N = codec.encode_dialogues(segments)
    assert len(tokens_T) == len(trained_T) == lengths_N.sum()
    at = 0
    for some, length in zip(segments, lengths_N.tolist(), strict=True):
        ids, trained = [], []
        for segment in some:
            new = [MARK_IDS[segment.text]] if segment.is_mark else alone(codec, segment.text)
            ids += new
            trained += [segment.trained] * len(new)
        assert tokens_T[at : at + length].tolist() == ids
        assert trained_T[at : at + length].tolist() == trained
        one, spans = codec.encode_segments(some)
        assert one.tolist() == ids
        assert np.isin(np.arange(length), [i for a, b in spans for i in range(a, b)]).tolist() == trained
        at += length


def test_a_tokenizer_that_is_open_outlives_its_folder(tiny_tokenizer: Path, tmp_path: Path):
    """A model that is published after hours has the tokenizer that it was trained with."""
    folder = shutil.copytree(tiny_tokenizer, tmp_path / "tokenizer")
    codec = Codec(folder)
    shutil.rmtree(folder)
    assert codec.files == {SPM: (tiny_tokenizer / SPM).read_bytes()}
