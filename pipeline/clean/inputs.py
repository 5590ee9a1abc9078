"""From `clean.inputs` as a person types it to the list of files, each with its reader, source and name."""

from __future__ import annotations

import dataclasses
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import xxhash

from pipeline.clean.config import DEFAULT_RULES, Input, Profile, Rules, overlaid
from pipeline.clean.files import hub, parquet_files
from pipeline.clean.files.places import (
    file_system,
    is_archive,
    is_hub,
    is_url,
    matching,
    members,
    size_of,
    suffix_of,
    unpacked_name,
)
from pipeline.clean.protocol import Card, Sample
from pipeline.clean.readers import card, check, reader_of, readers
from utils.console import UserError, tell, warn, well_formed

READABLE = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".txt", ".text", ".conv", ".xml")
"""What is taken from a folder or an archive, packed or not; a file that is named itself may be called anything."""

LONGEST_SOURCE = 120
"""Bytes of a source's name: files that are called after it have names of their own around it, 255 bytes in all."""

SKIPS = "clean.missing=skip runs with what is present"


@dataclass(frozen=True)
class Raw:
    """One raw file."""

    name: str
    """The path as typed, with slashes, the URL, or `a.zip!/member`: what manifests and the quarantine call it."""
    reader: str
    """Nothing for an empty file, and for one that cannot be read."""
    source: str
    label: str
    """The middle of its records' ids; unlike that of any other file of the source."""
    size: int
    """Bytes on disk; of an archive's member, unpacked; 0 if nobody says."""
    encoding: str
    """Of its text; nothing if it is none."""
    profile: Profile
    rules: Rules
    """Its reader's over the usual ones; those of the recipe and of the input go over them."""
    input: Input
    problem: str = ""
    """Why this one of many files cannot be read."""

    @property
    def is_readable(self) -> bool:
        """Is anything in it to be read?"""
        return bool(self.reader) and not self.problem

    @property
    def card(self) -> Card:
        """What is known of its corpus."""
        return card(self.reader) if self.reader else Card(about="")

    def sample(self, start: int = 0, end: int | None = None) -> Sample:
        """The file, or a part of it, to be read."""
        return Sample(self.name, start, end, self.encoding)


@dataclass(frozen=True)
class _Named:
    """A file that an input names."""

    name: str
    input: Input
    source: str
    is_alone: bool
    """Was this very file asked for? Then its problems are errors."""
    problem: str = ""

    @property
    def base(self) -> str:
        """Its name without its folder."""
        return Path(self.name).name


def expand(inputs: Sequence[Input], missing: Literal["stop", "skip"] = "stop") -> list[Raw]:
    """Every file that the inputs name, in their order and sorted within each; a file named twice counts once."""
    if not inputs:
        raise UserError(
            "clean.inputs is empty; name a corpus: clean.inputs=my.csv (a file, a folder, a glob or a list)"
        )
    found: dict[str, _Named] = {}
    for one in inputs:
        check(one.path, one.reader)
        for file in _present(one, missing, len(inputs)):
            if well_formed(file.name) != file.name:
                raise UserError(f"clean.inputs: {well_formed(file.name)}: the file's name is not UTF-8; rename it")
            before = found.setdefault(file.name, file)
            if dataclasses.replace(before.input, path=one.path) != one:
                raise UserError(f"clean.inputs: {file.name} is named twice, in two ways; name it once")
    if not found:
        raise UserError("clean.inputs: not one of the inputs is there; get them, or name others")
    often = Counter((file.source, file.base) for file in found.values())
    raws = [
        _looked_into(file, file.base if often[file.source, file.base] == 1 else file.name) for file in found.values()
    ]
    _refuse_hopeless(raws)
    return raws


# ---------------------------------------------------------------- which files


def _present(one: Input, missing: str, inputs: int) -> list[_Named]:
    path = well_formed(one.path)
    try:
        return list(_named_by(one))
    except FileNotFoundError:
        known = _known_as(one)
    if missing == "skip":
        warn(tell(f"{path}: nothing there; skipped{known}", f"{path}：不存在，已跳过{known}"))
        return []
    here = "" if is_url(one.path) else f" (it counts from {Path.cwd()})"
    skips = f"; {SKIPS}" if known or inputs > 1 else ""
    raise UserError(f"clean.inputs: {path}: nothing there; correct the path{here}{known}{skips}")


def files_of(one: Input) -> list[str]:
    """The names of an input's files; FileNotFoundError if there are none."""
    return [file.name for file in _named_by(one)]


def _named_by(one: Input) -> Iterator[_Named]:
    """The files of one input, each with its source: the input's own, else the folder's or the file's name."""
    path = one.path if is_url(one.path) else Path(one.path).expanduser().as_posix()
    if is_hub(path):
        dataset, config, _ = hub.parts(path)
        if not hub.is_there(path):
            raise FileNotFoundError(path)
        yield _Named(path, one, sanitise(one.source or config or dataset.rpartition("/")[2]), True)
        return
    folder = _folder(path)
    files = _within(path) if folder else matching(path)
    if not files:
        if folder:
            raise UserError(
                f"clean.inputs: {well_formed(one.path)}: no file in this folder can be read ({', '.join(READABLE)})"
            )
        raise FileNotFoundError(path)
    for file in files:
        source = sanitise(one.source or folder or _stem(file))
        is_alone = len(files) == 1 and not folder
        try:
            inner = _unpacked(file) if is_archive(file) else [file]
        except UserError as error:
            if is_alone:
                raise
            yield _Named(file, one, source, is_alone, str(error))
            continue
        for name in inner:
            yield _Named(name, one, source, is_alone and len(inner) == 1)


def _stem(name: str) -> str:
    """`a` of `a.json`, `a.json.gz` and `a.zip`."""
    base = Path(unpacked_name(name))
    return base.name if base.name != Path(name).name and base.suffix not in READABLE else base.stem


def _folder(path: str) -> str:
    """A folder's name; nothing if it is none."""
    if is_url(path):
        system, inner = file_system(path)
        return Path(inner).name or "corpus" if system.isdir(inner) else ""
    return Path(path).resolve().name or "corpus" if Path(path).is_dir() else ""


def _within(folder: str) -> list[str]:
    """The files in a folder and below that may be corpora; hidden ones are none."""
    if is_url(folder):
        inside = [(name, name.removeprefix(folder)) for name in matching(folder)]
    else:
        names = (Path(at) / name for at, _, files in os.walk(folder, onerror=_refuse) for name in files)
        files = (path for path in sorted(names) if path.is_file())
        inside = [(path.as_posix(), path.relative_to(folder).as_posix()) for path in files]
    return [name for name, inner in inside if _may_be_read(name) and not re.search(r"(?:^|/)\.", inner)]


def _refuse(error: OSError) -> None:
    raise error


def _may_be_read(name: str) -> bool:
    return suffix_of(name) in READABLE or name.lower().endswith(".zip")


def _unpacked(archive: str) -> list[str]:
    """An archive's files: those that look readable, or else all of them."""
    inner = members(archive)
    return [name for name in inner if _may_be_read(name)] or inner


def sanitise(name: str) -> str:
    """A name that is safe in a file name, Han characters kept."""
    safe = re.sub(r"[^\w.]+", "_", name).strip("._") or "corpus"
    if len(safe.encode()) <= LONGEST_SOURCE:
        return safe
    begins = safe.encode()[: LONGEST_SOURCE - 9].decode("utf-8", "ignore")
    return f"{begins}-{xxhash.xxh3_64_hexdigest(safe.encode())[:8]}"


# ---------------------------------------------------------------- what is in them


def _looked_into(file: _Named, label: str) -> Raw:
    """The file with its reader; a problem of one of many is noted, for the run to go on."""
    size, encoding, reader, problem = 0, "", "", file.problem
    try:
        sample = Sample(file.name)
        size = 0 if is_hub(file.name) else size_of(file.name)
        if not problem and not is_empty(sample):
            encoding = sample.encoding
            reader = reader_of(sample, file.input.reader)
    except UserError as error:
        if file.is_alone:
            raise
        reader, problem = "", str(error)
    known = card(reader) if reader else Card(about="")
    profile = known.profile if file.input.profile == "auto" else file.input.profile
    rules = overlaid(DEFAULT_RULES, known.rules)
    return Raw(file.name, reader, file.source, label, size, encoding, profile, rules, file.input, problem)


def is_empty(sample: Sample) -> bool:
    """No byte, only space, an empty list, or a table without rows."""
    if is_hub(sample.name):
        return False
    if sample.head.startswith(b"PAR1"):
        return parquet_files.is_empty(sample.name)
    if len(sample.head) > 4096:
        return False
    return sample.head.lstrip(b"\xef\xbb\xbf\xff\xfe").replace(b"\0", b"").strip() in (b"", b"[]")


def _refuse_hopeless(raws: Sequence[Raw]) -> None:
    """If not one of an input's many files can be read, that is an error after all."""
    for one in dict.fromkeys(raw.input.path for raw in raws):
        its = [raw for raw in raws if raw.input.path == one]
        if all(raw.problem for raw in its):
            raise UserError(f"clean.inputs: {well_formed(one)}: none of its files can be read; {its[0].problem}")


def remote_fingerprint(name: str) -> dict[str, Any]:
    """What a server says of a file, by which a change shows: its size, and its tag or time if it tells."""
    if is_hub(name):
        return {"revision": hub.revision(name)}
    system, path = file_system(name)
    info = system.info(path)
    told = {key: str(info[key]) for key in ("ETag", "etag", "LastModified", "mtime", "created") if info.get(key)}
    return {"size": info.get("size"), **told}


# ---------------------------------------------------------------- what is not there


def _known_as(one: Input) -> str:
    """Where it can be had, if it is a corpus that we know."""
    base = Path(one.path).name
    known = [card(one.reader)] if one.reader != "auto" else [r.CARD for r in readers().values() if _is_of(r.CARD, base)]
    if not known or not known[0].homepage:
        return ""
    here = known[0]
    facts = (" ".join(here.files), here.size, here.licence and tell("licence ", "许可 ") + here.licence)
    told = ", ".join(fact for fact in facts if fact)
    return tell(f"; get it from {here.homepage}", f"；可从 {here.homepage} 获取") + (f" ({told})" if told else "")


def _is_of(known: Card, base: str) -> bool:
    says = re.sub(r"\[.*?\]|[*?]", "", base.partition(".")[0])
    return known.names(base) or (len(says) > 3 and any(fnmatchcase(file.lower(), base.lower()) for file in known.files))
