"""Rows, bit for bit as the plain way makes them: loops over rows, documents and spans, from the documents alone."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.train import bins
from pipeline.train.bins import cut_at_turns
from pipeline.train.config import Verb
from pipeline.train.feed import laid_out, sequences_of
from pipeline.train.fit import fitted
from pipeline.train.rows import Rows
from tests.train.packs import EDGE, OPENS, PADDING, UNTRAINED, temporary, write_pack
from utils import shard_writer as writing
from utils.shards import Spans

Document = tuple[list[int], Spans | None]


# ---------------------------------------------------------------- the plain way


def plain_text(documents: list[Document], seq_len: int) -> Iterator[tuple[list[int], list[int], list[int]]]:
    """Inputs, targets and positions of each sequence of running text."""
    run = [token for tokens, _ in documents for token in tokens]
    for start in range(0, len(run), seq_len):
        tokens = [*run, EDGE][start : start + seq_len + 1]
        rest = seq_len + 1 - len(tokens)
        inputs = tokens[:-1] + [PADDING] * rest
        places: list[int] = []
        for number, token in enumerate(inputs):
            starts = (token == EDGE and number < len(tokens) - 1) or number in (0, len(tokens) - 1)
            places.append(0 if starts else places[-1] + 1)
        yield inputs, tokens[1:] + [UNTRAINED] * rest, places


def plain_dialogues(
    documents: list[Document], seq_len: int, window: int
) -> Iterator[tuple[list[int], list[int], list[int]]]:
    """Inputs, targets and positions of each row of dialogues, fitted within windows."""
    pieces = [(number, *piece) for number, document in enumerate(documents) for piece in plain_cut(*document, seq_len)]
    for start in range(0, len(pieces), window):
        some = pieces[start : start + window]
        numbers = fitted(np.array([end - first - 1 for _, first, end in some]), seq_len).tolist()
        for number in range(max(numbers) + 1):
            inputs: list[int] = []
            targets: list[int] = []
            places: list[int] = []
            for (document, first, end), bin in zip(some, numbers, strict=True):
                if bin == number:
                    tokens, spans = documents[document]
                    spans = [(0, len(tokens))] if spans is None else spans
                    learned = {place for begin, stop in spans for place in range(begin, stop)}
                    inputs += tokens[first : end - 1]
                    targets += [tokens[at] if at in learned else UNTRAINED for at in range(first + 1, end)]
                    places += range(end - first - 1)
            rest = seq_len - len(inputs)
            yield inputs + [PADDING] * rest, targets + [UNTRAINED] * rest, [*places, *range(rest)]


def plain_cut(tokens: list[int], spans: Spans | None, seq_len: int) -> list[tuple[int, int]]:
    """The pieces of a dialogue: all of it, or runs of whole turns."""
    if len(tokens) <= seq_len + 1:
        return [(0, len(tokens))] if len(tokens) > 1 else []
    edges = sorted({0, *(place for place, token in enumerate(tokens) if token == OPENS), len(tokens)})
    trained = [spans is None or any(a < end and b > start for a, b in spans) for start, end in pairwise(edges)]
    return [(start, end) for start, end in cut_at_turns(edges, trained, seq_len)[0] if end - start > 1]


# ---------------------------------------------------------------- both ways

texts = st.lists(
    st.tuples(st.lists(st.sampled_from([EDGE, 50, 51, 64_999]), max_size=30), st.none()), min_size=1, max_size=12
)


@st.composite
def chats(draw: st.DrawFn) -> Document:
    """A dialogue with any spans, side by side, one over the other, beyond an edge of a turn, or none at all."""
    tokens = draw(st.lists(st.sampled_from([OPENS, OPENS, 50, 51, 52, 64_999]), max_size=40))
    places = st.integers(0, len(tokens))
    spans = st.lists(st.tuples(places, places).map(lambda pair: (min(pair), max(pair))), max_size=4)
    return tokens, draw(st.none() | spans)


def shard_names(verb: str, documents: list[Document], split: int) -> dict[str, list[Document]]:
    """The documents in two shards, the first of which may be empty."""
    parts = (documents[:split], documents[split:])
    return {f"{verb}/valid/talk-{number:05d}.arrow": part for number, part in enumerate(parts)}


def assert_same(rows: Rows, plain: list[tuple[list[int], list[int], list[int]]]) -> None:
    for name, column in zip(("input_ids", "targets", "position_ids"), zip(*plain, strict=True), strict=True):
        assert getattr(rows, name).tolist() == [list(row) for row in column], name


@given(texts, st.integers(2, 17), st.integers(0, 12), st.integers(1, 40))
@settings(max_examples=25, deadline=None)
def test_running_text(documents: list[Document], seq_len: int, split: int, batch_tokens: int) -> None:
    with temporary() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "BATCH_TOKENS", batch_tokens)  # rows run on over record batches and shards
        write_pack(folder, shard_names("pretrain", documents, split))
        sequences = sequences_of(folder, "pretrain", "valid", seq_len, folder / "cache")["talk"]
        plain = list(plain_text(documents, seq_len))
        assert len(sequences) == len(plain)
        if plain:
            assert_same(sequences.rows(np.arange(len(plain))), plain)
            some = np.array([len(plain) - 1, 0, 0])
            assert_same(sequences.rows(some), [plain[index] for index in some])


@given(st.lists(chats(), min_size=1, max_size=15), st.integers(3, 40), st.integers(0, 15), st.integers(1, 8))
@settings(max_examples=40, deadline=None)
def test_binned_dialogues(documents: list[Document], seq_len: int, split: int, window: int) -> None:
    with temporary() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "BATCH_DOCUMENTS", 4)
        patch.setattr(bins, "WINDOW", window)
        write_pack(folder, shard_names("finetune", documents, split))
        sequences = sequences_of(folder, "finetune", "valid", seq_len, folder / "cache")["talk"]
        plain = list(plain_dialogues(documents, seq_len, window))
        assert len(sequences) == len(plain)
        if plain:
            assert_same(sequences.rows(np.arange(len(plain))), plain)
            some = np.array([len(plain) - 1, 0, 0])
            assert_same(sequences.rows(some), [plain[index] for index in some])


@given(
    st.lists(st.lists(chats(), min_size=1, max_size=6), min_size=2, max_size=4),
    st.sampled_from(["pretrain", "finetune"]),
    st.integers(3, 40),
    st.randoms(use_true_random=False),
)
@settings(max_examples=40, deadline=None)
def test_rows_of_several_sources_are_each_ones_own(
    corpus: list[list[Document]], verb: Verb, seq_len: int, chance: Random
) -> None:
    with temporary() as folder:
        write_pack(folder, {f"{verb}/train/talk{number}-00000.arrow": some for number, some in enumerate(corpus)})
        _, layout = laid_out(folder, verb, "train", seq_len, folder / "cache")
        every = [(number, index) for number, size in enumerate(layout.sizes) for index in range(size)]
        some = np.array(chance.choices(every, k=20) if every else [], np.int64).reshape(-1, 2)
        rows = layout.rows(some[:, 0], some[:, 1])
        for place, (number, index) in enumerate(some.tolist()):
            alone = layout.rows(np.array([number]), np.array([index]))
            for field in vars(rows):
                assert np.array_equal(getattr(rows, field)[place], getattr(alone, field)[0]), (number, field)


def test_ids_of_32_bits(tmp_path: Path) -> None:
    documents: list[Document] = [([EDGE, 150_000, 50, 70_000], None), ([EDGE, 149_999], None)]
    write_pack(tmp_path, shard_names("pretrain", documents, 1), np.uint32)
    sequences = sequences_of(tmp_path, "pretrain", "valid", 3, tmp_path / "cache")["talk"]
    assert_same(sequences.rows(np.arange(2)), list(plain_text(documents, 3)))
