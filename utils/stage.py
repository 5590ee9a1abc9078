"""Contract 1: a stage is a function from folders to a folder, and a folder with a manifest is complete.

`build()` takes a stage's config, its inputs and its work. It decides whether the output is already there, says
what changed if it is not, keeps the finished parts of a killed run, and puts the whole folder in place by one
rename, the manifest having come last. Training folders live longer than one run and use the same pieces
(`fingerprint`, `identity`, `write_json`, `write_manifest`) by their own rules.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import metadata
from itertools import count
from pathlib import Path
from typing import Any

import xxhash

from utils.console import UserError, say, tell, warn

MANIFEST = "manifest.json"
BUILDING = ".building"
PLAN = ".plan.json"
"""In a folder that is being built: its config and the fingerprints of its inputs."""
REPORTS = ("report.html", "report.json")
"""Pages for people: listed in a manifest, but no part of what a later stage depends on."""

Json = dict[str, Any]


# ---------------------------------------------------------------- files that are whole or absent


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Write to the path this yields; the file appears under its own name only when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield draft
        sync(draft)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    sync(path.parent)


def sync(path: Path) -> None:
    """Ask the disk to keep it: a file, or the names in a folder (which only POSIX can do)."""
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """A JSON file that is whole or absent."""
    with whole(path) as draft:
        draft.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def read_json(path: Path, *keys: str) -> Json:
    """A JSON object that this project wrote, with these keys at least; a damaged one is named."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise damage(path, str(error)) from None
    if not isinstance(value, dict) or not set(keys) <= value.keys():
        raise damage(path, "not what was written there")
    return value


def read_objects(path: Path, *keys: str) -> Json:
    """A JSON object that this project wrote, with an object under each of these keys."""
    value = read_json(path, *keys)
    if not all(isinstance(value[key], dict) for key in keys):
        raise damage(path, "not what was written there")
    return value


def damage(path: Path, why: str) -> UserError:
    """What to say of a file of ours that does not hold what we write."""
    return UserError(f"{path}: damaged ({why}); restore it, or move {path.parent} away and run again")


# ---------------------------------------------------------------- what something is made from


def hash_file(path: Path) -> str:
    """Content hash of a file: xxh3 is as fast as the page cache."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def fingerprint(source: Path | Json) -> Json:
    """What identifies an input: the content of a finished stage, or of a file; of what lies elsewhere, as given."""
    if isinstance(source, dict):
        return source
    if source.is_dir():
        return {"identity": identity(source)}
    stat = source.stat()
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "hash": hash_file(source)}


def unchanged(source: Path | Json, known: Json) -> bool:
    """Is this input what it was? By size and time first; its content is read only if those differ."""
    if isinstance(source, dict):
        return source == known
    if "identity" in known:
        return manifest(source) is not None and identity(source) == known["identity"]
    if not source.is_file():
        return False
    stat = source.stat()
    if stat.st_size != known["size"]:
        return False
    return stat.st_mtime_ns == known["mtime_ns"] or hash_file(source) == known["hash"]


def manifest(folder: Path) -> Json | None:
    """The manifest of a complete folder, or None."""
    path = folder / MANIFEST
    if not path.is_file():
        return None
    known = read_objects(path, "config", "inputs", "counters", "files")
    if not all(isinstance(entry, dict) and {"size", "hash"} <= entry.keys() for entry in known["files"].values()):
        raise damage(path, "its files have no size or no hash")
    return known


def identity(folder: Path) -> str:
    """One hash for what a finished stage made: its files' names and contents, without the pages for people."""
    known = manifest(folder)
    if known is None:
        raise UserError(f"{folder}: not finished (no {MANIFEST}); run the stage that makes it first")
    return identity_of(known)


def identity_of(known: Json) -> str:
    """`identity`, from a manifest already read."""
    digest = xxhash.xxh3_128()
    for name in sorted(known["files"]):
        if name not in REPORTS:
            digest.update(f"{name}\0{known['files'][name]['hash']}\n".encode())
    return digest.hexdigest()


def versions(*packages: str) -> dict[str, str]:
    """Versions of what made a folder, for its manifest."""
    return {name: metadata.version(name) for name in packages}


def config_json(config: Any) -> Json:
    """A config as it stands in a manifest: without the fields that cannot change the output."""
    free: frozenset[str] = getattr(type(config), "FREE", frozenset())
    return {name: value for name, value in dataclasses.asdict(config).items() if name not in free}


def differences(old: Json, new: Json, prefix: str = "") -> list[str]:
    """What changed between two configs, as `name: old -> new`."""
    found = []
    for name in sorted(old.keys() | new.keys()):
        a, b = old.get(name), new.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, f"{prefix}{name}.")
        elif isinstance(a, list) and isinstance(b, list) and _are_alike(a, b):
            for number, (one, other) in enumerate(zip(a, b, strict=True)):
                found += differences(one, other, f"{prefix}{name}[{number}].")
        elif a != b:
            found.append(f"{prefix}{name}: {_told(a)} -> {_told(b)}")
    return found


def _are_alike(a: list[Any], b: list[Any]) -> bool:
    """Two lists of as many mappings."""
    return len(a) == len(b) and all(isinstance(one, dict) for one in [*a, *b])


def _told(value: Any) -> str:
    text = json.dumps(_said(value), ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:199]}…"


def _said(value: Any) -> Any:
    """Without the fields that are left empty."""
    if isinstance(value, dict):
        return {name: _said(one) for name, one in value.items() if one not in (None, "", {})}
    return [_said(one) for one in value] if isinstance(value, list) else value


# ---------------------------------------------------------------- building a folder


def write_manifest(
    folder: Path,
    stage: str,
    config: Json,
    inputs: Json,
    counters: Json,
    packages: tuple[str, ...],
    among: str = "",
) -> None:
    """List and hash what lies in the folder (or below `among`); written last, so that it vouches for the rest."""
    files = {}
    for path in sorted(p for p in (folder / among).rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if name == MANIFEST or path.name.startswith("."):
            continue
        sync(path)
        files[name] = file_entry(path)
    value = {"stage": stage, "config": config, "inputs": inputs, "counters": counters}
    write_json(folder / MANIFEST, value | {"versions": versions(*packages), "files": files})


def file_entry(path: Path) -> Json:
    """What a manifest says of a file."""
    return {"size": path.stat().st_size, "hash": hash_file(path)}


def vouch_again(folder: Path, names: Iterable[str]) -> None:
    """Let the manifest of a complete folder say what these files of it are now."""
    known = read_json(folder / MANIFEST, "files")
    known["files"] |= {name: file_entry(folder / name) for name in names}
    write_json(folder / MANIFEST, known)


def why_stale(folder: Path, config: Json, inputs: Mapping[str, Path | Json]) -> list[str]:
    """Why a finished folder has to be made again; nothing if it is what the config and inputs ask for."""
    known = manifest(folder)
    if known is None:
        return ["not there yet"]
    reasons = differences(known["config"], json.loads(json.dumps(config)))
    for name in sorted(known["inputs"].keys() | inputs.keys()):
        if name not in inputs:
            reasons.append(f"{name} is no longer an input")
        elif name not in known["inputs"]:
            reasons.append(f"{name} is a new input")
        elif not unchanged(inputs[name], known["inputs"][name]):
            reasons.append(f"{name} changed")
    return reasons + [f"{folder / name} is missing or damaged" for name in damaged_files(folder, known)]


def damaged_files(folder: Path, known: Json) -> list[str]:
    """Files that a manifest names and that are not there, or not of that size; a page for people may be newer."""

    def whole_there(name: str, size: int) -> bool:
        path = folder / name
        return path.is_file() and (name in REPORTS or path.stat().st_size == size)

    return [name for name, entry in known["files"].items() if not whole_there(name, entry["size"])]


def refuse_rewritten(folder: Path) -> None:
    """The files of a finished folder have to be those that were made there. All are read: for small folders."""
    known = manifest(folder)
    if known is None:
        return
    for name, entry in known["files"].items():
        path = folder / name
        if name not in REPORTS and not (path.is_file() and hash_file(path) == entry["hash"]):
            told = f"{path}: not what the {known['stage']} stage wrote there"
            raise UserError(f"{told}; delete {folder} and run that stage again")


def build(
    stage: str,
    config: Any,
    inputs: Mapping[str, Path | Json],
    output: Path,
    work: Callable[[Path], Json],
    packages: tuple[str, ...] = (),
) -> bool:
    """Make `output` unless it is there already; True if there was something to do.

    An input is a path, or the fingerprint of something that is not on this machine.
    `work(folder)` fills a temporary folder and returns counters. If an earlier run with the same config and
    inputs was killed, the folder still holds the parts that it finished: work that goes part by part asks
    whether a part exists before making it, and writes each through `whole()`.
    """
    for name, path in inputs.items():
        if isinstance(path, Path) and not path.exists():
            raise UserError(
                f"{stage}: input {name} not found at {path}; correct its path, or run "
                "`python -m pipeline RECIPE`, which makes what is missing"
            )
    settled = config_json(config)
    output = output.resolve() if output.is_symlink() else output  # a link to a larger disk stays one
    building = output.with_name(output.name + BUILDING)
    _refuse_inside(output, inputs)
    with lock(output):
        _refuse_strangers(output, building)
        if manifest(building) is not None:  # killed between the manifest and the rename
            put_in_place(building, output)
        reasons = why_stale(output, settled, inputs)
        if not reasons:
            return False
        if manifest(output) is not None:
            why = "; ".join(reasons[:4])
            say(tell(f"{stage}: made again, because {why}", f"{stage}：重新生成，因为 {why}"))
        made_from = {name: fingerprint(path) for name, path in inputs.items()}
        _resume_or_clear(building, {"config": settled, "inputs": made_from})
        counters = work(building)
        for name, source in inputs.items():
            if not unchanged(source, made_from[name]):
                raise UserError(f"{stage}: {name} changed while it was read; run the same command again")
        for draft in building.rglob(".*.part"):  # of a process that was killed
            draft.unlink()
        write_manifest(building, stage, settled, made_from, counters, packages)
        put_in_place(building, output)
    return True


def _refuse_inside(output: Path, inputs: Mapping[str, Path | Json]) -> None:
    """What a stage reads must not lie where it writes: it would be gone."""
    for name, source in inputs.items():
        if isinstance(source, Path) and output.resolve() in source.resolve().parents:
            raise UserError(f"{name}: lies in {output}, which is made anew; move it elsewhere")


def _refuse_strangers(output: Path, building: Path) -> None:
    """Nobody's files are thrown away but our own: those in the output are set aside, since a manifest may be lost."""
    for folder in (output, _old(output), building):
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise UserError(f"{folder}: no folder; move it away, or choose another workspace=")
    for folder in (_old(output), building):
        if _is_strange(folder):
            raise UserError(f"{folder}: holds files that are not ours; move it away, or choose another workspace=")
    if _is_strange(output):
        kept = set_aside(output)
        warn(tell(f"{output}: without its {MANIFEST}; kept as {kept}", f"{output}：缺少 {MANIFEST}，保留在 {kept}"))


def set_aside(folder: Path) -> Path:
    """Move a folder to the next free name, `<name>.old1` and so on."""
    kept = next(path for n in count(1) if not (path := folder.with_name(f"{folder.name}.old{n}")).exists())
    os.replace(folder, kept)
    return kept


def discard(path: Path) -> None:
    """Remove a folder, a file, or a link but not what it leads to; what is not there is gone already."""
    with suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _is_strange(folder: Path) -> bool:
    """Something is in it, and nothing says that we made it."""
    if not folder.is_dir() or any((folder / note).exists() for note in (MANIFEST, PLAN)):
        return False
    return any(not path.name.startswith(".") for path in folder.iterdir())


def _old(output: Path) -> Path:
    """Where the output before waits until the new one is in place."""
    return output.with_name(output.name + ".old")


def _resume_or_clear(building: Path, plan: Json) -> None:
    """Keep the parts of a killed run of the same plan; anything else in the way goes."""
    note = building / PLAN
    if building.exists():
        if note.is_file() and read_json(note) == json.loads(json.dumps(plan)):
            return
        shutil.rmtree(building)
    building.mkdir(parents=True)
    write_json(note, plan)


def put_in_place(building: Path, output: Path) -> None:
    """Let a complete folder take another's place; killed in between, the old one is found as `<name>.old`."""
    old = _old(output)
    discard(old)
    if output.exists():
        os.replace(output, old)
    os.replace(building, output)
    sync(output.parent)
    shutil.rmtree(old, ignore_errors=True)
    (output / PLAN).unlink(missing_ok=True)


def refuse_locked(folder: Path) -> None:
    """Refuse a folder that another process is writing; nothing is written."""
    if os.name != "posix":
        return
    import fcntl

    with suppress(FileNotFoundError, NotADirectoryError), _lock_of(folder).open(errors="replace") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            raise _is_written(folder, file.read()) from None


def _is_written(folder: Path, holder: str) -> UserError:
    return UserError(
        f"{folder}: process {holder.strip() or 'unknown'} is writing here; "
        "wait for it, end it, or choose another workspace="
    )


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.lock")


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """One writer a folder: a second one is told the first one's pid. A killed writer's lock dies with it."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError, FileNotFoundError):
        raise UserError(f"{folder.parent}: cannot be a folder; choose another workspace=") from None
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: a file stands where a folder belongs; move it, or choose another workspace=")
    with _lock_of(folder).open("a+", encoding="ascii", errors="replace") as file:
        if os.name == "posix":
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                raise _is_written(folder, file.read()) from None
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield
