"""Small packs and their feeds, made of documents whose tokens all differ, and drawn by hypothesis."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from bench.feed_shards import finish
from pipeline.train.config import Verb
from pipeline.train.feed import ShardFeed
from pipeline.train.rows import Rows
from utils.chat import END_OF_TEXT, MARK_IDS, PAD, TURN
from utils.shard_writer import shard_writer
from utils.shards import Spans

EDGE, OPENS, PADDING = MARK_IDS[END_OF_TEXT], MARK_IDS[TURN], MARK_IDS[PAD]
UNTRAINED = -100
VOCABULARY = 65_000
Dialogue = list[tuple[int, bool]]  # turns: (tokens, trained?)
IN_MEMORY = Path("/dev/shm")  # where whole files need not wait for a disk


def write_pack(
    folder: Path,
    shards: Mapping[str, Sequence[tuple[list[int], Spans | None]]],
    dtype: type = np.uint16,
) -> Path:
    counts = {}
    for name, documents in shards.items():
        with shard_writer(folder / name, VOCABULARY if dtype is np.uint16 else 1 << 20, np.dtype(dtype)) as writer:
            for index, (tokens, spans) in enumerate(documents):
                writer.add(f"{Path(name).stem}/{index}", np.array(tokens, dtype), spans, len(tokens))
        counts[name] = {"documents": writer.documents, "tokens": writer.tokens}
    return finish(folder, counts, VOCABULARY)


def text(lengths: list[int], first: int) -> list[tuple[list[int], None]]:
    """Documents whose tokens are all different, so that a lost or doubled one is seen."""
    documents = []
    for length in lengths:
        documents.append(([EDGE, *range(first, first + length)], None))
        first += length
    return documents


def dialogue(turns: Dialogue, first: int) -> tuple[list[int], list[tuple[int, int]]]:
    tokens: list[int] = []
    spans = []
    for length, trained in turns:
        tokens += [OPENS, *range(first, first + length - 1)]
        first += length - 1
        if trained:
            spans.append((len(tokens) - length + 1, len(tokens)))
    return tokens, spans


def dialogues(shapes: list[Dialogue], first: int = 100) -> list[tuple[list[int], list[tuple[int, int]]]]:
    made = []
    for turns in shapes:
        made.append(dialogue(turns, first))
        first += sum(length - 1 for length, _ in turns)
    return made


@contextmanager
def temporary() -> Iterator[Path]:
    """A folder for one example, in memory where that goes: hypothesis runs many within one test's tmp_path."""
    folder = Path(tempfile.mkdtemp(dir=IN_MEMORY if IN_MEMORY.is_dir() else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def text_feed(
    folder: Path,
    sizes: dict[str, list[int]],
    seq_len: int,
    seed: int = 0,
    mix: dict[str, float] | None = None,
):
    shards, first = {}, 100
    for name, lengths in sizes.items():
        middle = len(lengths) // 2  # two shards a source: its documents run on across them
        for number, some in enumerate((lengths[:middle], lengths[middle:])):
            shards[f"pretrain/train/{name}-{number:05d}.arrow"] = text(some, first)
            first += sum(some)
    return ShardFeed(write_pack(folder, shards), "pretrain", seq_len, seed, mix or {}, folder / "cache")


def chat_feed(folder: Path, shapes: list[Dialogue], seq_len: int, verb: Verb = "finetune") -> ShardFeed:
    made = dialogues(shapes)
    shards = {
        "finetune/train/talk-00000.arrow": made[: len(made) // 2],
        "finetune/train/talk-00001.arrow": made[len(made) // 2 :],
    }
    return ShardFeed(write_pack(folder, shards), verb, seq_len, 0, {}, folder / "cache")


def places(feed: ShardFeed) -> dict[bytes, tuple[str, int]]:
    """The source of each row that there is, and which of its sequences it is: told by what stands in it."""
    known: dict[bytes, tuple[str, int]] = {}
    for name, sequences in feed.by_source.items():
        stored = sequences.rows(np.arange(len(sequences))) if len(sequences) else None
        known |= {row: (name, index) for index, row in enumerate(as_bytes(stored))} if stored else {}
    assert len(known) == sum(map(len, feed.by_source.values())), "no two are alike"
    return known


def as_bytes(rows: Rows) -> list[bytes]:
    pairs = zip(rows.input_ids, rows.targets, strict=True)
    return [inputs.tobytes() + targets.tobytes() for inputs, targets in pairs]


def epoch(feed: ShardFeed) -> Rows:
    return feed.rows(0, range(feed.sequences))


def check_positions(rows: Rows) -> None:
    """A row starts at 0; from there a position goes up by one or starts again."""
    position_ids = rows.position_ids
    assert (position_ids[:, 0] == 0).all()
    assert ((position_ids[:, 1:] == position_ids[:, :-1] + 1) | (position_ids[:, 1:] == 0)).all()


lengths = st.lists(st.integers(0, 30), min_size=1, max_size=12)
corpora = st.dictionaries(st.sampled_from(["wiki", "web", "books"]), lengths, min_size=1)
turns = st.tuples(st.integers(3, 14), st.booleans())
shapes = st.lists(st.lists(turns, min_size=1, max_size=6), min_size=1, max_size=15)
