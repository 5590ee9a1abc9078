"""GPUs as their makers describe them: a name comes in, its peak and its memory go out. No torch here.

Peaks are of dense matrix products with sums in fp32, without sparsity and at the boost clock that the data sheet
assumes: what MFU is a share of. Memory is what a program sees of it, a little less than the name says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

GIB = 1 << 30


@dataclass(frozen=True)
class Card:
    """One kind of GPU."""

    name: str
    half: float
    """FLOP/s in bf16, or in fp16 where there is no bf16."""
    single: float
    """FLOP/s in fp32, outside the tensor cores."""
    gib: float
    """Memory."""
    pattern: str
    """How its driver names it."""
    bf16: bool = True

    @property
    def memory(self) -> int:
        """In bytes."""
        return int(self.gib * GIB)

    def peak(self, precision: str) -> float:
        """FLOP/s in a precision of the recipe."""
        return self.single if precision == "fp32" else self.half


CARDS = (
    Card("b200", 2250e12, 75e12, 178, r"\bB200\b"),
    Card("h200", 989e12, 67e12, 139, r"\bH200\b"),
    Card("h100-pcie", 756e12, 51e12, 79, r"\bH100 PCIe\b"),
    Card("h100", 989e12, 67e12, 79, r"\bH[18]00\b"),
    Card("h20", 148e12, 44e12, 95, r"\bH20\b"),
    Card("a100-40g", 312e12, 19.5e12, 39, r"\bA100.*40GB\b"),
    Card("a100", 312e12, 19.5e12, 79, r"\bA[18]00\b"),
    Card("l40s", 362e12, 91.6e12, 44, r"\bL40S\b"),
    Card("a10", 125e12, 31.2e12, 22, r"\bA10\b"),
    Card("4090", 165e12, 82.6e12, 23.5, r"\bRTX 4090\b(?! D| Laptop)"),
    Card("3090", 71e12, 35.6e12, 23.5, r"\bRTX 3090\b(?! Ti)"),
    Card("v100", 125e12, 15.7e12, 31.7, r"\bV100.*32GB\b", bf16=False),
    Card("v100-16g", 125e12, 15.7e12, 15.7, r"\bV100\b", bf16=False),
    Card("t4", 65e12, 8.1e12, 14.6, r"\bT4\b", bf16=False),
)
"""The first whose pattern is found in a driver's name for a GPU is it."""


def card(name: str) -> Card | None:
    """The card that people call so."""
    return next((known for known in CARDS if known.name == name.lower()), None)


def recognised(driver_name: str) -> Card | None:
    """The card that a driver calls so (`torch.cuda.get_device_name()`); None if it is not in the table."""
    return next((known for known in CARDS if re.search(known.pattern, driver_name)), None)
