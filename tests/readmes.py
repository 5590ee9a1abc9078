"""The code blocks of the READMEs: what a test runs, and what it leaves out and why."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
READMES = ["README.md", "README.zh-CN.md"]
FENCE = re.compile(r"^```(\w+)(?: no-run: ([^\n]+))?\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(readme: str) -> list[tuple[str, str, str]]:
    """(language, reason not to run, content) of each code block."""
    return [(m[1], m[2] or "", m[3]) for m in FENCE.finditer((ROOT / readme).read_text(encoding="utf-8"))]


def left_out(readme: str) -> list[str]:
    """A line for each block that no test runs."""
    return [f"{readme}, not run ({why}): {text.strip().splitlines()[0]}" for _, why, text in blocks(readme) if why]
