"""Token shards: what is written is what is read, and what is damaged is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from utils import shards
from utils.console import UserError
from utils.shards import Shard, shard_writer, sources
from utils.stage import read_json, write_json, write_manifest

DOCUMENTS = [
    ("a", [1, 500, 2], None),
    ("b", [7], []),
    ("c", [3, 4, 5, 6], [(1, 2), (3, 4)]),
    ("d", list(range(20, 45)), [(0, 25)]),
    ("e", [9, 9], None),
]


def write(path: Path, dtype: type = np.uint16, vocab_size: int = 600) -> dict[str, int]:
    with shard_writer(path, vocab_size, np.dtype(dtype)) as writer:
        for name, tokens, spans in DOCUMENTS:
            writer.add(name, np.array(tokens, dtype), spans, 3 * len(tokens))
    return {"documents": writer.documents, "tokens": writer.tokens}


def make_pack(folder: Path) -> Path:
    counts = {
        f"pretrain/train/wiki-0000{i}.arrow": write(folder / f"pretrain/train/wiki-0000{i}.arrow") for i in (0, 2)
    }
    write_manifest(folder, "pack", {}, {}, {"vocab_size": 600, "shards": counts}, ("pyarrow",))
    return folder


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
@pytest.mark.parametrize("batch_tokens", [1, 4, 1 << 22])
def test_round_trip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: type, batch_tokens: int):
    monkeypatch.setattr(shards, "BATCH_TOKENS", batch_tokens)
    write(tmp_path / "a.arrow", dtype)
    shard = Shard(tmp_path / "a.arrow")
    for index, (_, tokens, spans) in enumerate(DOCUMENTS):
        got, got_spans = shard.document(index)
        assert got.tolist() == tokens
        assert got.dtype == dtype
        assert got_spans == spans
    flat = [token for _, tokens, _ in DOCUMENTS for token in tokens]
    for start in range(len(flat)):
        out = np.empty(len(flat) - start, np.int64)
        shard.read(start, out)
        assert out.tolist() == flat[start:]
    assert shard.lengths().tolist() == [len(tokens) for _, tokens, _ in DOCUMENTS]


def test_tokens_are_views_of_the_file(tmp_path: Path):
    write(tmp_path / "a.arrow")
    tokens = Shard(tmp_path / "a.arrow").batches[0].tokens_T
    assert not tokens.flags.owndata
    assert not tokens.flags.writeable
    file = pa.ipc.open_file(pa.memory_map(str(tmp_path / "a.arrow")))
    assert file.schema.field("tokens").type == pa.list_(pa.uint16())
    assert file.schema.names == ["id", "tokens", "spans", "n_bytes"]


def test_a_source_runs_on_across_its_shards(tmp_path: Path):
    source = sources(make_pack(tmp_path), "pretrain", "train")["wiki"]
    flat = [token for _, tokens, _ in DOCUMENTS * 2 for token in tokens]
    assert (source.tokens, source.documents) == (len(flat), 10)
    for start in range(len(flat)):
        out = np.empty(min(9, len(flat) - start), np.int64)
        source.read(start, out)
        assert out.tolist() == flat[start : start + 9]
    assert source.document(7)[0].tolist() == DOCUMENTS[2][1]


def test_an_id_beyond_the_vocabulary_is_named_and_leaves_no_file(tmp_path: Path):
    with pytest.raises(UserError, match="a holds token 500"):
        write(tmp_path / "a.arrow", vocab_size=500)
    assert list(tmp_path.iterdir()) == []


def test_a_short_or_missing_shard_is_named(tmp_path: Path):
    pack = make_pack(tmp_path)
    victim = pack / "pretrain/train/wiki-00002.arrow"
    whole = victim.read_bytes()
    victim.write_bytes(whole[:-1])
    with pytest.raises(UserError, match=r"wiki-00002\.arrow"):
        sources(pack, "pretrain", "train")
    victim.write_bytes(b"x" * len(whole))
    with pytest.raises(UserError, match=r"wiki-00002\.arrow.*damaged"):
        sources(pack, "pretrain", "train")["wiki"].document(5)
    victim.unlink()
    with pytest.raises(UserError, match=r"wiki-00002\.arrow"):
        sources(pack, "pretrain", "train")


def test_a_shard_with_fewer_tokens_than_its_manifest_says_is_named(tmp_path: Path):
    pack = make_pack(tmp_path)
    known = read_json(pack / "manifest.json")
    known["counters"]["shards"]["pretrain/train/wiki-00000.arrow"]["tokens"] += 1
    write_json(pack / "manifest.json", known)
    with pytest.raises(UserError, match=r"wiki-00000\.arrow.*its manifest says"):
        sources(pack, "pretrain", "train")["wiki"].document(0)


def test_an_unfinished_pack_is_named(tmp_path: Path):
    with pytest.raises(UserError, match="run the pack stage"):
        sources(tmp_path, "pretrain", "train")
