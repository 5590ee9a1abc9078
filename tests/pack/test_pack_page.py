"""report.html of a pack: counts, what was left out, dialogues with what is trained marked; no text acts."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.pack import stage
from pipeline.pack.config import PackConfig
from tests.pack.test_pack import CHATS, TEXTS, chat, finished
from tests.utils.test_page import Balance
from utils.stage import identity

EVIL = "<script>alert(1)</script>&amp;\"'\x1b[2J<|im_end|>"


@pytest.mark.parametrize("language", ["en_US.UTF-8", "zh_CN.UTF-8"])
def test_the_page(language: str, tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("LANGUAGE", "LC_MESSAGES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LC_ALL", language)
    talk = [chat(0, ("user", EVIL), ("assistant", f"是{EVIL}")), chat(1, ("user", "在吗？"), ("assistant", " "))]
    held = {"train/wiki-00000": TEXTS, "train/talk-00000": [*talk, *CHATS], "valid/talk-00000": CHATS[:1]}
    clean = finished(tmp_path / "clean", held)
    stage.run(PackConfig(), clean, tokenizer, tmp_path / "pack")
    page = (tmp_path / "pack/report.html").read_text(encoding="utf-8")
    Balance(page)
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp;amp;" in page
    assert "\\x1b[2J&lt;\\|im_end|&gt;" in page, "typed, and seen to be"
    assert page.count("<article") == 3
    assert '<ins>1。</ins><ins><span class="cut">&lt;|im_end|&gt;</span></ins>' in page
    assert '<span class="cut">&lt;|im_start|&gt;</span><b>user\n</b>0加一等于几？' in page
    assert ("an assistant turn with neither words nor calls" in page) == (language[:2] == "en")
    assert "empty_reply" in page


def test_the_page_is_no_part_of_what_training_depends_on(tiny_tokenizer: Path, tmp_path: Path):
    clean = finished(tmp_path / "clean", {"train/wiki-00000": TEXTS})
    stage.run(PackConfig(), clean, tiny_tokenizer, tmp_path / "pack")
    before = identity(tmp_path / "pack")
    (tmp_path / "pack/report.html").write_text("")
    assert identity(tmp_path / "pack") == before
