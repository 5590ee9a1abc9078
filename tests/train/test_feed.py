"""Packing and binning: properties that hold for any lengths, mixtures and world sizes."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.train.bins import cut_at_turns
from pipeline.train.feed import ShardFeed, batches, sequences_of
from pipeline.train.rows import BinnedDialogues, Rows
from tests.train.packs import (
    EDGE,
    OPENS,
    PADDING,
    UNTRAINED,
    Dialogue,
    as_bytes,
    chat_feed,
    check_positions,
    corpora,
    dialogues,
    epoch,
    places,
    shapes,
    temporary,
    text,
    text_feed,
    write_pack,
)
from utils.console import UserError
from utils.shards import sources

# ---------------------------------------------------------------- pretrain


@given(corpora, st.integers(2, 17), st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_pretrain_loses_no_token_and_doubles_none(sizes: dict[str, list[int]], seq_len: int, seed: int):
    with temporary() as folder:
        feed = text_feed(folder, sizes, seq_len, seed)
        rows = epoch(feed)
        expected: Counter[int] = Counter()
        for name, source in sources(folder, "pretrain", "train").items():
            tokens = source.take(np.array([0]), np.array([source.tokens]))
            expected.update([*tokens[1:].tolist(), EDGE])
            assert len(feed.by_source[name]) == -(-source.tokens // seq_len)
        assert Counter(rows.targets[rows.targets != UNTRAINED].tolist()) == expected
        learned = rows.targets != UNTRAINED
        assert (rows.input_ids[~learned] == PADDING).all()
        # what a row feeds in next is what it was asked to predict
        assert (rows.input_ids[:, 1:] == rows.targets[:, :-1])[learned[:, 1:]].all()
        check_positions(rows)
        edges = (rows.input_ids == EDGE) | (np.arange(seq_len) == 0)
        assert (rows.position_ids[learned] == 0).tolist() == edges[learned].tolist()


def test_the_last_target_is_the_next_sequences_first_input(tmp_path: Path):
    feed = text_feed(tmp_path, {"wiki": [5, 3, 9, 2]}, 4)
    rows = feed.by_source["wiki"].rows(np.arange(len(feed.by_source["wiki"])))
    flat = [EDGE, 100, 101, 102, 103, 104, EDGE, 105, 106, 107, EDGE, *range(108, 117), EDGE, 117, 118, EDGE]
    assert rows.input_ids.tolist()[:-1] == [flat[i : i + 4] for i in range(0, len(flat) - 5, 4)]
    assert rows.input_ids[1:, 0].tolist() == rows.targets[:-1, -1].tolist()
    assert rows.input_ids[-1].tolist() == [EDGE, 117, 118, PADDING]
    assert rows.targets[-1].tolist() == [117, 118, EDGE, UNTRAINED]
    assert rows.position_ids[-1].tolist() == [0, 1, 2, 0]
    assert rows.position_ids[1].tolist() == [0, 1, 0, 1], "a document that began in the row before starts again at 0"


@given(corpora, st.integers(1, 16), st.integers(1, 24), st.integers(0, 200))
@settings(max_examples=25, deadline=None)
def test_a_batch_does_not_depend_on_who_asks(sizes: dict[str, list[int]], world: int, batch: int, consumed: int):
    with temporary() as folder:
        feed = text_feed(folder, sizes, 7)
        whole = feed.rows(consumed, range(batch))
        each = -(-batch // world)
        shares = [range(min(r * each, batch), min((r + 1) * each, batch)) for r in range(world)]
        parts = [feed.rows(consumed, share) for share in shares]
        for name in ("input_ids", "targets", "position_ids"):
            assert np.array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(whole, name))
            assert getattr(whole, name).dtype == np.int32
            assert getattr(whole, name).shape == (batch, 7)


@given(corpora, st.integers(0, 4))
@settings(max_examples=15, deadline=None)
def test_each_sequence_once_an_epoch(sizes: dict[str, list[int]], number: int):
    with temporary() as folder:
        feed = text_feed(folder, sizes, 5)
        read = feed.rows(number * feed.sequences, range(feed.sequences))
        stored = [some.rows(np.arange(len(some))) for some in feed.by_source.values() if len(some)]
        assert sorted(as_bytes(read)) == sorted(row for some in stored for row in as_bytes(some))


def test_epochs_and_seeds_differ(tmp_path: Path):
    feed = text_feed(tmp_path / "a", {"wiki": [30] * 40}, 8)
    other = text_feed(tmp_path / "b", {"wiki": [30] * 40}, 8, seed=1)
    first = as_bytes(epoch(feed))
    assert first != as_bytes(feed.rows(feed.sequences, range(feed.sequences)))
    assert first != as_bytes(epoch(other))
    assert first == as_bytes(epoch(text_feed(tmp_path / "c", {"wiki": [30] * 40}, 8)))


def test_a_mix_gives_each_source_its_share_and_its_own_epochs(tmp_path: Path):
    feed = text_feed(tmp_path, {"wiki": [30] * 40, "web": [30] * 4, "books": [30] * 4}, 8, mix={"wiki": 1, "web": 3})
    assert feed.left_aside == ["books"]
    known = places(feed)
    read = [known[row] for row in as_bytes(feed.rows(0, range(400)))]
    assert Counter(name for name, _ in read) == {"wiki": 100, "web": 300}
    web = [index for name, index in read if name == "web"]
    size = len(feed.by_source["web"])
    for start in range(0, len(web) - size, size):
        assert sorted(web[start : start + size]) == list(range(size))


def test_nothing_to_train_on_is_told(tmp_path: Path):
    write_pack(tmp_path, {})
    with pytest.raises(UserError, match="nothing to train on"):
        ShardFeed(tmp_path, "pretrain", 8, 0, {}, tmp_path / "cache")
    assert sequences_of(tmp_path, "pretrain", "valid", 8, tmp_path / "cache") == {}


# ---------------------------------------------------------------- finetune


def documents_of(rows: Rows) -> list[tuple[list[int], list[int]]]:
    """The pieces that lie in rows: (inputs, targets), padding left out."""
    found = []
    for inputs, targets, position_ids in zip(rows.input_ids, rows.targets, rows.position_ids, strict=True):
        starts = [*np.flatnonzero(position_ids == 0).tolist(), len(inputs)]
        for start, end in pairwise(starts):
            if inputs[start] == PADDING:
                assert (inputs[start:] == PADDING).all()
                assert (targets[start:] == UNTRAINED).all()
                break
            found.append((inputs[start:end].tolist(), targets[start:end].tolist()))
    return found


@given(shapes, st.integers(4, 60))
@settings(max_examples=40, deadline=None)
def test_finetune_cuts_no_dialogue_that_fits_and_trains_what_spans_say(shapes: list[Dialogue], seq_len: int):
    made = dialogues(shapes)
    expected = []
    for tokens, spans in made:
        trained = {place for start, end in spans for place in range(start, end)}
        if len(tokens) <= seq_len + 1:
            targets = [token if place in trained else UNTRAINED for place, token in enumerate(tokens)]
            expected.append((tokens[:-1], targets[1:]))
    with temporary() as folder:
        try:
            feed = chat_feed(folder, shapes, seq_len)
        except UserError:
            assert not expected, "there was something that fits"
            return
        rows = epoch(feed)
        check_positions(rows)
        found = documents_of(rows)
        fitting = {tokens[0][1]: tokens for tokens in expected}
        pieces = [piece for piece in found if fitting.get(piece[0][1]) != piece]
        assert sorted(piece for piece in found if fitting.get(piece[0][1]) == piece) == sorted(expected)
        long = [(tokens, spans) for tokens, spans in made if len(tokens) > seq_len + 1]
        assert feed.counts["cut"] == len(long)
        for inputs, targets in pieces:  # whole turns of a dialogue that was too long, and something trained in them
            (tokens, spans) = next((t, s) for t, s in long if inputs[1] in t)
            start = tokens.index(inputs[1]) - 1
            end = start + len(inputs) + 1
            assert tokens[start] == OPENS
            assert end == len(tokens) or tokens[end] == OPENS
            trained = {place for first, last in spans for place in range(first, last)}
            assert tokens[start : end - 1] == inputs
            assert targets == [tokens[p] if p in trained else UNTRAINED for p in range(start + 1, end)]
            assert any(target != UNTRAINED for target in targets)
        doubled = [token for inputs, _ in found for token in inputs if token != OPENS]
        assert len(doubled) == len(set(doubled))


def test_a_cut_keeps_a_reply_with_its_question():
    runs = cut_at_turns([0, 10, 20, 30, 40, 50, 60], [False, True] * 3, 34)
    assert runs == ([(0, 20), (20, 40), (40, 60)], 0, 0)
    assert cut_at_turns([0, 10, 20, 90, 100], [False, True, False, True], 34) == ([(0, 20), (90, 100)], 1, 0)
    assert cut_at_turns([0, 10, 90, 100], [False, True, False], 34) == ([], 1, 2)


def test_the_plan_is_made_once_and_kept_by_length(tmp_path: Path):
    shapes = [[(n, False), (n + 2, True)] for n in range(3, 40)]
    first = chat_feed(tmp_path, shapes, 64)
    stamps = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    again = ShardFeed(tmp_path, "finetune", 64, 0, {}, tmp_path / "cache")
    assert stamps == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    assert np.array_equal(epoch(first).input_ids, epoch(again).input_ids)
    assert first.counts == again.counts
    layout = again.by_source["talk"].layout
    assert isinstance(layout, BinnedDialogues)
    assert not layout.plans[0].pieces_P2.flags.owndata, "the plan is mapped, not read"
    ShardFeed(tmp_path, "finetune", 32, 0, {}, tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 2 * len(stamps)


@pytest.mark.parametrize("harm", [b"", b"short", None])
@pytest.mark.parametrize("part", ["pieces", "trained", "edges", "json"])
def test_a_plan_that_is_not_as_it_was_made_is_made_again(tmp_path: Path, part: str, harm: bytes | None):
    shapes = [[(5, False), (7, True)]] * 9
    folder = write_pack(tmp_path, {"finetune/train/talk-00000.arrow": dialogues(shapes)})

    def rows() -> Rows:
        return ShardFeed(folder, "finetune", 24, 0, {}, tmp_path / "cache").rows(0, range(4))

    before = rows()
    path = next((tmp_path / "cache").glob(f"*.{part}"))
    if harm is None:
        path.unlink()
    else:
        path.write_bytes(harm + path.read_bytes()[len(harm) + 3 :])
    after = rows()
    assert all(np.array_equal(getattr(before, name), getattr(after, name)) for name in vars(before))


# ---------------------------------------------------------------- held out


@given(st.integers(1, 5), st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_held_out_text_is_read_once_by_any_ranks(world: int, rows: int):
    with temporary() as folder:
        write_pack(folder, {"pretrain/valid/wiki-00000.arrow": text([5, 9, 3, 20], 100)})
        windows = sequences_of(folder, "pretrain", "valid", 6, folder / "cache")["wiki"]
        seen: list[int] = []
        for rank in range(world):
            for part in batches(windows, rows, rank, world):
                assert len(part.input_ids) <= rows
                seen += part.targets[part.targets != UNTRAINED].tolist()
        assert sorted(seen) == sorted([*range(100, 137), *[EDGE] * 4])
