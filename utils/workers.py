"""Tasks over processes: a function and its tasks come in, results come out as they finish.

A task is a plain picklable call. Workers are spawned, leave Ctrl-C to their parent, and die with it, however it dies.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from pathlib import Path
from typing import TypeVar

from utils.console import UserError

Task = TypeVar("Task")
Result = TypeVar("Result")


class Workers:
    """Processes that stay for several lots of tasks: `with Workers(2) as workers: workers.run(work, tasks)`.

    One worker is this process itself. `mend` says what helps if there was not enough memory; `prepare` is called in
    each process while this one goes on to its first task.
    """

    def __init__(self, count: int, mend: str = "give fewer workers=", prepare: Callable[[], object] | None = None):
        self.count, self.mend, self.prepare = count, mend, prepare
        self._pool: ProcessPoolExecutor | None = None
        self._before = set(multiprocessing.active_children())

    def __enter__(self) -> Workers:
        if self.count > 1:
            self.start()
        return self

    def start(self) -> None:
        """Let even a single worker be a process of its own."""
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(self.count, mp_context=context, initializer=_begin)
        if self.prepare is not None:
            for _ in range(self.count):
                self._pool.submit(self.prepare)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._pool is None:
            return
        if kind is not None:  # an error, Ctrl-C or a consumer that left: nobody waits for tasks half done
            for child in set(multiprocessing.active_children()) - self._before:
                child.terminate()
        self._pool.shutdown(cancel_futures=True)

    def run(self, work: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """Results in the order of the tasks."""
        if self._pool is None:
            yield from map(work, tasks)
        else:
            yield from self._results([self._pool.submit(work, task) for task in tasks])

    def run_unordered(self, work: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """Results as they finish."""
        if self._pool is None:
            yield from map(work, tasks)
        else:
            yield from self._results(as_completed([self._pool.submit(work, task) for task in tasks]))

    def _results(self, futures: Iterable[Future[Result]]) -> Iterator[Result]:
        try:
            for future in futures:
                yield future.result()
        except BrokenProcessPool:
            told = f"a worker process was killed, most likely for want of memory; {self.mend}"
            raise UserError(told) from None


def run_tasks(work: Callable[[Task], Result], tasks: Sequence[Task], workers: int) -> Iterator[Result]:
    """Results in the order in which they finish; in this process if one worker is enough."""
    with Workers(min(workers, len(tasks))) as pool:
        yield from pool.run_unordered(work, tasks)


def run_apart(work: Callable[[Task], Result], task: Task, mend: str) -> Result:
    """One task in a process of its own: for long calls into C++, during which Python could not answer Ctrl-C.

    `mend` says what helps if there was not enough memory.
    """
    with Workers(1, mend) as pool:
        pool.start()
        (result,) = pool.run(work, [task])
        return result


def worker_count(wanted: int) -> int:
    """A config's `workers`: 0 takes one a core that this process may use."""
    return wanted if wanted > 0 else cores()


def cores() -> int:
    """Those that this process may use, of which a container may be given a part of the time only."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return max(1, min(here, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no cgroup, or "max"
        return here


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_die_with, args=(parent.sentinel,), daemon=True).start()


def _die_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
