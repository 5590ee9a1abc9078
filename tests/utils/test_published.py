"""A model folder is checked before it is opened, and what is wrong with it is told in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from utils.console import UserError
from utils.published import check, is_base, is_whole, model_of


def refuse(folder: Path, *words: str) -> None:
    with pytest.raises(UserError) as told:
        check(folder)
    assert "\n" not in str(told.value)
    assert all(word in str(told.value) for word in words), str(told.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a check looks at, without real weights: it opens nothing."""
    made = tmp_path / "model"
    made.mkdir()
    (made / "config.json").write_text(json.dumps({"model_type": "yaya_gpt"}))
    for name in ("model.safetensors", "spm.model"):
        (made / name).write_bytes(b"x")
    return made


def test_a_whole_folder_passes(folder: Path) -> None:
    check(folder)
    assert is_whole(folder)
    assert not is_base(folder)
    (folder / "training.json").write_text('{"verb": "pretrain"}')
    assert is_base(folder)


def test_what_is_missing_is_named(folder: Path) -> None:
    refuse(folder.parent / "other", "no such folder", "--model")
    refuse(folder / "config.json", "is a file")
    refuse(folder.parent, "no config.json", f"did you mean {folder}?")
    for name in ("spm.model", "model.safetensors", "config.json"):
        (folder / name).unlink()
        assert not is_whole(folder)
        refuse(folder, {"spm.model": "tokenizer", "model.safetensors": "weights", "config.json": "config.json"}[name])


@pytest.mark.parametrize("text", ["{", "[]", "nonsense"])
def test_a_damaged_config_is_named(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    refuse(folder, "config.json", "damaged")


@pytest.mark.parametrize("kind", ["qwen2", "yaya_", "yaya_../x", None])
def test_another_architecture_is_named(folder: Path, kind: str | None) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    refuse(folder, f"'{kind}'", "Yaya")


def test_the_finetuned_model_speaks_for_its_workspace(folder: Path, tmp_path: Path) -> None:
    workspace = tmp_path / "run"
    assert model_of(workspace) is None
    shutil.copytree(folder, workspace / "finetune" / "model")
    shutil.copytree(folder, workspace / "pretrain" / "model")
    assert model_of(workspace) == workspace / "finetune" / "model"
    (workspace / "finetune" / "model" / "model.safetensors").unlink()
    assert model_of(workspace) == workspace / "pretrain" / "model"
