"""The C library's allocator, told to keep memory that training will want again at once."""

from __future__ import annotations

import ctypes
import platform

KEPT_BYTES = 2**30
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def keep_memory() -> None:
    """Nothing, once freed memory of this process stays with it instead of going back to the system and being zeroed.

    glibc only; elsewhere the allocator is left as it is.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        for parameter in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
            libc.mallopt(parameter, KEPT_BYTES)
