"""What `precision: auto` becomes: the faster one here, and one on all ranks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from pipeline.train.engine import multiplies_bf16, resolve_precision
from pipeline.train.hardware import DTYPES, measured_flops
from tests.commands import TINY, launcher, run


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("vendor_id : AuthenticAMD\nflags : avx512f avx512_bf16", True),
        ("vendor_id : GenuineIntel\nflags : avx512f avx512_bf16 amx_bf16", True),
        ("vendor_id : GenuineIntel\nflags : avx512f avx512_bf16", False),
        ("vendor_id : AuthenticAMD\nflags : avx2", False),
    ],
)
def test_bf16_is_taken_where_its_products_are_fast(cpuinfo: str, expected: bool) -> None:
    assert multiplies_bf16(cpuinfo) == expected


def test_the_rule_holds_here() -> None:
    """Measured, in turns, for other work comes and goes: what is chosen is hardly slower than the other."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    chosen = resolve_precision("auto")
    best = dict.fromkeys(("fp32", "bf16", chosen), 0.0)
    for name in [*best] * 4:
        best[name] = max(best[name], measured_flops(device, DTYPES[name]))
    assert best[chosen] > 0.65 * max(best.values())


@pytest.mark.slow
def test_two_kinds_of_hardware_in_one_launch_are_refused(workspace: Path) -> None:
    words = [*launcher("ddp"), "-m", "tests.train.faulty", "hardware=other", "rank=1", "train", TINY]
    said = run([*words, f"workspace={workspace}", "pretrain.precision=auto"], code=1)
    assert "on rank 1, whose hardware differs; set pretrain.precision / finetune.precision to fp32" in said
    assert run([sys.executable, "train.py", "train", TINY, f"workspace={workspace}", "pretrain.max_steps=2"])
