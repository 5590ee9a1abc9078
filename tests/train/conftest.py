"""What tests of streams share."""

from __future__ import annotations

import pytest

from pipeline.train import patience, stream_source, web_files


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short pauses, small reads and small blocks."""
    monkeypatch.setattr(patience, "PAUSES", (0.01,) * 6)
    monkeypatch.setattr(web_files, "TIMEOUT", 0.3)
    monkeypatch.setattr(web_files, "BLOCK", 1000)
    monkeypatch.setattr(stream_source, "BLOCK", 16)
