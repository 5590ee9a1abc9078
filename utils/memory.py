"""Memory that the C library keeps: without asking the system for it again, large arrays cost a fifth less time."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # names of glibc's mallopt


def keep_freed() -> None:
    """Let freed arrays of up to 32 MB (glibc takes no more), 64 MB in all, stay with this process."""
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another C library
        return
    mallopt(_MMAP_THRESHOLD, 32 << 20)
    mallopt(_TRIM_THRESHOLD, 64 << 20)
    mallopt(_TOP_PAD, 16 << 20)
