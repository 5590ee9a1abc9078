"""What lies in `checkpoints/`: which of it is used, what is left alone, and what makes room on a full disk."""

from __future__ import annotations

import errno
import json
import shutil
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pipeline.train import checkpoints
from pipeline.train.checkpoints import State
from pipeline.train.engine import Weights
from pipeline.train.files import Files
from utils.console import UserError
from utils.stage import vouch_again, write_json


def test_where_no_checkpoint_is_whole_none_is_thrown_away(tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / "step-6").mkdir(parents=True)
    with pytest.raises(UserError, match="no checkpoint is whole"):
        checkpoints.restore(tmp_path, 30, {})
    assert (tmp_path / "checkpoints" / "step-6").is_dir()


def a_checkpoint(output: Path, step: int) -> Path:
    state = State(step=step, total=30, decay_start=30, made_from={"recipe": {}})
    return checkpoints.save(output, state, Weights({"w": torch.ones(2)}, {}, step))


@pytest.mark.parametrize(
    "files",
    [[], None, {"state.json": {}}, {"state.json": {"size": 1, "hsah": ""}, "masters.safetensors": {"size": 1}}],
)
def test_a_checkpoint_whose_manifest_says_nothing_is_skipped(tmp_path: Path, files: Any) -> None:
    a_checkpoint(tmp_path, 6)
    spoilt = a_checkpoint(tmp_path, 12)
    write_json(spoilt / "manifest.json", json.loads((spoilt / "manifest.json").read_text()) | {"files": files})
    restored = checkpoints.restore(tmp_path, 30, {"recipe": {}})
    assert restored
    assert restored[0].step == 6


def test_what_else_lies_among_the_checkpoints_does_no_harm(tmp_path: Path) -> None:
    """A copy under another step's name, links, files, a name that only looks like a number."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    place = a_checkpoint(tmp_path / "run", 6)
    folder = place.parent
    shutil.copytree(place, folder / "step-99")
    (folder / "step-²").mkdir()
    (folder / "step-20").symlink_to(elsewhere)
    (folder / ".step-18.part").symlink_to(elsewhere)
    (folder / ".step-7.part").write_text("")
    (folder / "step-12").write_text("")
    restored = checkpoints.restore(tmp_path / "run", 30, {"recipe": {}})
    assert restored
    assert restored[0].step == 6
    checkpoints.forget_beyond(tmp_path / "run", 6)
    a_checkpoint(tmp_path / "run", 12)
    assert {path.name for path in folder.iterdir()} == {"step-6", "step-12", "step-²"}
    assert elsewhere.is_dir()


def test_a_checkpoint_that_was_only_not_named_yet_is_used(tmp_path: Path) -> None:
    """Killed between two renames: the old one of that step is gone, the new one whole."""
    place = a_checkpoint(tmp_path, 6)
    place.rename(place.with_name(".step-6.part"))
    cut = a_checkpoint(tmp_path, 12)
    (cut / "masters.safetensors").write_bytes(b"")
    cut.rename(cut.with_name(".step-12.part"))
    checkpoints.adopt(tmp_path)
    restored = checkpoints.restore(tmp_path, 30, {"recipe": {}})
    assert restored
    assert restored[0].step == 6


@pytest.mark.parametrize(("room", "left"), [(3, {3, 4, 5}), (1, {5}), (0, {5})])
def test_the_oldest_checkpoints_make_room_down_to_the_newest(tmp_path: Path, room: int, left: set[int]) -> None:
    for step in range(1, 6):
        a_checkpoint(tmp_path, step)
    tries = []

    def write() -> None:
        tries.append(len(checkpoints.saved(tmp_path)))
        if tries[-1] > room:
            raise OSError(errno.ENOSPC, "No space left on device")

    files = SimpleNamespace(task=SimpleNamespace(output=tmp_path, config=SimpleNamespace(keep=9, keep_every=0)))
    with suppress(OSError) if room else pytest.raises(OSError, match="No space"):
        Files._making_room(files, State(step=6), write)  # type: ignore[arg-type]
    assert {step for step, _ in checkpoints.saved(tmp_path)} == left
    assert tries == sorted(set(tries), reverse=True), "nothing is written again without more room"


def test_a_checkpoint_of_a_newer_version_is_named(tmp_path: Path) -> None:
    place = a_checkpoint(tmp_path, 6)
    write_json(place / "state.json", {"step": 6, "mood": "good"})
    vouch_again(place, ["state.json"])
    with pytest.raises(UserError, match=r"step-6: of a newer version of Yaya \(mood\)"):
        checkpoints.restore(tmp_path, 30, {})
