"""What a run was made from: a new option with its default changes nothing, another value does."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.train import lineage
from pipeline.train.config import FinetuneConfig, ModelConfig


def made_from(**fields: float) -> dict[str, object]:
    return {"recipe": lineage.settled("finetune", FinetuneConfig(epochs=1, **fields), ModelConfig()), "inputs": {}}  # type: ignore[arg-type]


def of_an_earlier_version() -> dict[str, object]:
    """As a run recorded itself before there was `blur`."""
    then = made_from()
    del then["recipe"]["finetune"]["blur"]  # type: ignore[index]
    return then


def test_an_option_that_is_new_changes_no_old_run(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / lineage.RUN).write_text(json.dumps(of_an_earlier_version()), encoding="utf-8")
    assert lineage.changes(tmp_path, made_from()) == []
    assert lineage.changes(tmp_path, made_from(blur=0.25)) == ["finetune.blur: 0.0 -> 0.25"]
    assert lineage.same_run(of_an_earlier_version(), made_from())
    assert not lineage.same_run(of_an_earlier_version(), made_from(blur=0.25))
    assert not lineage.same_run(of_an_earlier_version(), made_from(lr=0.1))
