"""Raw corpora of any size for `bench/clean.py`, recombined from the real text (`real_text.py`); planted copies told.

    python -m bench.clean_corpus FOLDER [--megabytes 100] [--seed 0] [--data FOLDER]

Six sources, each a folder of several files in the shape its publisher gave it. A record is a pure function of the
seed, its source and its position there: sentences drawn one by one, so that two records share words only where one
was planted as a copy of the other; that is also how an early record can be copied late without keeping any. Besides,
some web text is dirty as web text is (`dirty`), some is junk, and a few records hold a question of CMMLU.
What they say is made by `clean_texts.py`; `truth.json` says which records are planted (`clean_truth.py`).
"""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.clean_texts import Block, Row, Shelf, Source, Texts
from bench.clean_truth import Planted
from bench.real_text import DATA

# ---- how each source writes it


def _web(text: str, position: int, said: list[int], shelf: Shelf) -> Row:
    return {"text": text}


def _question(said: list[int], shelf: Shelf) -> str:
    if said[0] % 2:
        return shelf.prompts[said[1] % len(shelf.prompts)]
    return f"“{shelf.classical[said[1] % len(shelf.classical)]}”是什么意思？"


def _webtext(text: str, position: int, said: list[int], shelf: Shelf) -> Row:
    topic = ("历史", "文学", "生活", "健康", "科技")[said[2] % 5]
    return {
        "qid": 65618973 + said[1] % 10**8,
        "title": _question(said, shelf),
        "desc": shelf.replies[said[2] % len(shelf.replies)] + "<br>" if said[2] % 10 < 3 else "",
        "topic": topic,
        "star": (said[3] + position) % 40,
        "content": text,
        "answer_id": 10**8 + position,
        "answerer_tags": f"{topic}@答主",
    }


def _baike(text: str, position: int, said: list[int], shelf: Shelf) -> Row:
    title = _question(said, shelf)
    desc = ("", title, shelf.replies[said[2] % len(shelf.replies)])[said[2] % 3]
    category = ("健康-内科", "教育/科学-文学", "生活-美食", "电脑/网络")[said[3] % 4]
    return {"qid": f"qid_{position}", "category": category, "title": title, "desc": desc, "answer": text}


def _medical(text: str, position: int, said: list[int], shelf: Shelf) -> Row:
    department, title = shelf.complaints[said[1] % len(shelf.complaints)]
    asked = [shelf.medical[n % len(shelf.medical)] for n in said[2:]]
    return {"department": department, "title": title, "ask": "\n".join(asked), "answer": text}


def _zhihu(text: str, position: int, said: list[int], shelf: Shelf) -> Row:
    votes = said[3] % 3000
    metadata = {
        "question_id": float(said[1] % 10**9),
        "answer_id": float(10**9 + position),
        "url": f"https://www.zhihu.com/question/{said[1] % 10**9}/answer/{10**9 + position}",
        "upvotes": f"赞同 {votes}" if votes < 2900 else f"赞同 {votes / 1000:.1f} 万",
        "answer_creation_time": "2020-05-01T08:30:00.000Z",
    }
    return {
        "INSTRUCTION": _question(said, shelf),
        "RESPONSE": text,
        "SOURCE": "Zhihu",
        "METADATA": json.dumps(metadata, ensure_ascii=False),
    }


SOURCES = (
    Source("web", 0.45, 8, ".jsonl", (200, 2000), ("modern",), _web, web=True),
    Source("webtext2019zh", 0.17, 3, ".json", (80, 1500), ("modern", "replies"), _webtext),
    Source("baike_qa2019", 0.12, 2, ".json", (60, 800), ("replies", "modern"), _baike, paragraph="\r\r"),
    Source("medical", 0.10, 6, ".csv", (80, 500), ("medical",), _medical),
    Source("zhihu", 0.12, 4, ".parquet", (100, 2000), ("replies", "modern"), _zhihu, paragraph=" "),
    Source("english", 0.04, 2, ".jsonl", (300, 4000), ("english",), _web, space=" "),
)


# ---- files


class Writer(Protocol):
    """A file in the making."""

    def write(self, rows: Sequence[Row]) -> None:
        """Add rows."""

    def size(self) -> int:
        """Bytes so far."""

    def close(self) -> None:
        """No more rows."""


class _JsonLines:
    def __init__(self, path: Path):
        self.file = path.open("wb")
        self.encode = json.JSONEncoder(ensure_ascii=False).encode

    def write(self, rows: Sequence[Row]) -> None:
        self.file.write("".join([self.encode(row) + "\n" for row in rows]).encode())

    def size(self) -> int:
        return self.file.tell()

    def close(self) -> None:
        self.file.close()


class _Csv:
    """GB18030, LF, quoted where needed."""

    def __init__(self, path: Path):
        self.file = path.open("wb")
        self.header = True

    def write(self, rows: Sequence[Row]) -> None:
        text = io.StringIO(newline="")
        lines = csv.writer(text, lineterminator="\n")
        if self.header and rows:
            lines.writerow(rows[0].keys())
            self.header = False
        lines.writerows(row.values() for row in rows)
        self.file.write(text.getvalue().encode("gb18030"))

    def size(self) -> int:
        return self.file.tell()

    def close(self) -> None:
        self.file.close()


class _Parquet:
    """Row groups of 100, as Zhihu-KOL has them."""

    def __init__(self, path: Path):
        names = ("INSTRUCTION", "RESPONSE", "SOURCE", "METADATA")
        self.schema = pa.schema([(name, pa.string()) for name in names])
        self.file = path.open("wb")
        self.writer = pq.ParquetWriter(self.file, self.schema)

    def write(self, rows: Sequence[Row]) -> None:
        self.writer.write_table(pa.Table.from_pylist(list(rows), self.schema), row_group_size=100)

    def size(self) -> int:
        return self.file.tell()

    def close(self) -> None:
        self.writer.close()
        self.file.close()


WRITERS: dict[str, Callable[[Path], Writer]] = {
    ".jsonl": _JsonLines,
    ".json": _JsonLines,
    ".csv": _Csv,
    ".parquet": _Parquet,
}


def make(folder: Path, megabytes: float, seed: int, data: Path) -> dict[str, int]:
    """Write a corpus of so many megabytes on disk; returns bytes, records and how much was planted."""
    shelf = Shelf(data)
    planted = {source.name: _write(source, folder, megabytes * 1e6, seed, shelf) for source in SOURCES}
    truth = {"seed": seed, "sources": {name: vars(one) for name, one in planted.items()}}
    with (folder / "truth.json").open("w", encoding="utf-8") as file:
        json.dump(truth, file)
    every = list(planted.values())
    return {
        "bytes": sum(one.bytes for one in every),
        "records": sum(records for one in every for _, records in one.files),
        "exact": sum(len(one.exact) for one in every),
        "near": sum(len(one.near) for one in every),
        "exam": sum(len(one.exam) for one in every),
    }


def _write(source: Source, folder: Path, total: float, seed: int, shelf: Shelf) -> Planted:
    """The files of one source, block by block until each has its bytes."""
    texts, planted, position = Texts(source, shelf, seed), Planted(), 0
    (folder / source.name).mkdir(parents=True, exist_ok=True)
    block_size = min(512, max(16, int(total / 1e6)))
    for number in range(source.files):
        path = folder / source.name / f"{source.name}-{number:02d}{source.suffix}"
        writer, first = WRITERS[source.suffix](path), position
        while writer.size() < total * source.share / source.files:
            block = texts.block(np.arange(position, position + block_size))
            writer.write(_rows(source, block, shelf))
            planted.note(block)
            position += block_size
        writer.close()
        planted.bytes += path.stat().st_size
        planted.files.append((f"{source.name}/{path.name}", position - first))
    return planted


def _rows(source: Source, block: Block, shelf: Shelf) -> list[Row]:
    numbered = zip(block.texts, block.positions_B.tolist(), block.said_B, strict=True)
    return [source.row(text, position, said, shelf) for text, position, said in numbered]


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=DATA)
    given = parser.parse_args()
    print(make(given.folder, given.megabytes, given.seed, given.data))


if __name__ == "__main__":
    main()
