"""What a recipe names as its stream comes in; how `datasets` opens it goes out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from glob import glob

from utils.console import UserError
from utils.stage import Json

FIELD = "pretrain.stream"
FORMATS = {".parquet": "parquet", ".json": "json", ".jsonl": "json", ".ndjson": "json"}
_HUB = re.compile(r"hf://([^/@]+/[^/@]+)(?:/([^/@]+))?")


@dataclass(frozen=True)
class Named:
    """The name, as a person gave it; `load_dataset`'s first argument, and the others."""

    name: str
    opener: str
    arguments: Json


def expanded(name: str) -> list[str]:
    """`part-{000..012}.parquet` as the thirteen names it stands for."""
    found = re.search(r"\{(\d+)\.\.(\d+)\}", name)
    if not found:
        return [name]
    first, last = int(found[1]), int(found[2])
    if first > last:
        raise UserError(f"{FIELD}: {name}: {{{found[1]}..{found[2]}}} counts down; give the smaller number first")
    numbers = [str(number).zfill(len(found[1])) for number in range(first, last + 1)]
    return [part for n in numbers for part in expanded(name[: found.start()] + n + name[found.end() :])]


def how_to_open(given: str | Sequence[str]) -> Named:
    """By the files' endings, or a dataset of the hub."""
    names = [part for name in ([given] if isinstance(given, str) else given) for part in expanded(name)]
    whole = given if isinstance(given, str) else ", ".join(given)
    if len(names) == 1 and (hub := _HUB.fullmatch(names[0])) and not _format(names[0]):
        return Named(whole, hub[1], {"name": hub[2]})
    formats = {_checked(name) for name in names}
    if len(formats) > 1:
        raise UserError(f"{FIELD}: {', '.join(sorted(formats))} in one stream; give files of one kind")
    return Named(whole, formats.pop(), {"data_files": names})


def _checked(name: str) -> str:
    """The format of a file, or of the files that a glob names."""
    form = _format(name)
    if not form:
        raise UserError(f"{FIELD}: {name}: give hf://owner/name[/config], or files that end in {', '.join(FORMATS)}")
    if name.startswith(("http://", "https://")) and "*" in name:
        raise UserError(f"{FIELD}: {name}: the web lists no files; give each, or count them: part-{{000..012}}.parquet")
    if "://" not in name and not glob(name, recursive=True):
        raise UserError(f"{FIELD}: {name}: no such file; correct the path")
    return form


def _format(name: str) -> str:
    """By the ending, packed or not; what stands behind a URL's question mark is none."""
    path = name.partition("?")[0] if "://" in name else name
    found = re.search(r"(\.[a-z]+)(?:\.(?:gz|zst|bz2|xz))?$", path)
    return FORMATS.get(found[1], "") if found else ""
