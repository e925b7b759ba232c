"""Pictures that look alike: what is kept of each to tell, and the pairs of two collections."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float32, Int, UInt8, UInt64
from PIL import Image

ROWS, COLUMNS = 16, 17  # of the grey picture whose steps from left to right are the bits
STEP = 1  # of 255: a smaller one is noise, and there are no bits in flat parts
THUMBNAIL = 8
N_BITS = ROWS * (COLUMNS - 1)
N_BYTES = N_BITS // 8 + THUMBNAIL * THUMBNAIL * 3

# When two are the same picture.  Of 600 covers of the mini dataset this finds 99 % again as JPEG of quality 30, 99 %
# at 160 pixels, 96 % with 1 % cut off and 90 % with 2 %.  It takes 1 of 3.1 million pairs of other covers for the same,
# and none of plain pictures with a line of text anywhere; but of plain ones where lines of the same length stand in the
# same place in the same letters and colours, 4 pairs in 10.
MOST_BITS = 48  # that differ
MOST_LEVELS = 6.0  # of 255, between the thumbnails on average
MOST_OF_BOTH = 0.6  # of both together, as shares of what the pictures have: plain ones have little that could differ

_BLOCK = 1 << 18  # pairs looked at together; at worst all of them are looked at twice, which takes 200 MB


def likeness(pixels: UInt8[np.ndarray, "height width 3"]) -> bytes:
    """What `alike` tells a picture by, N_BYTES: a difference hash and a thumbnail."""
    image = Image.fromarray(pixels)
    # The gap lets Pillow take whole pixels together first: as good here, and twice as fast.
    grey = image.resize((COLUMNS, ROWS), Image.Resampling.BOX, reducing_gap=3).convert("L")
    steps = np.diff(np.asarray(grey).astype(int), axis=1) > STEP
    thumbnail = image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX, reducing_gap=2)
    return np.packbits(steps).tobytes() + thumbnail.tobytes()


def alike(a: Sequence[bytes], b: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """(i, j) of all pairs in which `a[i]` and `b[j]` are likenesses of the same picture, in order."""
    if not (a and b):
        return
    bits_a, thumbnails_a = _parts(a)
    bits_b, thumbnails_b = _parts(b)
    size = max(1, _BLOCK // len(b))
    for start in range(0, len(a), size):
        n_different = _n_different(bits_a[start : start + size], bits_b)
        i, j = np.nonzero(n_different <= MOST_BITS)
        pairs = n_different[i, j], bits_a[start + i], bits_b[j], thumbnails_a[start + i], thumbnails_b[j]
        same = _same(*pairs)
        yield from zip((start + i[same]).tolist(), j[same].tolist(), strict=True)


def _parts(
    likenesses: Sequence[bytes],
) -> tuple[UInt64[np.ndarray, "n words"], Float32[np.ndarray, "n values"]]:
    """The bits, and the thumbnails."""
    values = np.frombuffer(b"".join(likenesses), np.uint8).reshape(-1, N_BYTES)
    bits, thumbnails = np.split(values, [N_BITS // 8], axis=1)
    return np.ascontiguousarray(bits).view(np.uint64), thumbnails.astype(np.float32)


def _n_different(a: UInt64[np.ndarray, "a words"], b: UInt64[np.ndarray, "b words"]) -> Int[np.ndarray, "a b"]:
    n_different = np.zeros((len(a), len(b)), np.int16)
    for word_a, word_b in zip(a.T, b.T, strict=True):
        n_different += np.bitwise_count(word_a[:, None] ^ word_b)
    return n_different


def _same(
    n_different: Int[np.ndarray, " pairs"],
    bits_a: UInt64[np.ndarray, "pairs words"],
    bits_b: UInt64[np.ndarray, "pairs words"],
    thumbnails_a: Float32[np.ndarray, "pairs values"],
    thumbnails_b: Float32[np.ndarray, "pairs values"],
) -> Bool[np.ndarray, " pairs"]:
    """Whether each pair, whose bits are near, is the same picture."""
    n_set = np.bitwise_count(bits_a).sum(1) + np.bitwise_count(bits_b).sum(1)
    levels = np.abs(thumbnails_a - thumbnails_b).mean(1)
    contrast = np.maximum(_contrast(thumbnails_a), _contrast(thumbnails_b))
    of_both = n_different / np.maximum(n_set, 1) + levels / np.maximum(contrast, 1e-3)
    return (levels <= MOST_LEVELS) & (of_both <= MOST_OF_BOTH)


def _contrast(thumbnails: Float32[np.ndarray, "pairs values"]) -> Float32[np.ndarray, " pairs"]:
    """How far the thumbnails' values are from their colour's mean, on average."""
    colours = thumbnails.reshape(-1, THUMBNAIL**2, 3)
    return np.abs(colours - colours.mean(1, keepdims=True)).mean((1, 2))
