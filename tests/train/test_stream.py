"""A stream's lanes: nothing lost, nothing that depends on who reads, and exact resume."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.train import patience, stream_source
from pipeline.train.ahead import Ahead
from pipeline.train.rows import Rows
from pipeline.train.stream import SOURCE, StreamFeed
from pipeline.train.stream_source import Anchor, Stream
from utils.codec import Codec
from utils.console import UserError

TEXTS = [f"第{i}篇：" + "今天天气很好，我们去公园散步。" * (i % 7) + " fox" * (i % 3) for i in range(90)]
BATCH = 6
LENGTH = 24


def as_parquet(folder: Path) -> str:
    for number, start in enumerate(range(0, len(TEXTS), 30)):
        table = pa.table({"id": list(range(30)), "text": [*TEXTS[start : start + 29], None]})
        pq.write_table(table, folder / f"part-{number}.parquet", row_group_size=7)
    return str(folder / "part-*.parquet")


def as_json_lines(folder: Path) -> str:
    for number, start in enumerate(range(0, len(TEXTS), 30)):
        rows = [{"text": text, "id": 1} for text in [*TEXTS[start : start + 29], "  "]]
        (folder / f"part-{number}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return str(folder / "*.jsonl")


KEPT = [text for i, text in enumerate(TEXTS) if i % 30 != 29]


@pytest.fixture(params=[as_parquet, as_json_lines])
def source(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(stream_source, "BLOCK", 16)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hf"))
    write: Callable[[Path], str] = request.param
    return write(tmp_path)


def feed(source: str, codec: Codec, seed: int = 0) -> StreamFeed:
    return StreamFeed.open(source, "text", codec, LENGTH, BATCH, seed)


def read(feed: StreamFeed, steps: range, lanes: range = range(BATCH)) -> list[Rows]:
    return [feed.rows(step * BATCH, lanes) for step in steps]


def same(ours: list[Rows], theirs: list[Rows]) -> bool:
    pairs = zip(ours, theirs, strict=True)
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for a, b in pairs for name in vars(a))


def test_no_token_is_lost(source: str, codec: Codec):
    """Of each lane's text, all but what its next sequence will bring: whole documents, each once an epoch."""
    rows = read(feed(source, codec), range(12))
    said: list[str] = []
    for lane in range(BATCH):
        inputs = np.concatenate([row.input_ids[lane] for row in rows])
        targets = np.concatenate([row.targets[lane] for row in rows])
        assert inputs[1:].tolist() == targets[:-1].tolist()
        assert inputs[0] == codec.end_of_text
        edges = np.flatnonzero(inputs == codec.end_of_text)
        said += [codec.decode(part[1:].tolist()) for part in np.split(inputs, edges)[1:-1]]
        for row in rows:
            starts = row.input_ids[lane] == codec.end_of_text
            starts[0] = True
            assert (row.position_ids[lane] == 0).tolist() == starts.tolist()
    assert len(said) > 50
    assert set(said) <= set(KEPT)
    assert len(set(said)) == len(said)


def test_every_document_comes_once_an_epoch(source: str, codec: Codec):
    endless = Stream.open(source, "text").documents(Anchor())
    epochs = [[next(endless) for _ in KEPT] for _ in range(3)]
    for epoch in epochs:
        assert sorted(document.text for document in epoch) == sorted(KEPT)
    assert [document.number for epoch in epochs for document in epoch] == list(range(3 * len(KEPT)))
    orders = [[document.text for document in epoch] for epoch in epochs]
    assert orders[0] != KEPT
    assert orders[0] != orders[1] != orders[2]


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_read_what_one_process_reads(source: str, codec: Codec, world: int):
    alone = read(feed(source, codec), range(8))
    each = BATCH // world
    ranks = [read(feed(source, codec), range(8), range(r * each, (r + 1) * each)) for r in range(world)]
    for step, whole in enumerate(alone):
        for name in vars(whole):
            assert np.array_equal(np.concatenate([getattr(rank[step], name) for rank in ranks]), getattr(whole, name))


@pytest.mark.parametrize(
    "stop", [1, 11, pytest.param(4, marks=pytest.mark.slow), pytest.param(30, marks=pytest.mark.slow)]
)
def test_resume_is_exact_and_free_in_world_size(source: str, codec: Codec, stop: int):
    whole = read(feed(source, codec), range(stop + 6))
    cursors: dict[str, object] = {}
    for rank in range(2):
        half = feed(source, codec)
        read(half, range(stop), range(rank * 3, rank * 3 + 3))
        cursors |= half.cursors()
    again = feed(source, codec)
    again.seek(json.loads(json.dumps(cursors)))
    assert same(read(again, range(stop, stop + 6)), whole[stop:])
    for rank in range(3):
        third = feed(source, codec)
        third.seek(json.loads(json.dumps(cursors)))
        lanes = range(rank * 2, rank * 2 + 2)
        assert np.array_equal(
            read(third, range(stop, stop + 1), lanes)[0].targets, whole[stop].targets[rank * 2 : rank * 2 + 2]
        )


def test_resume_reads_again_only_from_its_anchor(source: str, codec: Codec):
    first = feed(source, codec)
    read(first, range(10))
    lanes = [cursor for name, cursor in first.cursors().items() if name != SOURCE]
    assert min(lane["document"] for lane in lanes) > 16
    assert all(0 < c["anchor"]["document"] <= c["document"] < c["anchor"]["document"] + 16 for c in lanes)


def test_a_batch_read_ahead_leaves_the_cursors_of_the_one_before(source: str, codec: Codec):
    alone, ahead_of = feed(source, codec), feed(source, codec)
    cursors = []
    with Ahead(ahead_of, range(BATCH), range(0, 12 * BATCH, BATCH)) as ahead:
        for step in range(12):
            taken = ahead.next()
            assert same([taken.rows], read(alone, range(step, step + 1)))
            cursors.append((taken.cursors, json.dumps(alone.cursors())))
    for step, (found, expected) in enumerate(cursors):  # looked at now, when later batches have been read
        assert json.dumps(found) == expected, step


def test_lanes_may_be_asked_for_piece_by_piece(source: str, codec: Codec):
    whole = read(feed(source, codec), range(5))
    pieces = feed(source, codec)
    for step, expected in enumerate(whole):
        parts = [pieces.rows(step * BATCH, range(start, start + 2)) for start in range(0, BATCH, 2)]
        assert np.array_equal(np.concatenate([part.input_ids for part in parts]), expected.input_ids)


def test_seeds_differ(source: str, codec: Codec):
    assert not same(read(feed(source, codec), range(2)), read(feed(source, codec, seed=1), range(2)))


def test_mistakes_are_told_in_one_line(tmp_path: Path, codec: Codec):
    source = as_json_lines(tmp_path)
    with pytest.raises(UserError, match=r"stream_text.*no column 'txt'; did you mean text\?"):
        StreamFeed.open(source, "txt", codec, LENGTH, BATCH, 0)
    for bad in (str(tmp_path / "none.jsonl"), "corpus.csv"):
        with pytest.raises(UserError, match=r"pretrain\.stream"):
            feed(bad, codec)
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    with pytest.raises(UserError, match=r"pretrain\.stream: cannot read .*bad\.parquet"):
        feed(str(tmp_path / "bad.parquet"), codec)
    (tmp_path / "blank.json").write_text('{"text": " "}\n{"text": null}\n')
    with pytest.raises(UserError, match="holds no text"):
        read(feed(str(tmp_path / "blank.json"), codec), range(1))
    with pytest.raises(UserError, match="max_steps"):
        print(feed(source, codec).sequences)


def test_a_checkpoint_of_another_version_is_refused(tmp_path: Path, codec: Codec):
    """It says where its lanes stand in pieces that nobody makes any more."""
    first = feed(as_json_lines(tmp_path), codec)
    read(first, range(3))
    cursors = first.cursors()
    del cursors[SOURCE]
    with pytest.raises(UserError, match="earlier version"):
        first.seek(cursors)


def test_a_column_of_another_kind_is_the_files_fault(tmp_path: Path, codec: Codec):
    for name, text in (("a", "text"), ("b", ["text"])):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"text": text}) + "\n")
    with pytest.raises(UserError, match=r"Couldn't cast.*mend that file, or leave it out"):
        read(feed(str(tmp_path / "*.jsonl"), codec), range(1))


@pytest.mark.parametrize("bug", patience.BUGS)
def test_a_programs_mistake_is_not_told_as_the_persons(
    bug: type[Exception], tmp_path: Path, codec: Codec, monkeypatch: pytest.MonkeyPatch
):
    """Wherever it happens: here, when a block is opened."""
    ours = feed(as_parquet(tmp_path), codec)

    def fail(*_: object) -> None:
        raise bug("ours")

    monkeypatch.setattr(stream_source.Stream, "_opened", fail)
    with pytest.raises(bug, match="ours"):
        read(ours, range(1))


def test_local_files_are_known_by_their_ends(tmp_path: Path, codec: Codec):
    """A change of equal length, too; a copy elsewhere is the same."""
    source = as_json_lines(tmp_path)
    known = feed(source, codec).cursors()
    other = shutil.copytree(tmp_path, tmp_path / "copy")
    feed(str(other / "*.jsonl"), codec).seek(known)
    last = sorted(other.glob("*.jsonl"))[-1]
    last.write_bytes(last.read_bytes().replace(b"fox", b"cat"))
    with pytest.raises(UserError, match="changed since this run began"):
        feed(str(other / "*.jsonl"), codec).seek(known)
