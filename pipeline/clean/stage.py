"""Raw corpora in, clean records out: `clean/<split>/<source>-NNNNN.parquet`, a report and a quarantine.

Three steps, each a list of tasks that may run anywhere (`engines.py`) and in any order: pieces of files are read,
mended and measured (`read.py`); which records stay is decided from the measures (`choose.py`); buckets of what stays
become shuffled shards (`gather.py`). Nothing is dropped uncounted. Measures stay in `clean/features/`: when only rules
change, nothing is read again. Alone: `python -m pipeline.clean configs/demo.yaml clean.inputs=my.csv`.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import xxhash

from pipeline.clean.account import account, closing_line, refuse_bad, refuse_empty
from pipeline.clean.choose import choose
from pipeline.clean.config import RULE_NAMES, CleanConfig, Rules, overlaid
from pipeline.clean.duplicates.corpus import Corpus
from pipeline.clean.engines import Map, engine
from pipeline.clean.evidence import Evidence
from pipeline.clean.exams import exam_files, read_exams
from pipeline.clean.files.places import apart, is_url
from pipeline.clean.files.rows import Cut, cuts
from pipeline.clean.gather import gather, save_verdicts, shelves
from pipeline.clean.inputs import Raw, expand, remote_fingerprint
from pipeline.clean.protocol import Sample
from pipeline.clean.read import Piece, parts_of, prepare, read_piece
from pipeline.clean.report import write_report
from pipeline.clean.store import Store
from utils.console import UserError, progress, say, tell, warn
from utils.stage import PLAN, Json, build, hash_file, manifest, read_json

PIECE_BYTES = 32_000_000
"""A file that can be cut is read in pieces of so many bytes."""
BUCKET_BYTES = 32_000_000
"""About so much raw text becomes one shard."""
PACKED_HOLDS = 4
"""Bytes of text in a byte of a packed file, about;"""
PARQUET_HOLDS = 3
"""and in one of parquet."""
PACKAGES = ("pyarrow", "numpy", "xxhash", "orjson", "opencc", "zhconv-rs")
FEATURES = "features"
VERSION = {"version": 2}
"""An input like the files: counted up when records would come out mended or measured otherwise."""
CUT_FIELDS = {*RULE_NAMES, "valid", "test", "max_bad_ratio", "missing"}
"""What can change without reading again."""


def run(config: CleanConfig, output: Path) -> bool:
    """Make the clean records, unless they are there already."""
    raws = expand(config.inputs, config.missing)
    exams = exam_files(config.decontaminate)
    rules = {raw.name: rules_of(raw, config) for raw in raws}
    done: Json = {}

    def work(folder: Path) -> Json:
        if not config.store:
            _adopt_features(output, folder)
        done.update(_clean(config, raws, rules, exams, folder))
        return {name: done[name] for name in ("read", "kept", "quarantined", "dropped", "splits")}

    built = build("clean", config, _fingerprinted(raws, exams), output, work, PACKAGES)
    if built:
        say(closing_line(done, output))
    return built


def inputs_of(config: CleanConfig) -> dict[str, Path | Json]:
    """What the output depends on: local files, and the fingerprints of remote ones."""
    return _fingerprinted(expand(config.inputs, config.missing), exam_files(config.decontaminate))


def _fingerprinted(raws: Sequence[Raw], exams: Sequence[str]) -> dict[str, Path | Json]:
    names = dict.fromkeys([apart(raw.name)[0] for raw in raws] + list(exams))
    files = {name: remote_fingerprint(name) if is_url(name) else Path(name) for name in names}
    return {**files, "pipeline/clean": VERSION}


def rules_of(raw: Raw, config: CleanConfig) -> Rules:
    """A corpus's rules: its reader's, over them the recipe's, over them those of the input."""
    try:
        return overlaid(raw.rules, config, raw.input.rules)
    except ValueError as error:
        told = f"its reader's rules ({raw.reader}), the recipe's and its own together say: {error}"
        raise UserError(f"clean.inputs: {raw.input.path}: {told}") from None


def _clean(
    config: CleanConfig, raws: Sequence[Raw], rules: Mapping[str, Rules], exams: Sequence[str], folder: Path
) -> Json:
    store = _store(config, folder)
    pieces = plan(config, raws, store)
    with engine(config, sum(raw.size for raw in raws), prepare) as run_tasks:
        _read(pieces, store, exams, run_tasks)
        accounts = [store.read_json(piece.account) for piece in pieces]
        refuse_bad(accounts, config)
        _tell_of_files(raws, pieces, accounts)
        corpus = _corpus(store, pieces, accounts)
        from_raw = [pieces[part.task].raw for part in corpus.parts]
        sources = [raw.source for raw in from_raw]
        with progress(tell("choose", "筛选"), corpus.rows, tell("records", "条")) as meter:
            choice = choose(corpus, [rules[raw.name] for raw in from_raw], sources, config, run_tasks)
            meter.advance(corpus.rows)
        report = account(raws, rules, pieces, accounts, corpus, choice)
        refuse_empty(report, raws)
        save_verdicts(corpus, choice)
        wanted = shelves(corpus, sources, [raw.label for raw in from_raw], _file_bases(pieces, accounts), choice)
        with progress(tell("shards", "写出分片"), len(wanted)) as meter:
            for _ in run_tasks(gather, wanted):
                meter.advance()
    report["shards"] = [name for shelf in wanted for _, name in shelf.shards]
    write_report(folder, report, accounts, Evidence(corpus, choice, sources))
    _leave(config, store, folder, pieces, report)
    return report


def _tell_of_files(raws: Sequence[Raw], pieces: Sequence[Piece], accounts: Sequence[Json]) -> None:
    """What one line in the quarantine says too softly: a file is empty, or was not read to its end."""
    for raw in raws:
        if not raw.reader and not raw.problem:
            warn(tell(f"{raw.name}: empty file", f"{raw.name}：空文件"))
    for piece, one in zip(pieces, accounts, strict=True):
        if why := one["cut_short"]:
            warn(tell(f"{piece.raw.name}: not read to its end: {why}", f"{piece.raw.name}：没能读到结尾：{why}"))


def _store(config: CleanConfig, folder: Path) -> Store:
    """The output's folder, or a place in the recipe's store that belongs to this config and these inputs alone."""
    if not config.store:
        return Store(str(folder))
    digest = xxhash.xxh3_64_hexdigest((folder / PLAN).read_bytes())
    return Store(f"{config.store.rstrip('/')}/{digest}")


def plan(config: CleanConfig, raws: Sequence[Raw], store: Store) -> list[Piece]:
    """Pieces of files, in the order of the inputs; how many buckets a source has follows from its size."""
    samples = [raw.sample() for raw in raws]
    sizes: dict[str, int] = {}
    for raw, sample in zip(raws, samples, strict=True):
        sizes[raw.source] = sizes.get(raw.source, 0) + raw.size * (_holds(sample) if raw.is_readable else 1)
    pieces: list[Piece] = []
    for raw, sample in zip(raws, samples, strict=True):
        wanted = max(-(-sizes[raw.source] // BUCKET_BYTES), 1)
        buckets = 1 << (wanted - 1).bit_length()
        mask = config.pii == "mask" or (config.pii == "auto" and raw.profile == "web")
        for cut in cuts(sample, raw.size, PIECE_BYTES) if raw.is_readable else [Cut(0, None, raw.size)]:
            pieces.append(Piece(len(pieces), raw, cut, buckets, store, config.seed, config.simplify, mask))
    return pieces


def _holds(sample: Sample) -> int:
    """Bytes of text in a byte of the file, about."""
    return PARQUET_HOLDS if sample.container == "parquet" else PACKED_HOLDS if sample.packing else 1


def _save_exams(store: Store, files: Sequence[str]) -> str:
    """What tasks look for, under a name that no other exams have."""
    exams = read_exams(files)
    digest = xxhash.xxh3_64_hexdigest(b"".join(array.tobytes() for array in vars(exams).values()))
    with store.write(f"work/exams-{digest}.npz") as file:
        exams.save(file)
    return f"work/exams-{digest}.npz"


def _read(pieces: Sequence[Piece], store: Store, exams: Sequence[str], run_tasks: Map) -> None:
    """What no run before has read, the largest first: no worker is left with a long one at the end."""
    todo = sorted((p for p in pieces if not store.exists(p.account)), key=lambda piece: -piece.cut.bytes)
    if todo and exams:
        name = _save_exams(store, exams)
        todo = [dataclasses.replace(piece, exams=name) for piece in todo]
    total = sum(piece.cut.bytes for piece in todo) // 1_000_000
    with progress(tell("clean", "清洗"), total, "MB") as meter:
        done = 0
        for piece, _ in zip(todo, run_tasks(read_piece, todo), strict=True):
            done += piece.cut.bytes
            meter.advance(done // 1_000_000 - meter.done)


def _corpus(store: Store, pieces: Sequence[Piece], accounts: Sequence[Json]) -> Corpus:
    """All parts, and for each how many records were read before its piece."""
    before = np.concatenate([[0], np.cumsum([one["read"] for one in accounts])])
    parts = [part for piece, one in zip(pieces, accounts, strict=True) for part in parts_of(piece.number, one)]
    return Corpus(store, tuple(parts), tuple(int(before[part.task]) for part in parts))


def _file_bases(pieces: Sequence[Piece], accounts: Sequence[Json]) -> list[int]:
    """For each part how many records its file held before its piece."""
    bases, seen = [], dict[str, int]()
    for piece, one in zip(pieces, accounts, strict=True):
        before = seen.get(piece.raw.name, 0)
        bases += [before] * len(one["parts"])
        seen[piece.raw.name] = before + one["read"]
    return bases


# ---------------------------------------------------------------- measures that are kept


def _adopt_features(old: Path, folder: Path) -> None:
    """Take over what an earlier version of the output measured, if only rules have changed since."""
    known = manifest(old)
    if known is None or not (old / FEATURES).is_dir():
        return
    wanted = read_json(folder / PLAN)
    same_files = {n: f.get("hash", f) for n, f in known["inputs"].items()} == {
        n: f.get("hash", f) for n, f in wanted["inputs"].items()
    }
    if not same_files or _of_reading(known["config"]) != _of_reading(wanted["config"]):
        return
    kept = {name: entry["hash"] for name, entry in known["files"].items() if name.startswith(FEATURES)}
    if any(not (old / name).is_file() or hash_file(old / name) != digest for name, digest in kept.items()):
        return
    for path in sorted((old / FEATURES).iterdir(), key=lambda p: p.suffix == ".json"):  # accounts last: they vouch
        target = folder / FEATURES / path.name
        target.parent.mkdir(exist_ok=True)
        if target.exists():  # taken over before a kill
            continue
        try:
            os.link(path, target)
        except OSError:
            shutil.copy2(path, target)
    say(tell("clean: only rules changed; the measures are kept", "清洗：只有规则变了，沿用已有的测量结果"))


def _of_reading(config: Json) -> Json:
    kept = {name: value for name, value in config.items() if name not in CUT_FIELDS}
    kept["inputs"] = [{k: v for k, v in one.items() if k != "rules"} for one in config["inputs"]]
    return kept


def _leave(config: CleanConfig, store: Store, folder: Path, pieces: Sequence[Piece], report: Json) -> None:
    """Only what people and later stages need stays; what lies elsewhere is brought here."""
    if config.store:
        store.fetch(folder, [*report["shards"], *(f"{FEATURES}/{p.number:05d}.bad.jsonl" for p in pieces)])
    with (folder / "quarantine.jsonl").open("wb") as whole:
        for piece in pieces:
            with (folder / FEATURES / f"{piece.number:05d}.bad.jsonl").open("rb") as part:
                shutil.copyfileobj(part, whole)
    shutil.rmtree(folder / "work", ignore_errors=True)
    if config.store or not config.keep_features:
        shutil.rmtree(folder / FEATURES)


assert {f.name for f in dataclasses.fields(CleanConfig)} >= CUT_FIELDS
