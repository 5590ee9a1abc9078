"""From `clean.inputs` as a person types it to the list of files, each with its reader, source and name."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.clean.config import Input
from pipeline.clean.protocol import Sample
from pipeline.clean.readers import choose
from utils.console import UserError, well_formed

READABLE = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".txt", ".text")
"""What is taken from a folder; a file that is named itself may be called anything."""


@dataclass(frozen=True)
class Raw:
    """One raw file."""

    name: str
    """The path as typed, with slashes: what manifests and the quarantine call it."""
    path: Path
    reader: str
    """Nothing for an empty file."""
    source: str
    label: str
    """The middle of its records' ids; unlike that of any other file of the source."""


def expand(inputs: Sequence[Input]) -> list[Raw]:
    """Every file that the inputs name, in their order and sorted within each; a file named twice counts once."""
    if not inputs:
        raise UserError(
            "clean.inputs is empty; name a corpus: clean.inputs=my.csv (a file, a folder, a glob or a list)"
        )
    found: dict[str, tuple[Path, Input, str]] = {}
    for one in inputs:
        for path, source in files_of(one):
            name = path.as_posix()
            if well_formed(name) != name:
                raise UserError(f"clean.inputs: {well_formed(name)}: the file's name is not UTF-8; rename it")
            if name in found and found[name][1:] != (one, source) and one.reader != found[name][1].reader:
                raise UserError(f"clean.inputs: {name} is named twice, with two readers; name it once")
            found.setdefault(name, (path, one, source))
    files = [(name, path, reader_of(path, one), source) for name, (path, one, source) in found.items()]
    basenames = [(source, path.name) for _, path, _, source in files]
    return [
        Raw(name, path, reader, source, path.name if basenames.count((source, path.name)) == 1 else name)
        for name, path, reader, source in files
    ]


def files_of(one: Input) -> list[tuple[Path, str]]:
    """The files that one input names, each with its source: the input's own, else the folder's or file's name."""
    if one.path.startswith("hf://"):
        raise UserError(
            f"clean.inputs: {one.path}: the hub is read while training: pretrain.stream={one.path}; "
            "or download the files and give their path here"
        )
    path = Path(one.path).expanduser()
    if path.is_dir():
        files = sorted(
            p for p in path.rglob("*") if p.is_file() and p.suffix.lower() in READABLE and not _hidden(p, path)
        )
        if not files:
            raise UserError(
                f"clean.inputs: {well_formed(one.path)}: no file in this folder can be read ({', '.join(READABLE)})"
            )
        return [(file, sanitise(one.source or path.resolve().name)) for file in files]
    files = (
        [path] if path.exists() else sorted(Path(p) for p in glob.glob(str(path), recursive=True) if Path(p).is_file())
    )
    if not files:
        raise UserError(
            f"clean.inputs: {well_formed(one.path)}: nothing there; correct the path (it counts from {Path.cwd()})"
        )
    return [(file, sanitise(one.source or file.stem)) for file in files]


def reader_of(path: Path, one: Input) -> str:
    """Who reads this file; nobody if nothing is in it."""
    if one.reader == "auto" and is_empty(path):
        return ""
    reader = choose(Sample(path), one.reader)
    return "" if is_empty(path) else reader


def is_empty(path: Path) -> bool:
    """No byte, only space, or an empty list."""
    if path.stat().st_size > 4096:
        return False
    return path.read_bytes().removeprefix(b"\xef\xbb\xbf").strip() in (b"", b"[]")


def sanitise(name: str) -> str:
    """A name that is safe in a file name, Han characters kept."""
    return re.sub(r"[^\w.]+", "_", name).strip("._") or "corpus"


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)
