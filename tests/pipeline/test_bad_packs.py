"""Token shards that are not what they should be, in the real training command: refused by name before a step."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.commands import TINY, metrics, run, train
from tests.pipeline.test_mistakes import PIPELINE, one_line
from utils.shards import Shard
from utils.stage import read_json, write_json

SHARD = "pretrain/train/stories-00000.arrow"


def refused(workspace: Path, *words: str) -> None:
    """Training says it in one line, and has not begun."""
    said = one_line(train("single", workspace, code=2))
    assert all(word in said for word in words), said
    assert not (workspace / "pretrain").exists()


def rewrite_ids(path: Path, value: int) -> None:
    """One id in the middle of a shard, in place: the file's size stays, and so may its time."""
    shard = Shard(path)
    ids = shard.batches[0].tokens_T
    place = ids.ctypes.data - shard.content.address + len(ids) // 2 * ids.itemsize
    with path.open("r+b") as file:
        file.seek(place)
        file.write(np.array([value], ids.dtype).tobytes())


def test_ids_beyond_the_vocabulary_and_a_short_shard(workspace: Path) -> None:
    path = workspace / "pack" / SHARD
    whole = path.read_bytes()
    rewrite_ids(path, 65_000)
    refused(workspace, SHARD, "holds token 65,000, beyond")
    rewrite_ids(path, 300)
    refused(workspace, SHARD, "not what the pack stage wrote")
    path.write_bytes(whole[:-64])
    refused(workspace, SHARD, "missing or damaged", "--until=pack")
    path.write_bytes(whole)
    train("single", workspace, "pretrain.max_steps=1")
    assert len(metrics(workspace)) == 1


@pytest.fixture(scope="module")
def other(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same records packed with another tokenizer."""
    workspace = shutil.copytree(packed, tmp_path_factory.mktemp("other") / "other")
    run([*PIPELINE, TINY, f"workspace={workspace}", "tokenizer.coverage=0.99", "--until=pack"])
    return workspace


def test_shards_of_two_tokenizers(workspace: Path, other: Path) -> None:
    pack = workspace / "pack"
    shutil.copyfile(other / "pack" / SHARD, pack / SHARD)
    refused(workspace, SHARD, "missing or damaged")  # by its size alone
    known = read_json(pack / "manifest.json")
    known["files"][SHARD]["size"] = (pack / SHARD).stat().st_size
    write_json(pack / "manifest.json", known)
    refused(workspace, SHARD, "packed with another tokenizer")


def test_a_tokenizer_that_was_changed_in_place(workspace: Path) -> None:
    """Neither its size nor its manifest tells."""
    path = workspace / "tokenizer" / "spm.model"
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    refused(workspace, "tokenizer/spm.model", "not what the tokenizer stage wrote there")
    shutil.rmtree(workspace / "pack")
    said = one_line(run([*PIPELINE, TINY, f"workspace={workspace}", "--until=pack"], code=2))
    assert "tokenizer/spm.model" in said


def test_another_tokenizer_under_the_shards(workspace: Path, other: Path) -> None:
    shutil.rmtree(workspace / "tokenizer")
    shutil.copytree(other / "tokenizer", workspace / "tokenizer")
    refused(workspace, "tokenizer")
    said = run([*PIPELINE, TINY, f"workspace={workspace}", "tokenizer.coverage=0.99", "--until=pack"])
    assert "pack: made again, because tokenizer changed" in said
