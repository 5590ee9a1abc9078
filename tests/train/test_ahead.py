"""Reading one batch ahead: the same rows, never further than one, and nothing left behind when the run ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.train import ahead as module
from pipeline.train.ahead import Ahead
from pipeline.train.rows import Rows
from tests.train.packs import text_feed
from utils.console import UserError
from utils.stage import Json


class Counting:
    """A feed of rows that say which batch they are, with a cursor, and something that happens at each reading."""

    sequences = 1000

    def __init__(self, happens: Callable[[int], object] = lambda batch: None):
        self.begun: list[int] = []
        self.happens = happens

    def rows(self, consumed: int, lanes: range) -> Rows:
        self.begun.append(consumed)
        self.happens(consumed)
        numbers = np.full((len(lanes), 3), consumed, np.int32)
        return Rows(numbers, numbers, numbers)

    def ids(self, consumed: int, lanes: range) -> list[list[str]]:
        return [[str(consumed)] for _ in lanes]

    def cursors(self) -> Json:
        return {"behind": self.begun[-1]}

    def seek(self, cursors: Json) -> None: ...


def reading() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "feed"]


def settle(feed: Counting, batches: int) -> None:
    """Until so many batches were begun, and then long enough for another to be, if anyone read one."""
    deadline = time.monotonic() + 10
    while len(feed.begun) < batches and time.monotonic() < deadline:
        time.sleep(0.002)
    time.sleep(0.05)


def test_the_rows_are_the_feeds(tmp_path: Path) -> None:
    feed = text_feed(tmp_path, {"wiki": [30] * 40, "web": [5] * 60}, 8)
    with Ahead(feed, range(2, 6), range(12, 12 + 9 * 6, 6)) as ahead:
        for consumed in range(12, 12 + 9 * 6, 6):
            read, expected = ahead.next(), feed.rows(consumed, range(2, 6))
            assert read.cursors == {}
            for name in vars(expected):
                assert np.array_equal(getattr(read.rows, name), getattr(expected, name))
    assert not reading()


def test_one_batch_ahead_and_none_beyond_the_last() -> None:
    feed = Counting()
    with Ahead(feed, range(4), range(0, 12, 4)) as ahead:
        for taken, begun in ((0, 2), (4, 3), (8, 3)):
            read = ahead.next()
            assert read.rows.targets[0, 0] == taken
            assert read.cursors == {"behind": taken}
            settle(feed, begun)
            assert feed.begun == [0, 4, 8][:begun]
        with pytest.raises(AssertionError, match="no batch is left"):
            ahead.next()
    with Ahead(feed, range(4), range(0)):
        settle(feed, 3)
    assert feed.begun == [0, 4, 8]
    assert not reading()


@pytest.mark.parametrize("error", [UserError("broke off"), KeyboardInterrupt(), ValueError("odd")])
def test_errors_reach_the_loop_after_the_batches_before(error: BaseException) -> None:
    def fail(batch: int) -> None:
        if batch == 2:
            raise error

    with Ahead(Counting(fail), range(1), range(5)) as ahead:
        assert [ahead.next().rows.targets[0, 0] for _ in range(2)] == [0, 1]
        with pytest.raises(type(error)) as raised:
            ahead.next()
        assert raised.value is error
        with pytest.raises(AssertionError, match="no batch is left"):  # where a wait would have no end
            ahead.next()
    assert not reading()


def test_a_run_that_breaks_ends_the_thread() -> None:
    feed = Counting()

    def run() -> None:
        with Ahead(feed, range(1), range(100)) as ahead:
            ahead.next()
            raise ValueError("loss is no number")

    with pytest.raises(ValueError, match="loss"):
        run()
    assert not reading()
    assert len(feed.begun) <= 2


def test_a_read_that_does_not_end_does_not_keep_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAVING", 0.05)
    network = threading.Event()
    feed = Counting(lambda batch: batch and network.wait())
    began = time.monotonic()
    with Ahead(feed, range(1), range(100)) as ahead:
        ahead.next()
        settle(feed, 2)
    assert time.monotonic() - began < 5
    assert [thread.daemon for thread in reading()] == [True]
    network.set()
    for thread in reading():
        thread.join(10)
    assert not reading()


def test_the_feed_works_while_the_device_does() -> None:
    """The second batch is read, to its end, between the first one's being taken and its own being asked for."""
    done = [threading.Event() for _ in range(8)]
    with Ahead(Counting(lambda batch: done[batch].set()), range(1), range(8)) as ahead:
        for following in done[1:]:
            ahead.next()
            assert following.wait(10), "nothing was read while the device worked"


def test_who_waits_may_look_up() -> None:
    """A batch that is late is none; it comes when it is there, once, with the cursors behind it."""
    network = threading.Event()
    with Ahead(Counting(lambda batch: network.wait()), range(1), range(2)) as ahead:
        assert ahead.next(0.01) is None
        assert ahead.next(0.01) is None
        network.set()
        assert [ahead.next(10).cursors for _ in range(2)] == [{"behind": 0}, {"behind": 1}]
