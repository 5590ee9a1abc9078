"""The same tasks on a Ray cluster: `clean.engine=ray`, with a store that all its machines see (`clean.store=…`).

    ray start --head                                 # on the first machine; the others: ray start --address=HEAD:6379
    python -m pipeline.clean RECIPE clean.engine=ray clean.store=s3://bucket/run

A task whose process or machine dies is run again, up to RETRIES times. Our packages travel with the job; what they
need (requirements.txt, requirements-cluster.txt) must be installed on every machine.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.clean.engines import Map
from utils.console import UserError, say, tell

RETRIES = 5
_AHEAD = 4
"""Tasks handed out for each core: enough to keep it busy, few enough to hold their results."""
_ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def cluster(address: str, workers: int) -> Iterator[Map]:
    """Run tasks on the cluster at `address`, or on one that is started here for as long as we need it."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise UserError(
            "clean.engine=ray: Ray is not installed; pip install -r requirements-cluster.txt, or clean.engine=local"
        ) from None
    started = not ray.is_initialized()
    if started:
        _connect(ray, address, workers)
    cores = max(int(ray.cluster_resources().get("CPU", 1)), 1)
    nodes = sum(node["Alive"] for node in ray.nodes())
    say(tell(f"clean: Ray, {nodes} machines, {cores} cores", f"清洗：Ray，{nodes} 台机器，{cores} 个核"))

    def run(work: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
        remote = ray.remote(num_cpus=1, max_retries=RETRIES)(work)
        running: deque[Any] = deque()
        todo = iter(tasks)
        for task in todo:
            running.append(remote.remote(task))
            if len(running) >= _AHEAD * cores:
                yield _result(ray, running.popleft())
        while running:
            yield _result(ray, running.popleft())

    try:
        yield run
    finally:
        if started:
            ray.shutdown()


def _connect(ray: Any, address: str, workers: int) -> None:
    packages = {"py_modules": [str(_ROOT / "pipeline"), str(_ROOT / "utils")], "excludes": ["__pycache__"]}
    quiet = {"logging_level": "ERROR", "log_to_driver": False}
    known = address != "auto" or "RAY_ADDRESS" in os.environ
    try:
        ray.init(address=address, runtime_env=packages, **quiet)
    except ConnectionError:
        if known:
            raise UserError(
                f"clean.address={address}: no Ray cluster answers there; start one with `ray start --head`"
            ) from None
        ray.init(address="local", num_cpus=workers or None, include_dashboard=False, runtime_env=packages, **quiet)


def _result(ray: Any, reference: Any) -> Any:
    """A task's result; its own error as it was raised there."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        raise cause if isinstance(cause, UserError | OSError) else error from None
    except ray.exceptions.RayError as error:
        raise UserError(
            f"clean: a task on the cluster failed {RETRIES + 1} times ({type(error).__name__}); "
            "see `ray status` for machines that ran out of memory"
        ) from None
