"""What this machine can do and has used: its cores, the yardstick of MFU, and peak memory."""

from __future__ import annotations

import os
import time

import psutil
import torch

from pipeline.train.cards import recognised
from utils.workers import cores

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Precisions by a recipe's names."""


def take_cores() -> None:
    """On a CPU, this process's share of the cores, where a launcher has said one thread and the user nothing.

    The launcher's word is for GPUs, whose processes need their cores for other things."""
    if torch.cuda.is_available() or not _launcher_said_one_thread():
        return
    whole = min(psutil.cpu_count(logical=False) or cores(), cores())
    torch.set_num_threads(max(1, whole // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def _launcher_said_one_thread() -> bool:
    """What was there before the launcher, our parent, was started is the user's word; so is what nobody can tell."""
    launched = "ACCELERATE_MIXED_PRECISION" in os.environ or "TORCHELASTIC_RUN_ID" in os.environ
    alone = "LOCAL_WORLD_SIZE" in os.environ or os.environ.get("WORLD_SIZE", "1") == "1"
    if not (launched and alone) or os.environ.get("OMP_NUM_THREADS") != "1":
        return False
    try:
        return "OMP_NUM_THREADS" not in psutil.Process(os.getppid()).environ()
    except psutil.Error:
        return False


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """What MFU is a share of: the peak of a known GPU, or the FLOP/s of a large matrix product here and now."""
    known = recognised(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
    if known:
        return known.peak(next(name for name, known_as in DTYPES.items() if known_as == dtype))
    return measured_flops(device, dtype)


def measured_flops(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a large matrix product. A quarter of a second."""
    size = 1024 if device.type == "cpu" else 8192
    a = torch.randn(size, size, device=device).to(dtype)
    best, until = 0.0, time.perf_counter() + 0.25
    while True:
        started = time.perf_counter()
        for _ in range(4):
            a @ a
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = max(best, 4 * 2 * size**3 / (time.perf_counter() - started))
        if time.perf_counter() > until:
            return best


def memory_gb(device: torch.device) -> float:
    """Peak memory: the GPU's if there is one, else this process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if os.uname().sysname == "Darwin" else 1024) / 1e9
