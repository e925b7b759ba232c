"""Differences between two versions of a file, from which the old one is made again of the new one, byte for byte.

Tags are changed at a file's head or end, and may move all that is behind them; Ogg numbers its pages again.  Such
differences are small steps: a part of the new file, or bytes that only the old one had.
"""

import base64
import mmap
from collections.abc import Iterator, Sequence

import numpy as np

Data = mmap.mmap | bytes
Step = list[int] | str  # [start, length] in the new file, or bytes in base64

_ANCHOR_BYTES = 32  # as many equal bytes in both are the same place
_MOVED_BYTES = 1 << 22  # a place is looked for this far from where it was
_CHUNK_BYTES = 1 << 20


def difference(new: Data, old: Data) -> list[Step]:
    """Return the steps that make `old` of `new`."""
    steps: list[Step] = []
    at_new = at_old = 0
    while at_old < len(old):
        n = _n_equal(new, at_new, old, at_old)
        if n:
            steps.append([at_new, n])
        at_new, at_old = at_new + n, at_old + n
        start = at_old
        at_new, at_old = _next_equal(new, at_new, old, at_old)
        if at_old > start:
            steps.append(base64.b64encode(old[start:at_old]).decode())
    return steps


def restored(new: Data, steps: Sequence[Step]) -> Iterator[bytes]:
    """Yield the old file in parts; raises ValueError if a step is none."""
    for step in steps:
        if isinstance(step, str):
            yield base64.b64decode(step, validate=True)
        else:
            start, length = step
            for at in range(start, start + length, _CHUNK_BYTES):
                yield new[at : min(at + _CHUNK_BYTES, start + length)]


def _n_equal(new: Data, at_new: int, old: Data, at_old: int) -> int:
    """Return the number of equal bytes from these places on."""
    n, size = 0, _ANCHOR_BYTES
    while True:
        a, b = new[at_new + n : at_new + n + size], old[at_old + n : at_old + n + size]
        both = min(len(a), len(b))
        if a[:both] != b[:both]:
            different = np.frombuffer(a, np.uint8)[:both] != np.frombuffer(b, np.uint8)[:both]
            return n + int(different.argmax())
        n += both
        if both < size:
            return n
        size = min(2 * size, _CHUNK_BYTES)


def _next_equal(new: Data, at_new: int, old: Data, at_old: int) -> tuple[int, int]:
    """Return the next places that are the same in both; the end of `old` if there is none."""
    at, step = at_old, 1
    while at + _ANCHOR_BYTES <= len(old):
        expected = at_new + at - at_old
        begin, end = max(0, expected - _MOVED_BYTES), expected + _MOVED_BYTES
        found = new.find(old[at : at + _ANCHOR_BYTES], begin, min(end, len(new)))
        if found >= 0:
            return found, at
        at, step = at + step, 2 * step
    return at_new, len(old)
