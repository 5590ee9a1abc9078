"""A stage in a process of its own: started, watched, interrupted in good order, and never left behind.

The child stands in a session of its own, so that each Ctrl-C reaches it once, through us. If this process is
killed by force, the kernel ends the child (Linux) or the child notices (elsewhere, `pipeline/train/guards.py`).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pipeline.train.guards import follow_parent
from utils.console import EXIT_FILE, Stopped

LAUNCHER_VARIABLES = ("ACCELERATE_", "TORCHELASTIC_", "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE",
                      "MASTER_ADDR", "MASTER_PORT", "GROUP_", "ROLE_")  # fmt: skip
"""What a launcher tells its workers, and a worker's child must not hear."""

ROOT = Path(__file__).resolve().parent.parent


def run_child(words: Sequence[str]) -> None:
    """Run `python words…` to its end; if it fails, end as it did, for it has said why."""
    with tempfile.TemporaryDirectory(prefix="yaya-") as folder:
        note = Path(folder) / "exit"
        env = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHER_VARIABLES)}
        env |= {EXIT_FILE: str(note), "YAYA_PARENT": str(os.getpid()), "PYTHONUNBUFFERED": "1"}
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        first = follow_parent if sys.platform.startswith("linux") else None
        child = subprocess.Popen([sys.executable, *words], env=env, start_new_session=True, preexec_fn=first)
        code, asked = _wait(child)
        noted = note.read_text(encoding="ascii") if note.is_file() else ""
    if code:
        code = int(noted) if noted else (code if code > 0 else 128 - code)
        raise SystemExit(asked if asked and code == 128 + signal.SIGTERM else code)


def _wait(child: subprocess.Popen[bytes]) -> tuple[int, int]:
    """The child's exit code, and the one that a signal asked of us (0 if none did).

    Each signal is handed on: the first asks it to save and leave, and it is the child that knows what a second one
    means. A batch system's is handed on as SIGTERM, for a launcher knows no other, and would end without a word.
    """
    asked = 0
    while True:
        try:
            return child.wait(), asked
        except KeyboardInterrupt:
            child.send_signal(signal.SIGINT)
        except Stopped as stopped:
            asked = stopped.code
            child.send_signal(signal.SIGTERM)
