"""Texts that wait: what is put comes back, in any order, and the files go."""

from __future__ import annotations

import os
import random

import pytest

from pipeline.train import shelf
from pipeline.train.shelf import Shelf


def test_what_is_put_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "IN_MEMORY", 100)
    monkeypatch.setattr(shelf, "SEGMENT", 1000)
    draw = random.Random(0)
    ours, waiting = Shelf(), []
    before = open_files()
    for number in range(2000):
        text = f"{number}：" + "春眠不觉晓" * draw.randrange(8) + "\ud800"[: draw.randrange(2)]
        waiting.append((text, ours.put(text)))
        while waiting and draw.random() < 0.4:
            text, place = waiting.pop(draw.randrange(len(waiting)))
            assert ours.take(place) == text
    assert open_files() > before + 2
    for text, place in waiting:
        assert ours.take(place) == text
    del waiting, place
    assert open_files() == before


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))
