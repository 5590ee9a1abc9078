"""A stage's folder: what it takes away, and what never."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from utils.console import UserError
from utils.stage import build


@dataclass(frozen=True)
class Config:
    version: int = 1


def making(folder: Path) -> dict[str, Any]:
    (folder / "made").write_text("x", encoding="utf-8")
    return {}


@pytest.mark.parametrize("name", ["out.old", "out.building"])
def test_files_of_others_are_not_thrown_away(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "thesis.txt").write_text("x", encoding="utf-8")
    with pytest.raises(UserError, match=rf"{name}: holds files that are not ours; move it away"):
        build("s", Config(), {}, tmp_path / "out", making)
    assert (tmp_path / name / "thesis.txt").exists()


def test_an_output_without_a_manifest_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("x", encoding="utf-8")
    assert build("s", Config(), {}, tmp_path / "out", making)
    assert (tmp_path / "out.old1" / "thesis.txt").exists()
    assert (tmp_path / "out" / "made").exists()


def test_an_input_inside_the_output_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    raw = tmp_path / "out" / "raw.txt"
    raw.write_text("x", encoding="utf-8")
    with pytest.raises(UserError, match=r"raw: lies in .*out, which is made anew"):
        build("s", Config(), {"raw": raw}, tmp_path / "out", making)
    assert raw.exists()


def test_an_output_may_be_a_link_to_a_larger_disk(tmp_path: Path) -> None:
    (tmp_path / "disk" / "far").mkdir(parents=True)
    (tmp_path / "out").symlink_to(tmp_path / "disk" / "far")
    for version in (1, 2):
        assert build("s", Config(version), {}, tmp_path / "out", making)
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "disk" / "far" / "made").exists()
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".")) == ["disk", "out"]


def test_an_input_that_changes_while_it_is_read_is_told(tmp_path: Path) -> None:
    raw = tmp_path / "raw.txt"
    raw.write_text("whole", encoding="utf-8")

    def work(folder: Path) -> dict[str, Any]:
        raw.write_text("cut", encoding="utf-8")
        return {}

    with pytest.raises(UserError, match="raw changed while it was read; run the same command again"):
        build("s", Config(), {"raw": raw}, tmp_path / "out", work)
    assert not (tmp_path / "out").exists()
    assert build("s", Config(), {"raw": raw}, tmp_path / "out", making)


def test_drafts_of_killed_processes_do_not_stay(tmp_path: Path) -> None:
    def work(folder: Path) -> dict[str, Any]:
        (folder / ".made.123.part").write_text("x", encoding="utf-8")
        return making(folder)

    build("s", Config(), {}, tmp_path / "out", work)
    assert [path.name for path in (tmp_path / "out").iterdir() if path.name.endswith(".part")] == []
