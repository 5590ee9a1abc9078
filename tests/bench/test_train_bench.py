"""The benchmark of training runs, on the bundled sample, and says what it measured."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.train_texts import LONGEST, SHORTEST, raw_texts, runs
from tests.commands import run


def test_runs_end_with_sentences_and_keep_their_lengths():
    found = runs(raw_texts(Path("nowhere")), 50)
    assert found == runs(raw_texts(Path("nowhere")), 50)
    assert len(found) == 50
    assert all(SHORTEST <= len(text) <= LONGEST for text in found)
    assert sum(len(text) == LONGEST or text[-1] in "。！？!?”’」』）)\n" for text in found) > 40


@pytest.mark.slow
def test_it_tells_rates_ratios_and_mfu(tmp_path: Path):
    words = [sys.executable, "-m", "bench.train", "--quick", "--overhead", "--repeats", "1", "--folder", str(tmp_path)]
    told = run(words)
    for text in ("ours / padded", "ours / unpadded", "MFU:", "engine over the bare loop", "chosen: "):
        assert text in told
