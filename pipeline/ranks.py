"""The ranks of a launch before any process group exists: rank 0 prepares the workspace, the others wait for it.

A rank that waits lays down a ticket of its own, and goes on when rank 0 takes it away. So nothing that an earlier
launch left behind, a finished stage or a ticket of a killed rank, can be mistaken for a word of this one; and it
works between machines, for which the workspace is a shared folder anyway.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.watch import Watch
from utils.console import UserError, rank

TICKET = ".waiting-"

SHARED_WITHIN = 10.0
"""Seconds after rank 0 is ready in which a ticket goes even where hosts number the files of one disk differently."""


@contextmanager
def prepared(workspace: Path, prepare: Callable[[], None], watch: Watch) -> Iterator[None]:
    """Within: rank 0 has done `prepare`, and every other rank has waited for that."""
    if rank() > 0:
        _wait(workspace, watch)
        yield
        return
    prepare()
    watch.say_ready(workspace)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    done = threading.Event()
    threading.Thread(target=_take_tickets, args=(workspace, done), daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _wait(workspace: Path, watch: Watch) -> None:
    """Until rank 0 of this launch is ready, or gone; a folder in which nobody takes tickets is not the one it sees."""
    workspace.mkdir(parents=True, exist_ok=True)
    ticket = workspace / f"{TICKET}{uuid.uuid4().hex}"
    ticket.touch()
    launcher = os.getppid()
    ready_since = None
    try:
        while ticket.exists() and not watch.over.is_set():
            if os.getppid() != launcher:
                raise SystemExit(1)
            if watch.ready.is_set() and workspace.stat().st_ino != watch.workspace:
                ready_since = ready_since or time.monotonic()
                if time.monotonic() - ready_since > SHARED_WITHIN:
                    raise UserError(
                        f"{workspace.resolve()} on {socket.gethostname()} is not the folder that rank 0 writes; "
                        "give every host the same disk, or name a folder on one in workspace="
                    )
            time.sleep(0.2)
    finally:
        ticket.unlink(missing_ok=True)


def _take_tickets(workspace: Path, done: threading.Event) -> None:
    """Whoever waits goes on, however late it comes, as a rank on another machine may."""
    while not done.is_set():
        for ticket in workspace.glob(f"{TICKET}*"):
            ticket.unlink(missing_ok=True)
        done.wait(0.5)
