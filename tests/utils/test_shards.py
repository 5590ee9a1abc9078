"""Token shards: what is written is what is read, and what is damaged is named."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils import shard_writer as writing
from utils.console import UserError
from utils.shard_check import VERIFIED, refuse_damaged_shards
from utils.shard_writer import Documents, shard_writer
from utils.shards import Shard, sources
from utils.stage import MANIFEST, read_json, write_json, write_manifest

DOCUMENTS = [
    ("a", [1, 500, 2], None),
    ("b", [7], []),
    ("c", [3, 4, 5, 6], [(1, 2), (3, 4)]),
    ("d", list(range(20, 45)), [(0, 25)]),
    ("e", [9, 9], None),
]


def write(path: Path, dtype: type = np.uint16, vocab_size: int = 600, tokenizer: str = "ours") -> dict[str, int]:
    with shard_writer(path, vocab_size, np.dtype(dtype), tokenizer) as writer:
        for name, tokens, spans in DOCUMENTS:
            writer.add(name, np.array(tokens, dtype), spans, 3 * len(tokens))
    return {"documents": writer.documents, "tokens": writer.tokens}


def make_pack(folder: Path, dtype: type = np.uint16) -> Path:
    names = [f"pretrain/train/wiki-0000{i}.arrow" for i in (0, 2)]
    counts = {name: write(folder / name, dtype) for name in names}
    write_manifest(folder, "pack", {}, {}, {"vocab_size": 600, "tokenizer": "ours", "shards": counts}, ("pyarrow",))
    return folder


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
@pytest.mark.parametrize("batch_tokens", [1, 4, 1 << 22])
def test_round_trip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: type, batch_tokens: int):
    monkeypatch.setattr(writing, "BATCH_TOKENS", batch_tokens)
    write(tmp_path / "a.arrow", dtype)
    shard = Shard(tmp_path / "a.arrow")
    for index, (_, tokens, spans) in enumerate(DOCUMENTS):
        got, got_spans = shard.document(index)
        assert got.tolist() == tokens
        assert got.dtype == dtype
        assert got_spans == spans
    edges = [np.diff(batch.edges_N1) for batch in shard.batches]
    assert np.concatenate(edges).tolist() == [len(tokens) for _, tokens, _ in DOCUMENTS]
    with pytest.raises(IndexError):
        shard.document(len(DOCUMENTS))


def test_tokens_are_views_of_the_file(tmp_path: Path):
    write(tmp_path / "a.arrow")
    tokens = Shard(tmp_path / "a.arrow").batches[0].tokens_T
    assert not tokens.flags.owndata
    assert not tokens.flags.writeable
    file = pa.ipc.open_file(pa.memory_map(str(tmp_path / "a.arrow")))
    assert file.schema.field("tokens").type == pa.list_(pa.uint16())
    assert file.schema.names == ["id", "tokens", "spans", "n_bytes"]


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
@pytest.mark.parametrize("batch_tokens", [1, 4, 1 << 22])
def test_a_source_runs_on_across_its_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: type, batch_tokens: int
):
    monkeypatch.setattr(writing, "BATCH_TOKENS", batch_tokens)
    source = sources(make_pack(tmp_path, dtype), "pretrain", "train")["wiki"]
    flat = [token for _, tokens, _ in DOCUMENTS * 2 for token in tokens]
    assert (source.tokens, source.documents) == (len(flat), 10)
    assert sum(len(batch.tokens_T) for batch in source.batches()) == len(flat)
    starts = np.arange(len(flat))[::-1]
    for length in (0, 1, 9, len(flat)):
        ends = np.minimum(starts + length, len(flat))
        expected = [token for start, end in zip(starts, ends, strict=True) for token in flat[start:end]]
        taken = source.take(starts, ends)
        assert taken.tolist() == expected
        assert taken.dtype == dtype
    assert source.document(7)[0].tolist() == DOCUMENTS[2][1]
    with pytest.raises(IndexError):
        source.document(10)


def test_taking_keeps_no_file_open(tmp_path: Path):
    source = sources(make_pack(tmp_path), "pretrain", "train")["wiki"]
    before = len(os.listdir("/proc/self/fd"))
    source.take(np.array([0]), np.array([source.tokens]))
    assert len(os.listdir("/proc/self/fd")) == before


def test_shards_of_two_widths_are_refused_by_name(tmp_path: Path):
    counts = {}
    for number, dtype in enumerate((np.uint16, np.uint32)):
        name = f"pretrain/train/wiki-0000{number}.arrow"
        counts[name] = write(tmp_path / name, dtype)
    write_manifest(tmp_path, "pack", {}, {}, {"vocab_size": 600, "shards": counts}, ("pyarrow",))
    with pytest.raises(UserError, match=r"wiki-00001\.arrow: ids of uint32"):
        sources(tmp_path, "pretrain", "train")["wiki"].take(np.array([0]), np.array([1]))


def test_an_id_beyond_the_vocabulary_is_named_and_leaves_no_file(tmp_path: Path):
    with pytest.raises(UserError, match="a holds token 500"):
        write(tmp_path / "a.arrow", vocab_size=500)
    assert list(tmp_path.iterdir()) == []


def test_a_short_or_missing_shard_is_named(tmp_path: Path):
    pack = make_pack(tmp_path)
    victim = pack / "pretrain/train/wiki-00002.arrow"
    whole = victim.read_bytes()
    victim.write_bytes(whole[:-1])
    told = rf"wiki-00002\.arrow: {len(whole) - 1:,} bytes, {len(whole):,} as made; delete"
    with pytest.raises(UserError, match=told):
        sources(pack, "pretrain", "train")
    victim.write_bytes(b"x" * len(whole))
    with pytest.raises(UserError, match=r"wiki-00002\.arrow.*damaged"):
        sources(pack, "pretrain", "train")["wiki"].document(5)
    victim.unlink()
    with pytest.raises(UserError, match=r"wiki-00002\.arrow: missing; delete"):
        sources(pack, "pretrain", "train")


def test_a_shard_with_fewer_tokens_than_its_manifest_says_is_named(tmp_path: Path):
    pack = make_pack(tmp_path)
    known = read_json(pack / "manifest.json")
    known["counters"]["shards"]["pretrain/train/wiki-00000.arrow"]["tokens"] += 1
    write_json(pack / "manifest.json", known)
    with pytest.raises(
        UserError, match=r"wiki-00000\.arrow: holds 5 documents and 35 tokens, its manifest says 5 documents and 36"
    ):
        sources(pack, "pretrain", "train")["wiki"].document(0)


def test_an_unfinished_pack_is_named(tmp_path: Path):
    with pytest.raises(UserError, match="run the pack stage"):
        sources(tmp_path, "pretrain", "train")


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2**6 - 1)), max_size=8), st.integers(1, 4))
def test_documents_together_are_what_each_is_alone(documents: list[tuple[int, int]], at_once: int):
    """Any trained tokens, at the edges of documents too; documents without a token; any number in a call."""
    trained = [np.array([bits >> i & 1 for i in range(n)], bool) for n, bits in documents]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.arrow"
        with shard_writer(path, 600, np.dtype(np.uint16)) as writer:
            for start in range(0, len(documents), at_once):
                some = trained[start : start + at_once]
                lengths_N = np.array([len(one) for one in some])
                trained_T = np.concatenate(some)
                ids = pa.array([str(start + i) for i in range(len(some))])
                tokens_T = np.arange(len(trained_T)) + start
                writer.write(Documents(ids, tokens_T, lengths_N, lengths_N * 3, trained_T))
        assert (writer.documents, writer.tokens) == (len(documents), sum(map(len, trained)))
        assert writer.trained == sum(int(one.sum()) for one in trained)
        shard = Shard(path)
        for i, wanted in enumerate(trained):
            tokens, spans = shard.document(i)
            assert spans is not None
            assert all(a < b for a, b in spans)
            assert all(b < c for (_, b), (c, _) in pairwise(spans)), "neighbours are joined"
            inside = {k for a, b in spans for k in range(a, b)}
            assert [k in inside for k in range(len(tokens))] == wanted.tolist()


# ---------------------------------------------------------------- before training starts

FIRST, SECOND = "pretrain/train/wiki-00000.arrow", "pretrain/train/wiki-00002.arrow"


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    return make_pack(tmp_path / "pack")


def check(pack: Path, vocab_size: int = 600, verb: str = "pretrain") -> None:
    refuse_damaged_shards(pack, verb, vocab_size, pack.with_name("plan"))


def overwrite(path: Path, data: bytes) -> None:
    """Other bytes; the file's size and time stay."""
    stat = path.stat()
    assert len(data) == stat.st_size
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def relist(pack: Path, name: str) -> None:
    """Let the manifest say the size that a shard has now."""
    known = read_json(pack / MANIFEST)
    known["files"][name]["size"] = (pack / name).stat().st_size
    write_json(pack / MANIFEST, known)


def test_a_sound_pack_passes_and_is_read_once(pack: Path):
    check(pack, 501)
    check(pack, 1, "finetune")
    check(pack)
    overwrite(pack / FIRST, b"x" * (pack / FIRST).stat().st_size)
    check(pack)
    os.utime(pack / FIRST, ns=(1, 1))
    with pytest.raises(UserError, match=r"wiki-00000\.arrow: damaged; delete"):
        check(pack)


def test_nothing_is_written_into_a_pack_nor_noted_of_a_bad_one(pack: Path):
    before = sorted(pack.rglob("*"))
    with pytest.raises(UserError):
        check(pack, 500)
    assert not pack.with_name("plan").exists()
    check(pack)
    assert [path.name for path in pack.with_name("plan").iterdir()] == [VERIFIED]
    assert sorted(pack.rglob("*")) == before


def test_an_id_beyond_the_model_s_vocabulary_is_refused(pack: Path):
    told = r"wiki-00000\.arrow: holds token 500, beyond the model's vocabulary of 500"
    with pytest.raises(UserError, match=told):
        check(pack, 500)
    check(pack, 501)
    with pytest.raises(UserError, match=told):  # known from before
        check(pack, 500)


def test_an_id_written_over_the_file_is_refused(pack: Path):
    data = (pack / SECOND).read_bytes()
    place = data.index(np.array([1, 500, 2, 7], np.uint16).tobytes())
    (pack / SECOND).write_bytes(data[:place] + b"\xff\xff" + data[place + 2 :])
    with pytest.raises(UserError, match=r"wiki-00002\.arrow: holds token 65,535"):
        check(pack)


def test_a_shard_of_another_tokenizer_is_refused(pack: Path):
    check(pack)
    write(pack / SECOND, tokenizer="theirs")
    relist(pack, SECOND)
    with pytest.raises(UserError, match=r"wiki-00002\.arrow: packed with another tokenizer \(theirs\)"):
        check(pack)


def test_a_shard_that_the_manifest_does_not_name_is_refused(pack: Path):
    shutil.copy(pack / FIRST, pack / "pretrain/train/wiki-00001.arrow")
    with pytest.raises(UserError, match=r"wiki-00001\.arrow: not made by this pack"):
        check(pack)
    check(pack, verb="finetune")


@pytest.mark.parametrize("left", [0, 7, 400, -1])
def test_a_shard_cut_short_is_refused(pack: Path, left: int):
    data = (pack / FIRST).read_bytes()
    (pack / FIRST).write_bytes(data[:left])
    with pytest.raises(
        UserError, match=rf"wiki-00000\.arrow: {len(data[:left]):,} bytes, {len(data):,} as made; delete"
    ):
        check(pack)
    (pack / FIRST).unlink()
    with pytest.raises(UserError, match=r"wiki-00000\.arrow: missing; delete"):
        check(pack)


def test_a_shard_with_fewer_documents_than_its_manifest_says_is_refused(pack: Path):
    with shard_writer(pack / FIRST, 600, np.dtype(np.uint16), "ours") as writer:
        writer.add("a", np.array([1, 2], np.uint16), None, 6)
    relist(pack, FIRST)
    told = "holds 1 documents and 2 tokens, its manifest says 5 documents and 35 tokens; delete"
    with pytest.raises(UserError, match=rf"wiki-00000\.arrow: {told}"):
        check(pack)


def test_damage_anywhere_is_told_in_one_line_or_passes(pack: Path):
    data = (pack / FIRST).read_bytes()
    told = []
    for place in range(0, len(data), 61):
        (pack / FIRST).write_bytes(data[:place] + (b"\xa5" * 24 + data[place + 24 :])[: len(data) - place])
        try:
            check(pack)
        except UserError as error:
            told.append(str(error))
    assert len(told) > 5
    assert not any("\n" in line for line in told)


def test_a_folder_that_may_only_be_read(pack: Path):
    (pack.with_name("plan") / VERIFIED).mkdir(parents=True)  # what cannot be written, even by root
    check(pack)


@pytest.mark.parametrize("entry", ["5", "[]", "{}", '{"size": 1}', None])
def test_a_damaged_note_is_written_anew(pack: Path, entry: str | None):
    check(pack)
    note = pack.with_name("plan") / VERIFIED
    sound = read_json(note)
    note.write_text("{" if entry is None else json.dumps(sound | {FIRST: json.loads(entry)}))
    check(pack)
    assert read_json(note) == sound
    for name in sound[FIRST]:
        lacks = {key: value for key, value in sound[FIRST].items() if key != name}
        for other in (lacks, lacks | {name: []}, sound[FIRST] | {"more": 1}):
            write_json(note, sound | {FIRST: other})
            check(pack)
            assert read_json(note) == sound
