"""What can be chosen about a chat. No torch here: `--help` and a typing mistake answer at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from utils.console import UserError

MOST_THREADS = 4096


@dataclass(frozen=True)
class ChatConfig:
    """Talk to a trained model in the terminal."""

    model: str = ""
    """Its folder; the newest under runs/ unless given."""

    once: str | None = None
    """One message; its answer alone is printed, for scripts. Always taken as text, whatever it looks like."""

    system: str = ""
    """What the model is told before the conversation."""

    temperature: float = 0.0
    """0 says the likeliest, which a small model that learned by heart does best; 0.7 is livelier, above 1 wild."""

    top_p: float = 1.0
    """Choose among the likeliest tokens that together have this probability; 1 means all."""

    top_k: int = 0
    """Choose among this many likeliest tokens; 0 means all."""

    repetition_penalty: float = 1.0
    """Above 1, what was said already becomes less likely."""

    max_new_tokens: int = 256
    """An answer ends here at the latest."""

    seed: int | None = None
    """Repeats the same dice; new ones each time unless given."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """auto takes CUDA if it is there, else the CPU; mps only when asked for."""

    threads: int = 0
    """On a CPU; 0 chooses by the model's size."""

    def __post_init__(self) -> None:
        for name, kind, holds, wanted in (
            ("temperature", int | float, lambda value: 0 <= value < math.inf, "a number from 0 (0 = the likeliest)"),
            ("top_p", int | float, lambda value: 0 < value <= 1, "a number above 0 and up to 1 (1 = all)"),
            ("top_k", int, lambda value: value >= 0, "a whole number from 0 (0 = all)"),
            ("repetition_penalty", int | float, lambda value: 0 < value < math.inf, "a number above 0 (1 = off)"),
            ("max_new_tokens", int, lambda value: value >= 1, "a whole number from 1"),
            ("seed", int | None, lambda value: value is None or 0 <= value < 1 << 63, "from 0, below 2**63"),
            ("threads", int, lambda value: 0 <= value <= MOST_THREADS, f"from 0 (by size) to {MOST_THREADS}"),
        ):
            value = getattr(self, name)
            if not isinstance(value, kind) or not holds(value):
                raise UserError(f"--{name}={value} must be {wanted}")
