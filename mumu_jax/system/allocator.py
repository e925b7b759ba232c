"""The C allocator's settings for arrays that come and go."""

import ctypes
from functools import lru_cache

# glibc's names for these settings, in malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -2, -3, -4


@lru_cache(maxsize=1)
def keep_freed_memory() -> None:
    """Let freed memory stay with the process, for the next array of its size.

    By default glibc returns it to the system, which hands it back as fresh pages, one fault each: that doubles the
    time to read a record.  Does nothing where the C library has no such settings.
    """
    _set(M_MMAP_THRESHOLD, 32 << 20)  # the largest that glibc takes
    _set(M_TRIM_THRESHOLD, 2**31 - 1)
    _set(M_TOP_PAD, 64 << 20)


@lru_cache(maxsize=1)
def keep_freed_chunks() -> None:
    """The same for arrays above 32 MB, as chunks of steps are where the host is the device: four times as fast to make.

    Not for hosts of accelerators: what they read once, the whole of a split, would stay with the process.
    """
    keep_freed_memory()
    _set(M_MMAP_MAX, 0)


def _set(setting: int, value: int) -> None:
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(setting, value)
