"""Real text to learn vocabularies from: raw files come out, and what the clean stage makes of them.

The `modern` lines of a chapter of the Chinese classics, end to end, are a document; chapters are taken by the hash of
their names, so that a part of them is the same part everywhere. Some English web text and encyclopedia stand beside
them. What is held out is the clean stage's choice, by hash as well: whole chapters, whole pages.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import xxhash

from bench.real_text import chapters
from pipeline.clean.config import CleanConfig, Input
from pipeline.clean.stage import run

MODERN, ENGLISH = "modern", "english"


def make(folder: Path, data: Path, share: float, valid: float) -> Path:
    """The clean records of `share` of the chapters and of all the English, `valid` of them held out."""
    inputs = []
    for name, texts in ((MODERN, some_chapters(data, share)), (ENGLISH, english(data))):
        path = folder / "raw" / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts), encoding="utf-8"
        )
        inputs.append(Input(path=str(path), reader="text", source=name))
    run(CleanConfig(inputs=inputs, valid=valid, workers=1), folder / "clean")
    return folder / "clean"


def some_chapters(data: Path, share: float) -> Iterable[str]:
    """This share of the chapters, by the hash of their names, in the names' order."""
    for (_, chapter), text in sorted(chapters(data).items(), key=lambda item: (item[0][1], item[0][0])):
        if xxhash.xxh3_64_intdigest(chapter.encode()) < share * 2**64:
            yield text


def english(data: Path) -> Iterable[str]:
    """Web pages, and articles of an encyclopedia, one a line."""
    for line in (data / "c4_demo.jsonl").read_text(encoding="utf-8").splitlines():
        yield json.loads(line)["text"]
    yield from filter(None, (data / "wiki_demo.txt").read_text(encoding="utf-8").split("\n"))
