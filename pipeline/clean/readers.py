"""The readers there are, found by listing `corpora/`; which of them understands a file, and what it makes of it."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import cast
from xml.etree.ElementTree import ParseError

from pipeline.clean.columns import is_exam, understood
from pipeline.clean.files.places import CORRUPT
from pipeline.clean.files.rows import rows
from pipeline.clean.protocol import Card, FileReader, ItemOf, Located, RowReader, Sample, Unreadable
from pipeline.clean.turns import LISTS
from utils.console import UserError, well_formed
from utils.recipe import nearest

SURELY = 2
"""What `sniff` says of a file that is its own without doubt."""


@cache
def readers() -> dict[str, RowReader | FileReader]:
    """Every module of corpora/ by its name."""
    files = sorted((Path(__file__).parent / "corpora").glob("[!_]*.py"))
    return {
        file.stem: cast("RowReader | FileReader", import_module(f"pipeline.clean.corpora.{file.stem}"))
        for file in files
    }


def card(name: str) -> Card:
    """What is known of a reader's corpus."""
    return readers()[name].CARD


# ---------------------------------------------------------------- which reader


def scores(sample: Sample) -> dict[str, int]:
    """The readers that know the file, and how surely."""
    found = {name: reader.sniff(sample) for name, reader in readers().items()}
    return {n: SURELY if card(n).names(sample.name) else sure for n, sure in found.items() if sure}


def reader_of(sample: Sample, wanted: str) -> str:
    """The reader asked for, or with `auto` the one that knows the file best; the mend if there is none."""
    check(sample.name, wanted)
    if wanted != "auto":
        _refuse_tables(sample, wanted)
        return wanted
    found = scores(sample)
    willing = {name: sure for name, sure in found.items() if not card(name).only_named}
    best = [name for name, sure in willing.items() if sure == max(willing.values())]
    if len(best) == 1:
        return best[0]
    name = well_formed(sample.name)
    if best:
        mend = f"say which with {{path: …, reader: {best[0]}}}"
        raise UserError(f"{name}: {' and '.join(best)} both understand it; {mend}")
    if found:
        only = next(iter(found))
        mend = f"to read it all the same, say {{path: …, reader: {only}}}"
        raise UserError(f"{name}: {only} reads this only if asked to ({card(only).only_named}); {mend}")
    raise UserError(f"{name}: {_unknown(sample)}")


def _refuse_tables(sample: Sample, wanted: str) -> None:
    """A reader of text that is named for what has rows but no text."""
    if not is_of_rows(wanted) and sample.container in ("parquet", "hub") and not readers()[wanted].sniff(sample):
        raise UserError(f"{well_formed(sample.name)}: {wanted} reads no {sample.container}; name another reader")


def check(name: str, wanted: str) -> None:
    """Is there a reader of this name?"""
    if wanted != "auto" and wanted not in readers():
        near = nearest(wanted, ["auto", *readers()])
        raise UserError(f"clean.inputs: {well_formed(name)}: unknown reader {wanted}{near}")


def _unknown(sample: Sample) -> str:
    if is_exam(sample.keys):
        return "an exam (its columns are A, B, C, D), no corpus; clean.decontaminate keeps its questions out of others"
    if sample.container in ("csv", "parquet", "hub"):
        names = ", ".join(key for key in sample.keys if key) or "none"
        mend = "name them so; in a CSV the first line holds the names"
        if "，" in names and len(sample.keys) == 1:
            mend = "write its commas as , instead of ，"
        return f"columns {names}; understood are {understood()}, {', '.join(LISTS)}; {mend}"
    return f"no reader knows this file; it looks like {describe(sample)}. Readers: {', '.join(readers())}"


def describe(sample: Sample) -> str:
    """What a file looks like, for a person who wonders why nobody reads it."""
    if sample.first:
        return f"JSON with keys {', '.join(sample.keys[:12])}"
    if sample.container.startswith("json"):
        if sample.beginning().lstrip().startswith(("{\n", "{\r")):
            return "one JSON object over many lines; write its records as a list, or one a line"
        return "damaged JSON, or JSON whose records are not objects"
    line = sample.beginning().strip().split("\n")[0][:60]
    return f"{sample.encoding} text that begins with {line!r}"


# ---------------------------------------------------------------- what it makes of the file


def is_of_rows(name: str) -> bool:
    """Does this reader take rows, so that parts of a file can be read apart?"""
    return isinstance(readers()[name], RowReader)


def items(sample: Sample, name: str) -> Generator[Located, None, None]:
    """What a reader finds in the sample's part of a file; damage on the way is its last, unreadable item."""
    reader = readers()[name]
    if not isinstance(reader, RowReader) and sample.start:
        return  # such a reader reads a file as a whole, for its first part
    at = -1
    try:
        for at, one in _of_rows(sample, reader.item) if isinstance(reader, RowReader) else reader.read(sample):
            yield at, one
    except (FileNotFoundError, PermissionError):
        raise
    except (*CORRUPT, ParseError) as error:
        where = f" behind the record at {at:,}" if at >= 0 else ""
        yield -1, Unreadable(f"the file is cut short or damaged{where}: {error}", ends=True)


def _of_rows(sample: Sample, item: ItemOf) -> Iterator[Located]:
    for at, row in rows(sample):
        if isinstance(row, Unreadable):
            yield at, row
            continue
        found = item(row)
        if isinstance(found, list):
            for one in found:
                yield at, one
        else:
            yield at, found
