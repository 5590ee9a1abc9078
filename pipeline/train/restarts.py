"""A launch that its launcher starts again after a crash (`--max_restarts`): what the new ranks must know.

The launcher starts all ranks anew, in its own environment; they go on from the newest checkpoint like any other
run. Three things would stand in their way: notes of the dead, the place where the dead have met, and a launcher
that takes a mistake of the user, or a wish to stop, for a crash.
"""

from __future__ import annotations

import atexit
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from utils.console import EXIT_FILE, Stopped, UserError


def used() -> int:
    """How often this launch has been started again."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) if "TORCHELASTIC_RUN_ID" in os.environ else 0


def left() -> int:
    """How often the launcher may start it again."""
    return max(0, int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) - used())


def forget_the_dead() -> None:
    """What earlier ranks noted about their end is past."""
    note = os.environ.get(EXIT_FILE)
    if note and used():
        Path(note).unlink(missing_ok=True)


def meet_anew(backend: str) -> None:
    """Join the ranks in a corner of the launcher's store that no earlier ranks have used.

    torch 2.13 leaves the addresses of the dead in the store, and the new ranks would call those.
    """
    if not used() or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return
    import torch.distributed as dist

    store = dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    corner = dist.PrefixStore(f"yaya/restart/{used()}", store)
    dist.init_process_group(
        backend, store=corner, rank=int(os.environ["RANK"]), world_size=int(os.environ["WORLD_SIZE"])
    )


@contextmanager
def only_after_crashes() -> Iterator[None]:
    """Within: a mistake of the user, or a wish to stop, ends the launcher too, when all is said."""
    try:
        yield
    except (UserError, Stopped):
        if left():
            atexit.register(os.kill, os.getppid(), signal.SIGTERM)
        raise
