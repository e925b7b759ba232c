"""Settings of the C allocator for large arrays that are made and freed again and again."""

import ctypes
from functools import lru_cache

# glibc's names for these settings, in malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -2, -3, -4


@lru_cache(maxsize=1)
def keep_freed_memory() -> None:
    """Keep freed memory in the process, for the next array of that size; do nothing if the C library cannot.

    By default glibc returns it to the system, which hands it back page by page, one page fault each: that doubles the
    time to read a record.
    """
    _set(M_MMAP_THRESHOLD, 32 << 20)  # the largest that glibc accepts
    _set(M_TRIM_THRESHOLD, 2**31 - 1)
    _set(M_TOP_PAD, 64 << 20)


@lru_cache(maxsize=1)
def keep_freed_chunks() -> None:
    """Keep freed arrays above 32 MB too, such as chunks of steps on a CPU: allocating one gets four times as fast.

    Not for hosts of accelerators: a split that they read once would stay in the process's memory.
    """
    keep_freed_memory()
    _set(M_MMAP_MAX, 0)


def _set(setting: int, value: int) -> None:
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(setting, value)
