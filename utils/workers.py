"""Tasks over processes: a function and its tasks come in, results come out as they finish.

A task is a plain picklable call. Workers are spawned, leave Ctrl-C to their parent, and die with it, however it dies.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import TypeVar

from utils.console import UserError

Task = TypeVar("Task")
Result = TypeVar("Result")


def run_tasks(work: Callable[[Task], Result], tasks: Sequence[Task], workers: int) -> Iterator[Result]:
    """Results in the order in which they finish; in this process if one worker is enough."""
    if workers <= 1 or len(tasks) <= 1:
        yield from map(work, tasks)
    else:
        yield from _spread(work, tasks, min(workers, len(tasks)), "give fewer workers=")


def run_apart(work: Callable[[Task], Result], task: Task, mend: str) -> Result:
    """One task in a process of its own: for long calls into C++, during which Python could not answer Ctrl-C.

    `mend` says what helps if there was not enough memory.
    """
    (result,) = _spread(work, [task], 1, mend)
    return result


def _spread(work: Callable[[Task], Result], tasks: Sequence[Task], workers: int, mend: str) -> Iterator[Result]:
    context = multiprocessing.get_context("spawn")
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin)
    try:
        for done in as_completed([pool.submit(work, task) for task in tasks]):
            yield done.result()
    except BrokenProcessPool:
        raise UserError(f"a worker process was killed, most likely for want of memory; {mend}") from None
    except BaseException:  # an error, Ctrl-C or a consumer that left: nobody waits for tasks half done
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def worker_count(wanted: int) -> int:
    """A config's `workers`: 0 takes one a core that this process may use."""
    if wanted > 0:
        return wanted
    return (
        len(os.sched_getaffinity(0)) if os.name == "posix" and hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_die_with, args=(parent.sentinel,), daemon=True).start()


def _die_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
