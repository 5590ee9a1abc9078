"""One batch ahead: a thread reads the next rows while the device works on these, so that nobody waits for data.

A feed comes in; its batches come out in order, each with the feed's cursors as they stood behind it: those of the batch
that is trained on, not of the one that is read meanwhile. What the feed raises is raised where the batch is taken.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from types import TracebackType

from pipeline.train.feed import Feed
from pipeline.train.rows import Rows
from utils.stage import Json

LEAVING = 2.0
"""Seconds that a run which ends waits for a read that is under way; a network's may take longer, and dies with us."""


@dataclass(frozen=True)
class Read:
    """A batch's rows, and where the feed's lanes stand behind it."""

    rows: Rows
    cursors: Json


class Ahead:
    """Rows `lanes` of the batches that begin at these sequences, and of no others; used as `with Ahead(…) as ahead`."""

    def __init__(self, feed: Feed, lanes: range, batches: range):
        self._feed, self._lanes, self._batches = feed, lanes, batches
        self._read: SimpleQueue[Read | BaseException] = SimpleQueue()
        self._may_read = threading.Semaphore(1)
        self._left, self._closed = len(batches), False
        self._thread = threading.Thread(target=self._work, name="feed", daemon=True)

    def __enter__(self) -> Ahead:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._closed = True
        self._may_read.release()
        self._thread.join(LEAVING)

    def next(self, seconds: float | None = None) -> Read | None:
        """The next batch, waited for if it is not there yet, but for no longer than so: None if it did not come.

        The one behind it is read from now on. After an error there is none."""
        assert self._left, "no batch is left"
        try:
            read = self._read.get(timeout=seconds)
        except Empty:
            return None
        if isinstance(read, BaseException):
            self._left = 0
            raise read
        self._left -= 1
        self._may_read.release()
        return read

    def _work(self) -> None:
        for consumed in self._batches:
            self._may_read.acquire()
            if self._closed:
                return
            try:
                self._read.put(Read(self._feed.rows(consumed, self._lanes), self._feed.cursors()))
            except BaseException as error:  # whatever it is, the loop must hear of it
                self._read.put(error)
                return
