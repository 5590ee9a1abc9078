"""A dataset of the hub, `hf://owner/name[/config][@split]`, as rows: streamed, so that nothing of it is kept here.

`datasets` itself tries again when a connection drops. `HF_ENDPOINT` names a mirror.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import closing
from functools import lru_cache
from itertools import islice
from typing import Any

from pipeline.clean.protocol import Sample
from utils.console import UserError, well_formed

MEND = "correct the name, or look at the network (HF_ENDPOINT=https://hf-mirror.com is a mirror)"
_ID = re.compile(r"hf://([^/@]+/[^/@]+)(?:/([^@]+))?(?:@([^/@]+))?")


def parts(name: str) -> tuple[str, str | None, str]:
    """owner/name, the configuration if there is one, and the split."""
    found = _ID.fullmatch(name)
    if found is None:
        raise UserError(f"clean.inputs: {well_formed(name)}: give hf://owner/name[/config][@split]")
    return found[1], found[2], found[3] or "train"


def rows(sample: Sample) -> Generator[tuple[int, dict[str, Any]], None, None]:
    """Every row and its number; UserError when the hub cannot be reached, or falls silent on the way."""
    import datasets

    dataset, config, split = parts(sample.name)
    at = 0
    try:
        for row in datasets.load_dataset(dataset, config, split=split, streaming=True):
            yield at, row
            at += 1
    except Exception as error:  # whatever a network, a cache or a parser raises
        if at:
            raise UserError(f"{sample.name}: broke off behind {at:,} rows ({_told(error)}); run again") from error
        raise UserError(f"{sample.name}: cannot be read from the hub ({_told(error)}); {MEND}") from error


@lru_cache(64)
def first(name: str, count: int) -> tuple[dict[str, Any], ...]:
    """The first rows, asked for once."""
    with closing(rows(Sample(name))) as every:
        return tuple(row for _, row in islice(every, count))


def is_there(name: str) -> bool:
    """Does the hub have such a dataset? UserError if the hub does not answer."""
    return bool(_info(name))


def revision(name: str) -> str:
    """The commit that the hub has now."""
    return _info(name)


@lru_cache(64)
def _info(name: str) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        return HfApi().dataset_info(parts(name)[0]).sha or ""
    except RepositoryNotFoundError:
        return ""
    except Exception as error:  # as above
        raise UserError(f"{name}: the hub does not answer ({_told(error)}); {MEND}") from error


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
