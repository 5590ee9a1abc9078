"""Which model to talk to if none is named: the runs of this folder come in, one model folder goes out."""

from __future__ import annotations

from pathlib import Path

from utils.console import UserError
from utils.published import model_of, weights


def newest_model(runs: Path = Path("runs")) -> Path:
    """The model of the workspace trained last."""
    found = [model for workspace in sorted(runs.glob("*")) if (model := model_of(workspace)) is not None]
    if not found:
        raise UserError("no trained model yet; run `make demo`, or give --model DIR")
    return max(found, key=lambda folder: max(path.stat().st_mtime_ns for path in weights(folder)))
