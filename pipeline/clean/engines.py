"""Where tasks run: in this process, in some of this machine, or on a Ray cluster. Results do not depend on it.

with engine(config, size, prepare) as run:
    for result in run(work, tasks): …        # in the order of the tasks
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pipeline.clean.config import CleanConfig
from utils.workers import Workers, worker_count

Map = Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[Any]]
"""Runs a function over tasks, somewhere, and gives the results in the order of the tasks."""

WORTH_A_POOL = 32_000_000
"""Bytes of raw text below which starting processes costs more than it saves."""


@contextmanager
def engine(config: CleanConfig, size: int, prepare: Callable[[], object]) -> Iterator[Map]:
    """The engine that the recipe asks for, for so many bytes of raw text, prepared for it."""
    if config.engine == "ray":
        from pipeline.clean.cluster import cluster

        with cluster(config.address, config.workers) as run:
            yield run
        return
    count = worker_count(config.workers) if size > WORTH_A_POOL else 1
    with Workers(count, "give fewer workers: clean.workers=1", prepare) as workers:
        yield workers.run
