"""Checkpoints are written behind the run's back: a snapshot is taken, and the next step begins while it goes to disk.

One at a time: who comes while the last one is still being written waits for it. What went wrong in the background is
raised where the next one begins, or where the run waits for the last.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Saver:
    """Runs one job at a time, each of which says whether all could be written."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="save")
        self._last: Future[bool] | None = None
        self.seconds = 0.0
        """How long the last job took, while the run went on."""

    def begin(self, job: Callable[[], bool]) -> None:
        """Start this job, as soon as the one before is done."""
        self.wait()

        def timed() -> bool:
            began = time.perf_counter()
            try:
                return job()
            finally:
                self.seconds = time.perf_counter() - began

        self._last = self._thread.submit(timed)

    def wait(self) -> bool:
        """Until nothing is being written any more: was the last job's all written?"""
        return self._last.result() if self._last else True

    def close(self) -> None:
        """Wait, whatever comes of it."""
        self._thread.shutdown()
