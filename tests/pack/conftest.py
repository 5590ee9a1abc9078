"""What the tests of packing share: tokenizer folders, of our own and taken from another's."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.tokenizer.imported import publish_taken
from utils.codec import Codec
from utils.stage import write_manifest


@pytest.fixture(scope="session", params=["ours", "taken"])
def tokenizer(request: pytest.FixtureRequest, tiny_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished tokenizer folder; the marks of the one that was taken stand behind its pieces."""
    if request.param == "ours":
        return tiny_tokenizer
    from tests.tokenizer.test_imported import byte_level

    folder = tmp_path_factory.mktemp("taken")
    byte_level().save(str(folder / "tokenizer.json"))
    (folder / "tokenizer").mkdir()
    publish_taken(folder / "tokenizer.json", folder / "tokenizer")
    write_manifest(folder / "tokenizer", "tokenizer", {}, {}, {}, ("tokenizers",))
    assert min(Codec(folder / "tokenizer").marks.values()) > 10
    return folder / "tokenizer"
