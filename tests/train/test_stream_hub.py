"""A stream from the hub, found, read through a broken line, and held to the revision that a run began with."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.train import stream_source
from pipeline.train.stream import StreamFeed
from tests.clean.fake_hub import REVISION, Hub, serving
from utils.codec import Codec

READ = """
import json, sys
from pathlib import Path
from pipeline.train import patience, stream_source
from pipeline.train.stream import StreamFeed
from utils.codec import Codec
from utils.console import UserError
patience.PAUSES = (0.01,) * 4
stream_source.BLOCK = 16
told = []
for name, cursors, first, last in json.loads(sys.argv[2]):
    try:
        feed = StreamFeed.open(name, "text", Codec(Path(sys.argv[1])), 24, 6, 0)
        feed.seek(cursors if cursors != "those before" else told[-1]["cursors"])
        rows = [feed.rows(step * 6, range(6)).targets.tolist() for step in range(first, last)]
        told.append({"rows": rows, "cursors": feed.cursors()})
    except UserError as error:
        told.append({"error": str(error)})
print(json.dumps(told))
"""
TEXTS = [f"第{n}篇：" + "今天天气很好，我们去公园散步。" * (n % 9) for n in range(150)]


def parquet(texts: list[str]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"id": list(range(len(texts))), "text": texts}), file, row_group_size=20)
    return file.getvalue()


def dataset(texts: list[str]) -> dict[str, bytes]:
    half = len(texts) // 2
    return {"data/train-0.parquet": parquet(texts[:half]), "data/train-1.parquet": parquet(texts[half:])}


def read(hub: Hub, tmp_path: Path, tokenizer: Path, *tasks: tuple[str, Any, int, int]) -> tuple[list[Any], str]:
    """In a process of its own, because the address is read when huggingface_hub is imported."""
    home = str(tmp_path / "home")
    env = {
        **os.environ,
        "HF_ENDPOINT": hub.address,
        "HF_HOME": home,
        "HF_HUB_OFFLINE": "0",
        "LC_ALL": "C",
        "USE_TORCH": "0",
    }
    words = [sys.executable, "-c", READ, str(tokenizer), json.dumps(tasks)]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stdout


def local(tmp_path: Path, codec: Codec) -> list[Any]:
    """The same files on this machine."""
    for name, data in dataset(TEXTS).items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    feed = StreamFeed.open(str(tmp_path / "data/*.parquet"), "text", codec, 24, 6, 0)
    return [feed.rows(step * 6, range(6)).targets.tolist() for step in range(24)]


def test_a_dataset_of_the_hub(
    tmp_path: Path, tiny_tokenizer: Path, codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read over a line that drops; begun and resumed with an earlier revision, as by a rank that came later; refused
    when what was read is gone."""
    monkeypatch.setattr(stream_source, "BLOCK", 16)
    whole = local(tmp_path, codec)
    name, other = "hf://owner/name", "hf://owner/nothing"
    with serving(Hub({"owner/name": dataset(TEXTS)}, breaks=1)) as hub:
        hub.commit("b" * 40, "owner/name", dataset(TEXTS[::-1]))
        then, lost = ({"source": {"revision": revision}} for revision in (REVISION, "c" * 40))
        tasks = (
            (name, {}, 0, 1),
            (name, then, 0, 10),
            (name, "those before", 10, 24),
            (name, lost, 10, 12),
            (other, {}, 0, 1),
        )
        (newer, half, rest, gone, missing), said = read(hub, tmp_path, tiny_tokenizer, *tasks)
        assert hub.breaks == 0
    assert newer["cursors"]["source"] == {"revision": "b" * 40}
    assert newer["rows"] != whole[:1]
    assert half["rows"] == whole[:10]
    assert half["cursors"]["source"] == {"revision": REVISION}
    assert "the hub has bbbbbbbb now; this run goes on with aaaaaaaa" in said
    assert rest["rows"] == whole[10:]
    assert rest["cursors"]["source"] == {"revision": REVISION}
    assert "hf://owner/name changed since this run began" in gone["error"]
    assert re.match(r"pretrain\.stream: cannot read hf://owner/nothing.*correct the name", missing["error"])
