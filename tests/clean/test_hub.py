"""A dataset of the hub as an input: streamed from a server on this machine that answers as the hub does."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.clean.files.hub import parts
from pipeline.clean.protocol import Sample
from pipeline.clean.readers import items
from tests.clean.fake_hub import REVISION, Hub, serving
from utils.console import UserError

READ = """
import datasets, json, sys
datasets.config.STREAMING_READ_RETRY_INTERVAL = 0
from pipeline.clean.config import Input
from pipeline.clean.inputs import expand, remote_fingerprint
from pipeline.clean.look import look
from pipeline.clean.readers import items
from utils.console import UserError
try:
    (raw,) = expand([Input(sys.argv[1])], sys.argv[2])
    found = [(at, *(m["content"] for m in item.messages)) for at, item in items(raw.sample(), raw.reader)]
    told = {"reader": raw.reader, "source": raw.source, "found": found, **remote_fingerprint(sys.argv[1])}
    told["look"] = look(sys.argv[1])[0].lines()
except UserError as error:
    told = {"error": str(error)}
print(json.dumps(told))
"""
ROWS = [{"question": f"第{n}问", "answer": f"第{n}答" + "长" * 200} for n in range(3000)]


def lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def parquet(rows: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file, row_group_size=500)
    return file.getvalue()


def read(hub: Hub, name: str, home: Path, missing: str = "stop") -> dict[str, Any]:
    """In a process of its own, because the address is read when huggingface_hub is imported."""
    env = {**os.environ, "HF_ENDPOINT": hub.address, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "LC_ALL": "C"}
    done = subprocess.run(
        [sys.executable, "-c", READ, name, missing], env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def test_names() -> None:
    assert parts("hf://owner/name") == ("owner/name", None, "train")
    assert parts("hf://owner/name/zh@test") == ("owner/name", "zh", "test")
    with pytest.raises(UserError, match=r"hf://name: give hf://owner/name\[/config\]\[@split\]"):
        parts("hf://name")


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_dataset_is_streamed(tmp_path: Path, kind: str) -> None:
    data = lines(ROWS) if kind == "jsonl" else parquet(ROWS)
    with serving(Hub({"owner/name": {"README.md": b"# Questions\n", f"data/train.{kind}": data}})) as hub:
        told = read(hub, "hf://owner/name", tmp_path)
    assert (told["reader"], told["source"], told["revision"]) == ("pairs", "name", REVISION)
    assert told["look"][1:3] == ["  format    hub", "  fields    question: text; answer: text"]
    assert told["found"] == [[n, row["question"], row["answer"]] for n, row in enumerate(ROWS)]


def test_a_split_and_a_configuration(tmp_path: Path) -> None:
    card = b"---\nconfigs:\n- config_name: zh\n  data_files:\n  - split: test\n    path: zh/*.jsonl\n---\n"
    files = {"README.md": card, "zh/a.jsonl": lines(ROWS[:3]), "en/b.jsonl": lines(ROWS[:5])}
    with serving(Hub({"owner/name": files})) as hub:
        told = read(hub, "hf://owner/name/zh@test", tmp_path)
        assert (told["source"], len(told["found"])) == ("zh", 3)
        wrong = read(hub, "hf://owner/name/zh", tmp_path)
    assert "hf://owner/name/zh: cannot be read from the hub" in wrong["error"]
    assert "train" in wrong["error"]


def test_a_dropped_connection_is_taken_up_again(tmp_path: Path) -> None:
    with serving(Hub({"owner/name": {"data/train.jsonl": lines(ROWS)}}, breaks=2)) as hub:
        told = read(hub, "hf://owner/name", tmp_path)
        assert hub.breaks == 0
    assert [row[0] for row in told["found"]] == list(range(len(ROWS)))


def test_a_stream_that_breaks_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that were lost are no damage to be counted: the run stops, and can be started again."""
    import datasets

    def stream(*_: Any, **__: Any) -> Iterator[dict[str, Any]]:
        yield from ROWS[:5]
        raise ConnectionError("gone\naway")

    monkeypatch.setattr(datasets, "load_dataset", stream)
    found = items(Sample("hf://owner/name"), "pairs")
    assert [at for at, _ in islice(found, 5)] == list(range(5))
    with pytest.raises(
        UserError, match=r"hf://owner/name: broke off behind 5 rows \(ConnectionError: gone away\); run"
    ):
        next(found)


def test_what_is_not_there(tmp_path: Path) -> None:
    with serving(Hub({})) as hub:
        assert "hf://owner/name: nothing there; correct the path" in read(hub, "hf://owner/name", tmp_path)["error"]
        assert "not one of the inputs is there" in read(hub, "hf://owner/name", tmp_path, "skip")["error"]
    told = read(hub, "hf://owner/name", tmp_path)["error"]
    assert "hf://owner/name: the hub does not answer" in told
    assert "HF_ENDPOINT=https://hf-mirror.com" in told
