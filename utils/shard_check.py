"""A pack comes in before it is trained on; a shard that is not as the pack stage made it is refused by name."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from utils.console import UserError
from utils.shards import PACK_AGAIN, TOKENIZER, damaged, finished, refuse_other_counts, stat_of
from utils.stage import Json, hash_file, read_json, write_json

VERIFIED = "verified.json"
"""In the cache: what was found in each shard, at which size and time."""

KINDS = {"size": int, "mtime_ns": int, "documents": int, "tokens": int, "largest": int, "tokenizer": str, "hash": str}
"""What is noted of a shard."""


def refuse_damaged_shards(pack: Path, verb: str, vocab_size: int, cache: Path) -> None:
    """Before training starts: refuse a verb's shards that are not what the pack stage made, or not for this vocabulary.

    Every shard is read once; one that did not change since is not read again. What was
    found is noted in `cache`, if all are sound.
    """
    known = finished(pack)
    listed = {name: counts for name, counts in known["counters"]["shards"].items() if name.startswith(f"{verb}/")}
    for path in sorted((pack / verb).glob("*/*.arrow")):
        if path.relative_to(pack).as_posix() not in listed:
            raise UserError(f"{path}: not made by this pack (manifest.json does not name it); move it away")
    before: Json = {}
    with suppress(OSError, UserError):  # absent, or damaged: all are read
        before = read_json(cache / VERIFIED)
    seen = {name: _seen(pack / name, known["files"][name]["size"], before.get(name)) for name in sorted(listed)}
    for name, found in seen.items():
        _refuse_other(pack / name, found, listed[name], known["counters"].get("tokenizer", ""), vocab_size)
        if found["hash"] != known["files"][name]["hash"]:
            raise UserError(f"{pack / name}: not what the pack stage wrote there; {PACK_AGAIN}")
    if before != seen:
        with suppress(OSError):  # where nothing can be written, all are read again each time
            write_json(cache / VERIFIED, seen)


def _seen(path: Path, size: int, before: Any) -> Json:
    """What a shard holds, by its own words and ids."""
    stat = stat_of(path, size)
    when = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    if _is_note(before) and when.items() <= before.items():
        return before  # type: ignore[no-any-return]
    try:
        with pa.memory_map(str(path)) as data, pa.ipc.open_file(data) as file:
            documents, tokens, largest = 0, 0, 0
            for i in range(file.num_record_batches):
                batch = file.get_batch(i)
                batch.validate(full=True)
                ids = batch.column("tokens").flatten().to_numpy()
                documents, tokens = documents + len(batch), tokens + len(ids)
                largest = max(largest, int(ids.max(initial=0)))
            whose = (file.schema.metadata or {}).get(TOKENIZER.encode(), b"").decode()
    except (pa.ArrowInvalid, OSError, KeyError):
        raise damaged(path) from None
    said = {"documents": documents, "tokens": tokens, "largest": largest, "tokenizer": whose}
    return when | said | {"hash": hash_file(path)}


def _is_note(value: Any) -> bool:
    """Is this what we write of a shard?"""
    if not isinstance(value, dict) or value.keys() != KINDS.keys():
        return False
    return all(isinstance(value[name], kind) for name, kind in KINDS.items())


def _refuse_other(path: Path, found: Json, counts: Json, tokenizer: str, vocab_size: int) -> None:
    if found["tokenizer"] != tokenizer:
        raise UserError(
            f"{path}: packed with another tokenizer ({found['tokenizer'][:8] or 'unknown'}) than this pack "
            f"({tokenizer[:8] or 'unknown'}); {PACK_AGAIN}"
        )
    refuse_other_counts(path, (found["documents"], found["tokens"]), (counts["documents"], counts["tokens"]))
    if found["largest"] >= vocab_size:
        raise UserError(
            f"{path}: holds token {found['largest']:,}, beyond the model's vocabulary of {vocab_size:,}; "
            f"give a model of that vocabulary, or {PACK_AGAIN}"
        )
