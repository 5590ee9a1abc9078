"""Inputs as typed: a path, a folder or a glob becomes files, or one line says why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.clean.config import Input
from pipeline.clean.inputs import expand
from tests.clean.raw_files import write
from utils.console import UserError


def test_expand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("raw/b.txt", "raw/a.txt", "raw/deep/a.txt", "raw/.hidden/c.txt", "raw/readme.md"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        write(Path(name), "文")
    folder = expand([Input("raw")])
    assert [(raw.name, raw.source, raw.label) for raw in folder] == [
        ("raw/a.txt", "raw", "raw/a.txt"),
        ("raw/b.txt", "raw", "b.txt"),
        ("raw/deep/a.txt", "raw", "raw/deep/a.txt"),
    ]
    by_glob = expand([Input("raw/*.txt"), Input("raw/b.txt")])
    assert [(raw.name, raw.source, raw.reader) for raw in by_glob] == [
        ("raw/a.txt", "a", "plain_text"),
        ("raw/b.txt", "b", "plain_text"),
    ]
    assert expand([Input("raw/a.txt", source="我的 语料/1")])[0].source == "我的_语料_1"
    assert expand([Input(str(tmp_path / "raw" / "a.txt"))])[0].name == (tmp_path / "raw" / "a.txt").as_posix()


def test_expand_names_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path / "a.txt", "文")
    for inputs, said in [
        ([], "clean.inputs is empty; name a corpus"),
        ([Input("no/such.csv")], "no/such.csv: nothing there"),
        ([Input("no/*.csv")], r"no/\*.csv: nothing there"),
        ([Input(str(tmp_path / "empty"))], "no file in this folder can be read"),
        ([Input("hf://owner/name")], "pretrain.stream=hf://owner/name"),
        ([Input(str(tmp_path / "a.txt"), reader="txt")], "unknown reader txt; "),
    ]:
        with pytest.raises(UserError, match=said):
            expand(inputs)
