"""Files of a few hundred texts for a host to serve, and streams that read them without long pauses."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from bench.flaky_host import Host
from pipeline.train.stream import StreamFeed
from tests.train.test_stream import BATCH, LENGTH, read
from utils.codec import Codec

FILES, EACH = 4, 60
TEXTS = [f"第{i}篇：" + "今天天气很好，我们去公园散步。" * (i % 9) + f" fox {i * i}" for i in range(FILES * EACH)]


def parts() -> Iterator[tuple[int, list[str]]]:
    for number in range(FILES):
        yield number, TEXTS[number * EACH : (number + 1) * EACH]


def parquet() -> dict[str, bytes]:
    made = {}
    for number, texts in parts():
        file = io.BytesIO()
        table = pa.table({"title": [text[:3] for text in texts], "text": texts})
        pq.write_table(table, file, row_group_size=16)
        made[f"part-{number}.parquet"] = file.getvalue()
    return made


def lines() -> dict[str, bytes]:
    return {
        f"part-{number}.jsonl": b"".join(json.dumps({"text": text}).encode() + b"\n" for text in texts)
        for number, texts in parts()
    }


def packed_lines() -> dict[str, bytes]:
    return {f"{name}.gz": gzip.compress(data) for name, data in lines().items()}


def feed(host: Host, codec: Codec, text: str = "text") -> StreamFeed:
    first, *_ = host.files
    return StreamFeed.open(host.url(first.replace("-0", "-{0..3}")), text, codec, LENGTH, BATCH, 0)


def settled(host: Host, codec: Codec, steps: int = 20) -> list:
    return read(feed(host, codec), range(steps))
