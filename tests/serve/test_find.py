"""Which model speaks if none is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.serve.find import newest_model
from utils.console import UserError


def made(folder: Path, when: int) -> Path:
    folder.mkdir(parents=True)
    for name in ("config.json", "spm.model", "model.safetensors"):
        (folder / name).write_bytes(b"{}")
        os.utime(folder / name, (when, when))
    return folder


def test_the_workspace_trained_last_speaks(tmp_path: Path) -> None:
    made(tmp_path / "old" / "finetune" / "model", 1000)
    newest = made(tmp_path / "new" / "finetune" / "model", 2000)
    made(tmp_path / "new" / "pretrain" / "model", 1500)
    half = made(tmp_path / "half" / "finetune" / "model", 9000)
    (half / "model.safetensors").unlink()
    (tmp_path / "a-file").write_text("x")
    assert newest_model(tmp_path) == newest
    base = made(tmp_path / "base" / "pretrain" / "model", 3000)
    assert newest_model(tmp_path) == base


def test_without_a_model_the_way_to_one_is_told(tmp_path: Path) -> None:
    for runs in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserError, match="make demo"):
            newest_model(runs)
