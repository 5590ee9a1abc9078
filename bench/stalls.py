"""What saving costs a run: how long it stands still for a checkpoint, and how much slower it is while one is written.

    python -m bench.stalls [--seconds 150] [--every 20]

A model of 512 by 8 layers trains through the product's own stage, and saves so often by the clock; the share is told
for one checkpoint a minute. The run stands still while its weights and moments are copied; they are written, hashed,
and published as `model/`, while it goes on.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

from bench.race import run
from bench.real_text import DATA
from bench.train import SHAPE
from bench.train_texts import prepared, raw_texts
from pipeline.train import lines
from pipeline.train.config import PretrainConfig
from pipeline.train.log import METRICS

MINUTE = 60.0


def told(found: list[dict[str, Any]]) -> str:
    """Stalls, and the steps that come right behind them beside the others."""
    stalls = [line["stall"] for line in found if "stall" in line]
    saved = {line["step"] for line in found if "stall" in line}
    steps = [line for line in found if "loss" in line][2:]
    behind = [line["seconds"] for line in steps if line["step"] - 1 in saved]
    others = [line["seconds"] for line in steps if line["step"] - 1 not in saved]
    extra = max(0.0, statistics.mean(behind) - statistics.median(others))
    middle = statistics.median(stalls[:-1] or stalls)  # the last one waits for its writing
    return (
        f"{len(stalls)} checkpoints: stands still for {middle:.2f} s (largest {max(stalls[:-1] or stalls):.2f}), "
        f"{middle / MINUTE:.2%} of a minute; the step behind it takes {statistics.mean(behind):.2f} s for "
        f"{statistics.median(others):.2f} s; both together {(middle + extra) / MINUTE:.2%} of a minute"
    )


def main() -> None:
    """Train for so long, read the log."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=150.0)
    parser.add_argument("--every", type=float, default=20.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepared(folder, raw_texts(DATA), 6_000)
        config = PretrainConfig(max_steps=6, batch_size=8, seq_len=512, save_every=10**6)
        trial = run(folder, config, "trial", SHAPE)
        pace = statistics.median(line["seconds"] for line in trial[2:] if "loss" in line)
        steps = int(asked.seconds / pace)
        config = PretrainConfig(
            max_steps=steps, batch_size=8, seq_len=512, save_every=10**6, save_minutes=asked.every / MINUTE
        )
        run(folder, config, "saving", SHAPE)
        print(told(list(lines.read(folder / "saving" / METRICS))))


if __name__ == "__main__":
    main()
