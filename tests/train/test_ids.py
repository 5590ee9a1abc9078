"""Which records a row is made from: told by the shards alone, and held against the rows."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.train.feed import ShardFeed
from pipeline.train.stream import REMEMBERED, StreamFeed
from tests.train.packs import (
    OPENS,
    PADDING,
    Dialogue,
    as_bytes,
    corpora,
    dialogues,
    places,
    shapes,
    temporary,
    text_feed,
    write_pack,
)
from tests.train.test_stream import BATCH, LENGTH, as_parquet
from utils import shard_writer as writing
from utils.codec import Codec
from utils.console import UserError


def stored(folder: Path, verb: str) -> dict[str, list[tuple[str, list[int]]]]:
    """Each source's documents as any reader of Arrow sees them: id and tokens, in stored order."""
    found: dict[str, list[tuple[str, list[int]]]] = {}
    for path in sorted((folder / verb / "train").glob("*.arrow")):
        table = pa.ipc.open_file(path).read_all()
        pairs = zip(table["id"].to_pylist(), table["tokens"].to_pylist(), strict=True)
        found.setdefault(path.stem.rpartition("-")[0], []).extend(pairs)
    return found


def shares(batch: int, world: int) -> list[range]:
    each = -(-batch // world)
    return [range(min(r * each, batch), min((r + 1) * each, batch)) for r in range(world)]


@given(corpora, st.integers(2, 17), st.integers(1, 5), st.integers(1, 40), st.integers(0, 60))
@settings(max_examples=40, deadline=None)
def test_of_running_text_each_token_is_accounted_for(
    sizes: dict[str, list[int]], seq_len: int, world: int, batch_tokens: int, consumed: int
) -> None:
    with temporary() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "BATCH_TOKENS", batch_tokens)  # rows run on over record batches and shards
        feed = text_feed(folder, sizes, seq_len)
        documents = stored(folder, "pretrain")
        owners = {name: [id for id, tokens in some for _ in tokens] for name, some in documents.items()}
        epoch = feed.ids(0, range(feed.sequences))
        rows = feed.rows(0, range(feed.sequences))
        known = places(feed)
        for key, ids in zip(as_bytes(rows), epoch, strict=True):
            name, k = known[key]
            assert ids == list(dict.fromkeys(owners[name][k * seq_len : (k + 1) * seq_len]))
        assert {id for ids in epoch for id in ids} == {id for some in documents.values() for id, _ in some}
        batch = feed.ids(consumed, range(7))
        assert [ids for share in shares(7, world) for ids in feed.ids(consumed, share)] == batch


@given(st.lists(shapes, min_size=1, max_size=3), st.integers(4, 60), st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_of_dialogues_a_row_names_those_that_stand_in_it(
    sources: list[list[Dialogue]], seq_len: int, world: int
) -> None:
    with temporary() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "BATCH_DOCUMENTS", 4)
        first, made = 100, {}
        for number, some in enumerate(sources):
            made[f"finetune/train/talk{number}-00000.arrow"] = dialogues(some, first)
            first += sum(length for shape in some for length, _ in shape)
        write_pack(folder, made)
        try:
            feed = ShardFeed(folder, "finetune", seq_len, 0, {}, folder / "cache")
        except UserError:
            return  # nothing fits
        owner = {token: id for some in stored(folder, "finetune").values() for id, tokens in some for token in tokens}
        rows, epoch = feed.rows(0, range(feed.sequences)), feed.ids(0, range(feed.sequences))
        for inputs, ids in zip(rows.input_ids.tolist(), epoch, strict=True):
            assert ids == list(dict.fromkeys(owner[token] for token in inputs if token not in (OPENS, PADDING)))
        parts = [feed.ids(3, share) for share in shares(6, world)]
        assert [ids for part in parts for ids in part] == feed.ids(3, range(6))


def test_a_stream_knows_what_it_has_read_lately(tmp_path: Path, codec: Codec) -> None:
    feed = StreamFeed.open(as_parquet(tmp_path), "text", codec, LENGTH, BATCH, 0)
    read = {step: feed.rows(step * BATCH, range(BATCH)) for step in range(REMEMBERED + 2)}
    for lane in range(BATCH):
        opened = 0
        for step, rows in read.items():
            ids = feed.ids(step * BATCH, range(BATCH))[lane]
            numbers = [int(id.rpartition("/")[2]) for id in ids]
            opened += int((rows.input_ids[lane] == codec.end_of_text).sum())
            if step < 2:
                assert not ids, "forgotten"
            else:
                assert numbers[-1] == lane + (opened - 1) * BATCH
                assert all(b - a == BATCH for a, b in pairwise(numbers))
