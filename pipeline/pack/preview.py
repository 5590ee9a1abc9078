"""Records as they will be trained, in the terminal: `python -m pipeline.pack [RECIPE] --preview [N | record id]`.

Clean records and a tokenizer are all that is needed. Marks are dim, who speaks is bold, what is trained is underlined
and green; where there is no colour, what is trained stands in ⟦ ⟧.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.pack.config import PackConfig
from pipeline.pack.shard import COLUMNS_OF, lots_of
from pipeline.pack.show import Piece, pieces, shortened, visible
from pipeline.pack.validate import in_words
from utils.codec import Codec
from utils.console import UserError, say, tell
from utils.records import SPLITS, batches_by_kind, record_shards
from utils.stage import manifest

PREVIEW = "--preview"
USUAL = "3"
LONG = 600
"""Characters of a piece, unless one record is asked for by its id."""

DIM, BOLD, TRAINED, PLAIN = "\x1b[2m", "\x1b[1m", "\x1b[4;32m", "\x1b[0m"
OPEN, CLOSE = "⟦", "⟧"


def preview(config: PackConfig, clean: Path, tokenizer: Path, wanted: str) -> None:
    """Print so many records, or the one of that id."""
    if manifest(clean) is None:
        raise UserError(f"{clean}: not finished (no manifest.json); run the clean stage first")
    codec = Codec(tokenizer)
    colour = has_colour(os.environ, sys.stdout.isatty())
    said = tell("trained", "参与训练")
    say(f"{TRAINED}{said}{PLAIN}" if colour else f"{OPEN}{said}{CLOSE}")
    count = int(wanted) if wanted.isdecimal() else None
    chosen = _the_one(clean, wanted) if count is None else _first(clean, count)
    for split, record in chosen:
        for line in told(record, split, codec, config.chat_in_pretrain, colour, 0 if count is None else LONG):
            say(line)


def has_colour(environment: Mapping[str, str], is_terminal: bool) -> bool:
    """As other programs decide it: FORCE_COLOR, NO_COLOR, and is there a terminal that could?"""
    if environment.get("FORCE_COLOR"):
        return True
    return is_terminal and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


def _first(clean: Path, count: int) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Splits and records, each a batch of one: the first of each source in turn."""
    shards = record_shards(clean, "train").values()
    sources = [
        (batch.slice(i, 1) for path in paths for batch in _batches(path) for i in range(len(batch))) for paths in shards
    ]
    yield from islice((("train", record) for record in _in_turn(sources)), count)


def _the_one(clean: Path, wanted: str) -> Iterator[tuple[str, pa.RecordBatch]]:
    """The record of that id, and its split."""
    name = wanted.partition("/")[0]
    for split in SPLITS:
        for path in record_shards(clean, split).get(name, ()):
            for batch in _batches(path):
                at = pc.index(batch.column("id"), wanted).as_py()
                if at >= 0:
                    yield split, batch.slice(at, 1)
                    return
    there = ", ".join(dict.fromkeys(name for split in SPLITS for name in record_shards(clean, split)))
    raise UserError(
        f"{PREVIEW} {visible(wanted)}: no such record in {clean}; give a number, or an id of these sources: {there}"
    )


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    return batches_by_kind(path, COLUMNS_OF)


def _in_turn(sources: Sequence[Iterator[pa.RecordBatch]]) -> Iterator[pa.RecordBatch]:
    left = list(sources)
    while left:
        for one in list(left):
            record = next(one, None)
            if record is None:
                left.remove(one)
            else:
                yield record


def told(
    record: pa.RecordBatch, split: str, codec: Codec, chat_in_pretrain: bool, colour: bool, most: int
) -> Iterator[str]:
    """A record's lines; texts longer than `most` are shortened, unless it is 0."""
    left_out: Counter[str] = Counter()
    head = f"{visible(record.column('id')[0].as_py() or '')} · {split}"
    for verb, some in lots_of(record, codec, chat_in_pretrain, left_out):
        trained = len(some.tokens_T) if some.trained_T is None else int(some.trained_T.sum())
        counts = tell(
            f"{len(some.tokens_T):,} tokens, {trained:,} trained",
            f"{len(some.tokens_T):,} 个词元，{trained:,} 个参与训练",
        )
        yield ""
        yield f"{BOLD if colour else ''}{head} · {verb} · {counts}{PLAIN if colour else ''}"
        shown = pieces(some.tokens_T, some.trained_T, codec)
        yield (coloured if colour else bracketed)(
            [(one, shortened(one.text, most) if most else one.text) for one in shown]
        )
    for reason in left_out:
        yield ""
        yield f"{head} · " + tell("left out: ", "已略去：") + in_words(reason)


def coloured(shown: Sequence[tuple[Piece, str]]) -> str:
    """For a terminal; a line ends its colours, or they would run on to the border."""
    parts = []
    for piece, text in shown:
        style = (DIM if piece.is_mark else BOLD if piece.is_role else "") + (TRAINED if piece.trained else "")
        parts += [f"{style}{line}{PLAIN}" if style and line.strip("\n") else line for line in _lines(text)]
    return "".join(parts)


def _lines(text: str) -> list[str]:
    """Lines, with the ends between them as parts of their own."""
    lines = text.split("\n")
    return [part for i, line in enumerate(lines) for part in (("\n", line) if i else (line,))]


def bracketed(shown: Sequence[tuple[Piece, str]]) -> str:
    """Without colour: each run of what is trained in brackets."""
    parts, inside = [], False
    for piece, text in shown:
        parts.append(OPEN if piece.trained and not inside else CLOSE if inside and not piece.trained else "")
        parts.append(text)
        inside = piece.trained
    return "".join(parts) + (CLOSE if inside else "")
