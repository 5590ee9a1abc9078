"""The readers there are, found by listing `corpora/`, and which of them understands a file."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import cast

from pipeline.clean.protocol import Reader, Sample
from utils.console import UserError
from utils.recipe import nearest


@cache
def readers() -> dict[str, Reader]:
    """Every module of corpora/ by its name."""
    files = sorted((Path(__file__).parent / "corpora").glob("[!_]*.py"))
    return {file.stem: cast("Reader", import_module(f"pipeline.clean.corpora.{file.stem}")) for file in files}


def choose(sample: Sample, wanted: str) -> str:
    """The reader asked for, or with `auto` the one that knows the file; the mend if there is none."""
    if wanted != "auto":
        if wanted not in readers():
            raise UserError(
                f"clean.inputs: {sample.path}: unknown reader {wanted}{nearest(wanted, ['auto', *readers()])}"
            )
        return wanted
    willing = [name for name, reader in readers().items() if reader.sniff(sample)]
    if len(willing) == 1:
        return willing[0]
    if willing:
        raise UserError(f"{sample.path}: {' and '.join(willing)} both understand it; say which with {{path, reader}}")
    known = "; ".join(f"{name}: {reader.ABOUT}" for name, reader in readers().items())
    raise UserError(f"{sample.path}: no reader knows this file; it looks like {describe(sample)}. Readers: {known}")


def describe(sample: Sample) -> str:
    """What a file looks like, for a person who wonders why nobody reads it."""
    if sample.is_parquet:
        return "parquet"
    if sample.first:
        return f"JSON with keys {', '.join(sample.keys[:12])}"
    if sample.is_json:
        return "damaged JSON, or JSON whose records are not objects"
    with sample.path.open("rb") as file:
        head = file.read(4096)
    line = head.decode(sample.encoding, "replace").strip().split("\n")[0][:60]
    return f"{sample.encoding} text that begins with {line!r}"
