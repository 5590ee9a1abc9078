"""Texts that wait: what is put comes back, in any order, and the files go."""

from __future__ import annotations

import gc
import os
import random
import tempfile

import pytest

from pipeline.train import shelf
from pipeline.train.shelf import Shelf
from utils.console import UserError


def test_what_is_put_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "IN_MEMORY", 100)
    monkeypatch.setattr(shelf, "SEGMENT", 1000)
    draw = random.Random(0)
    ours, waiting = Shelf(), []
    gc.collect()  # what other tests left open
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


def test_a_full_temporary_folder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """When it is met, not when a text is taken."""
    monkeypatch.setattr(shelf, "IN_MEMORY", 0)
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: open("/dev/full", "w+b"))  # noqa: SIM115
    with pytest.raises(UserError, match=f"disk full: {tempfile.gettempdir()}, .*TMPDIR"):
        Shelf().put("春眠不觉晓")


def test_no_temporary_folder_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """`tempfile` takes none in which it cannot write."""
    monkeypatch.setattr(shelf, "IN_MEMORY", 0)
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/dev/full"])
    with pytest.raises(UserError, match=r"no temporary folder can be written.*TMPDIR"):
        Shelf().put("春眠不觉晓")


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))
