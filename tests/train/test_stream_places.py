"""Names and places of streams: hosts that say too little, globs, file systems without patience."""

from __future__ import annotations

import bz2
import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem

from bench.flaky_host import DROPS, Host, serving
from pipeline.train import stream_names, web_files
from pipeline.train.stream import StreamFeed
from pipeline.train.web_files import WebFiles
from tests.train.streams import FILES, TEXTS, feed, lines, packed_lines, parquet, settled
from tests.train.test_stream import BATCH, LENGTH, read, same
from utils.codec import Codec
from utils.console import UserError

pytestmark = pytest.mark.usefixtures("quickly")


@pytest.mark.parametrize(
    ("headers", "told"),
    [({"Content-Length": None}, "does not say how long"), ({"Content-Encoding": "gzip"}, "packs it on the way")],
)
def test_hosts_that_cannot_be_trusted(headers: dict[str, str | None], told: str, codec: Codec) -> None:
    """Without a length nobody can tell the end of a file from the end of a connection."""
    with serving(Host(lines(), ranges=False, headers=headers)) as host, pytest.raises(UserError, match=told):
        feed(host, codec)


def test_names(codec: Codec) -> None:
    expanded = stream_names.expanded
    assert expanded("a-{8..11}.parquet") == [f"a-{n}.parquet" for n in (8, 9, 10, 11)]
    assert expanded("{0..1}/{00..01}") == ["0/00", "0/01", "1/00", "1/01"]
    with pytest.raises(UserError, match="counts down"):
        expanded("a-{3..1}.jsonl")
    with serving(Host(packed_lines() | parquet())) as host:
        for names, told in (
            (host.url("part-*.parquet"), "the web lists no files"),
            ([host.url("part-0.parquet"), host.url("part-0.jsonl.gz")], "give files of one kind"),
            (host.url("part-0.csv"), "files that end in"),
            (host.url("part-7.parquet"), "404"),
        ):
            with pytest.raises(UserError, match=told):
                StreamFeed.open(names, "text", codec, LENGTH, BATCH, 0)
        with_query = [host.url(f"part-{n}.parquet?download=true") for n in range(FILES)]
        ours = StreamFeed.open(with_query, "text", codec, LENGTH, BATCH, 0)
        assert same(read(ours, range(3)), settled(Host(parquet(), port=host.port), codec, 3))


class FlakyFiles(LocalFileSystem):
    """Some other kind of place, that knows nothing of patience."""

    protocol = "flaky"
    breaks = random.Random(0)
    share = 0.0

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.removeprefix("flaky://").lstrip("/")

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **_: Any) -> Any:
        file = open(path, "rb")  # noqa: SIM115
        return _FlakyFile(file)


class _FlakyFile(io.BufferedReader):
    def read(self, size: int | None = -1, /) -> bytes:
        if FlakyFiles.breaks.random() < FlakyFiles.share:
            raise TimeoutError("no answer")
        return super().read(size)


@pytest.mark.parametrize(("made", "share_of_reads"), [(parquet, 0.15), (lines, 0.15), (packed_lines, 0.04)])
def test_a_block_is_read_again_where_a_place_has_no_patience(
    made: Callable, share_of_reads: float, codec: Codec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fsspec.register_implementation("flaky", FlakyFiles, clobber=True)
    FlakyFiles.share = 0.0
    for name, data in made().items():
        (tmp_path / name).write_bytes(data)
    name = f"flaky://{tmp_path}/part-*.{next(iter(made())).partition('.')[2]}"
    whole = read(StreamFeed.open(name, "text", codec, LENGTH, BATCH, 0), range(40))
    ours = StreamFeed.open(name, "text", codec, LENGTH, BATCH, 0)
    FlakyFiles.share, FlakyFiles.breaks = share_of_reads, random.Random(1)
    assert same(read(ours, range(40)), whole)
    assert f"{name} broke off" in capsys.readouterr().err


def test_only_the_text_of_parquet_is_fetched(codec: Codec) -> None:
    file = io.BytesIO()
    noise = np.random.default_rng(0).bytes(4_000_000)
    table = pa.table({"picture": [noise[i * 40_000 : (i + 1) * 40_000] for i in range(100)], "text": TEXTS[:100]})
    pq.write_table(table, file, row_group_size=50)
    with serving(Host({"a.parquet": file.getvalue()})) as host:
        read(StreamFeed.open(host.url("a.parquet"), "text", codec, LENGTH, BATCH, 0), range(4))
        assert host.sent < 400_000


def test_an_empty_file_is_no_error(codec: Codec) -> None:
    files = lines() | {"part-1.jsonl": b""}
    with serving(Host(files)) as host:
        read(feed(host, codec), range(20))


def test_what_a_file_holds_is_read_as_files_are(codec: Codec) -> None:
    """Seeks and reads anywhere, against the bytes themselves."""
    data = bz2.compress(np.random.default_rng(1).bytes(9000))
    with serving(Host({"x.bin": data})) as host:
        host.misbehave(*DROPS, share=0.4)
        web_files.register()
        file = WebFiles(skip_instance_cache=True).open(host.url("x.bin"))
        rng = np.random.default_rng(2)
        for start, length in rng.integers(0, len(data), (40, 2)).tolist():
            file.seek(start)
            assert file.read(length) == data[start : start + length]
        file.seek(0)
        assert file.read() == data
