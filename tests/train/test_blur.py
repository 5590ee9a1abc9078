"""A blurred question: only the user's words change, nothing trained is lost, and who asks changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.train.blur import Blur, users_words, without_short
from pipeline.train.config import FinetuneConfig
from pipeline.train.feed import ShardFeed
from pipeline.train.rows import Rows, positions
from tests.train.packs import check_positions
from utils.chat import MARK_IDS, PAD, conversation
from utils.codec import Codec
from utils.scoring import UNTRAINED

TALK = [
    {"role": "system", "content": "你是牙牙。"},
    {"role": "user", "content": "天空为什么是蓝色的？\nuser\n再说一遍"},
    {"role": "assistant", "content": "因为蓝光散射得多。"},
    {"role": "user", "content": "谢谢你告诉我这么多"},
    {"role": "assistant", "content": "不客气。"},
]


@pytest.fixture(scope="module")
def codec(packed: Path) -> Codec:
    return Codec(packed / "tokenizer")


@pytest.fixture(scope="module")
def feed(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> ShardFeed:
    return opened(packed, tmp_path_factory.mktemp("plan"))


def opened(packed: Path, cache: Path, blur: Blur | None = None) -> ShardFeed:
    return ShardFeed(packed / "pack", "finetune", 128, 0, {}, cache, blur)


def rows_of(codec: Codec) -> tuple[Rows, np.ndarray]:
    """A row of one conversation, and where the user's words stand in it."""
    ids, spans, asked = [], [], []
    for message in TALK:
        part, trained = codec.encode_segments(conversation([message]))
        spans += [(len(ids) + start, len(ids) + end) for start, end in trained]
        header = 1 + len(codec.encode(f"{message['role']}\n"))
        inside = range(header, len(part) - 2) if message["role"] == "user" else ()  # before <|im_end|> and "\n"
        asked += [i in inside for i in range(len(part))]
        ids += part.tolist()
    targets = np.full(len(ids), UNTRAINED)
    for start, end in spans:
        targets[start - 1 : end - 1] = ids[start:end]
    starts = np.arange(len(ids)) == 0
    return Rows(np.array([ids]), targets[None], positions(starts[None])), np.array([asked])


def test_the_users_words_are_found_and_nothing_else(codec: Codec) -> None:
    rows, asked = rows_of(codec)
    header = [MARK_IDS["<|im_start|>"], *codec.encode("user\n").tolist()]
    assert np.array_equal(
        users_words(rows.input_ids, header, (MARK_IDS["<|im_start|>"], MARK_IDS["<|im_end|>"])), asked
    )
    assert asked.sum() > 8


def test_a_short_question_is_left_as_it_is() -> None:
    asked = np.array([[1, 1, 0, 1, 1, 1, 1, 0], [0, 1, 1, 1, 0, 1, 1, 1]], bool)
    assert without_short(asked, 4).astype(int).tolist() == [[0, 0, 0, 1, 1, 1, 1, 0], [0] * 8]
    assert without_short(asked, 3).astype(int).tolist() == [[0, 0, 0, 1, 1, 1, 1, 0], [0, 1, 1, 1, 0, 1, 1, 1]]


def test_what_is_not_asked_stays_as_it_is(codec: Codec) -> None:
    rows, asked = rows_of(codec)
    left_out = replaced = 0
    for number in range(200):
        blurred = Blur(0.5, 0, codec)(rows, number)
        check_positions(blurred)
        end = int((blurred.input_ids[0] != MARK_IDS[PAD]).sum())
        left_out += asked.size - end
        kept = blurred.input_ids[0, :end].tolist()
        for token in rows.input_ids[0, ~asked[0]].tolist():  # in order, though the user's words between them changed
            kept = kept[kept.index(token) + 1 :]
        trained = blurred.targets != UNTRAINED
        assert np.array_equal(blurred.targets[trained], rows.targets[rows.targets != UNTRAINED])
        assert np.array_equal(blurred.input_ids[:, 1:][trained[:, :-1]], blurred.targets[:, :-1][trained[:, :-1]])
        replaced += len(set(blurred.input_ids[0].tolist()) - set(rows.input_ids[0].tolist()) - {MARK_IDS[PAD]})
    assert 0.2 < left_out / (200 * asked.sum()) < 0.3
    assert 0.2 < replaced / (200 * asked.sum()) < 0.3


def test_a_blurred_batch_does_not_depend_on_who_asks(packed: Path, codec: Codec, tmp_path: Path) -> None:
    feed = opened(packed, tmp_path, Blur(0.3, 7, codec))
    whole = feed.rows(5, range(12))
    parts = [feed.rows(5, range(0, 5)), feed.rows(5, range(5, 12))]
    assert np.array_equal(np.concatenate([part.input_ids for part in parts]), whole.input_ids)
    assert np.array_equal(feed.rows(10, range(7)).targets, parts[1].targets)
    check_positions(whole)
    assert ((whole.position_ids == 0).sum(axis=1) > 2).all(), "several documents a row"
    begins = (whole.input_ids == codec.pad) & (whole.position_ids == 0)
    padded = (whole.input_ids == codec.pad).any(axis=1)
    assert padded.sum() > 6
    assert np.array_equal(begins.sum(axis=1), padded), "what is left of a row is one stretch of padding"


def test_each_reading_and_each_seed_lacks_other_words(packed: Path, codec: Codec, feed: ShardFeed, tmp_path: Path):
    rows = feed.rows(0, range(4))
    readings = [Blur(0.3, seed, codec)(rows, number).input_ids for seed, number in [(0, 0), (0, 4), (1, 0)]]
    assert not any(np.array_equal(readings[i], readings[j]) for i, j in [(0, 1), (0, 2), (1, 2)])
    assert np.array_equal(rows.input_ids, feed.rows(0, range(4)).input_ids)


def test_a_share_is_a_share() -> None:
    with pytest.raises(ValueError, match=r"blur = 1\.5"):
        FinetuneConfig(epochs=1, blur=1.5)
