"""A task that kills its own process by force the first time it is run."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from pipeline.clean.read import Piece, read_piece


def read_piece_once_killed(piece: Piece) -> None:
    """Piece 2 dies once, without a word, after its work is half done."""
    mark = Path(os.environ.get("YAYA_TEST_VICTIM", "/nowhere")) / "victim"
    if piece.number == 2 and mark.parent.is_dir() and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    read_piece(piece)
