"""A batch on any number of ranks, in micro-batches of any size: the same rows; and how full they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.train.announce import tell_empty_places, tell_few_rows, told_fill
from pipeline.train.dealing import even_share, micro_batches, rounds, share
from pipeline.train.feed import ShardFeed
from pipeline.train.rows import Rows
from tests.train.packs import (
    UNTRAINED,
    as_bytes,
    chat_feed,
    dialogues,
    places,
    shapes,
    temporary,
    text_feed,
    write_pack,
)

lengths = st.lists(st.integers(1, 30), min_size=1, max_size=12)
corpora_without_gaps = st.dictionaries(st.sampled_from(["wiki", "web", "books"]), lengths, min_size=1)
"""No document is empty, so that no two rows are alike."""


@st.composite
def feeds(draw: st.DrawFn) -> Callable[[Path], ShardFeed]:
    """Text of several sources, by size or mixed, or dialogues: how to open it in a folder."""
    if draw(st.booleans()):
        some = draw(shapes)
        return lambda folder: chat_feed(folder, some, 84)
    corpus = draw(corpora_without_gaps)
    mix = draw(st.just({}) | st.fixed_dictionaries({name: st.integers(1, 5) for name in corpus}))
    return lambda folder: text_feed(folder, corpus, 7, mix=mix)


@given(feeds(), st.integers(1, 16), st.integers(1, 9), st.booleans(), st.integers(1, 40), st.integers(0, 500))
@settings(max_examples=30, deadline=None)
def test_ranks_and_micro_batches_make_up_the_batch(
    opened: Callable[[Path], ShardFeed], world: int, micro: int, dealt_whole: bool, batch: int, step: int
) -> None:
    with temporary() as folder:
        feed = opened(folder)
        whole = feed.rows(step * batch, range(batch))
        micro = min(micro, even_share(batch, world))
        at_least = micro if dealt_whole else 1
        number = rounds(batch, world, micro, at_least)
        assert number == rounds(batch, world, micro), "none more for being dealt out whole"
        real: list[Rows] = []
        for rank in range(world):
            pieces = micro_batches(feed.rows(step * batch, share(batch, rank, world, at_least)), number, micro)
            assert len(pieces) == number, "ranks would wait for each other"
            for piece in pieces:
                assert 1 <= len(piece.targets) <= micro
                if piece.input_ids.any():  # no document holds id 0
                    real.append(piece)
                else:
                    assert (piece.targets == UNTRAINED).all()
        for name in vars(whole):
            assert np.array_equal(np.concatenate([getattr(piece, name) for piece in real]), getattr(whole, name))


@given(st.integers(1, 16), st.integers(1, 9), st.integers(1, 99))
def test_micro_batches_of_the_recipe_are_the_same_at_any_world_size(world: int, micro: int, batch: int) -> None:
    """Of many processes as of one, if there are as many as to give each one."""
    assume(micro <= even_share(batch, world))
    one = [range(batch)[at : at + micro] for at in range(0, batch, micro)]
    lanes = [share(batch, rank, world, micro) for rank in range(world)]
    many = [mine[at : at + micro] for mine in lanes for at in range(0, len(mine), micro)]
    assert many == one
    assert max(math.ceil(len(mine) / micro) for mine in lanes) == rounds(batch, world, micro)


def test_places_that_stay_empty_are_told(capsys: pytest.CaptureFixture[str]):
    tell_empty_places("pretrain", 8, 2, 4)
    tell_empty_places("pretrain", 5, 1, 2)
    assert not capsys.readouterr().err
    tell_empty_places("pretrain", 5, 2, 1)
    assert "pretrain.batch_size = 5 is no multiple of 2 processes: 1 places stay empty" in capsys.readouterr().err
    tell_empty_places("pretrain", 40, 8, 4)
    assert "40 is no multiple of 8 processes x 4 rows at once: 24 places stay empty" in capsys.readouterr().err


@given(feeds(), st.integers(1, 16), st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_every_source_turns_over_its_epochs_on_any_ranks(
    opened: Callable[[Path], ShardFeed], world: int, batch: int
) -> None:
    """Whatever the batch and the mix: nothing is lost, and nothing comes twice."""
    with temporary() as folder:
        feed = opened(folder)
        steps = range(-(-3 * feed.sequences // batch))
        lanes = [share(batch, rank, world) for rank in range(world)]
        known, parts = places(feed), [feed.rows(step * batch, mine) for step in steps for mine in lanes]
        read = [known[row] for part in parts for row in as_bytes(part)]
        assert len(read) == len(steps) * batch
        for name, sequences in feed.by_source.items():
            indices, size = [index for source, index in read if source == name], len(sequences)
            for start in range(0, len(indices) - size + 1, max(1, size)):
                assert sorted(indices[start : start + size]) == list(range(size))
            rest = indices[len(indices) // size * size :] if size else indices
            assert len(set(rest)) == len(rest)


def test_a_batch_larger_than_its_data_is_told(capsys: pytest.CaptureFixture[str]):
    tell_few_rows("pretrain", 8, 8)
    assert not capsys.readouterr().out
    tell_few_rows("pretrain", 9, 8)
    assert "pretrain: only 8 rows for a batch_size of 9" in capsys.readouterr().out


# ---------------------------------------------------------------- fill


def test_fill_is_told_beside_one_dialogue_a_row(tmp_path: Path):
    """16 dialogues of 16 slots and 4 of 32 in rows of 64: 6 rows, all full; padded they would be 0.3 full."""
    short, long = [(8, False), (9, True)], [(16, False), (17, True)]
    feed = chat_feed(tmp_path, [short] * 16 + [long] * 4, 64)
    assert feed.sequences == 6
    held = feed.a_row_holds
    assert held == (20 / 6, 64)
    assert told_fill(*held, 64) == "3.3 dialogues a row, rows 100.0% full; one dialogue a row would be 30.0% full"
    assert text_feed(tmp_path / "text", {"wiki": [5]}, 8).a_row_holds is None


def test_fill_is_that_of_the_mix(tmp_path: Path):
    """One source fills its rows with two dialogues, the other leaves half of each row empty."""
    made = {"even": dialogues([[(16, False), (17, True)]] * 40), "odd": dialogues([[(16, False), (25, True)]] * 40)}
    pack = write_pack(tmp_path, {f"finetune/train/{name}-00000.arrow": some for name, some in made.items()})
    feed = ShardFeed(pack, "finetune", 64, 0, {"even": 3, "odd": 1}, tmp_path / "cache")
    assert feed.a_row_holds == (0.75 * 2 + 0.25, 0.75 * 64 + 0.25 * 40)
