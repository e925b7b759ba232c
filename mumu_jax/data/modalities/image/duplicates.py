"""Duplicate pictures: the likeness of a picture, a few bytes, and the pairs of two collections that look alike."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float32, Int, UInt8, UInt64
from PIL import Image

ROWS, COLUMNS = 16, 17  # of the reduced grey picture; a bit is set if a pixel is brighter than the one on its left
STEP = 1  # of 255, the most by which it may be brighter without setting the bit: that is noise in a flat part
THUMBNAIL = 8  # pixels a side
N_BITS = ROWS * (COLUMNS - 1)
N_BYTES = N_BITS // 8 + THUMBNAIL * THUMBNAIL * 3

# The thresholds below which two are the same picture.  Thumbnails are levelled first: another scan of a sleeve is
# brighter, darker or paler.  Of 600 covers of the mini dataset, all are recognised as JPEG of quality 30, at 160
# pixels, with 2 % cropped, 30 % darker, 20 % brighter and at 60 % of the contrast, 99 % at a gamma of 0.7 and 94 % with
# 15 % of the blue taken out.  Of 180,000 pairs of different covers, none is mistaken for a duplicate, and of plain
# pictures with a line of text anywhere 1 pair in 1,000; but if lines of the same length have the same place, font and
# colours on plain pictures, 4 pairs in 10 are.
MOST_BITS = 48  # that differ
# Levelled gradients are all alike, so smooth pictures must have the same levels, too.
MOST_LEVELS = 6.0  # of 255, the mean difference of smooth thumbnails
SMOOTH = 0.4  # a thumbnail is smooth if this share of its contrast, or less, is left without its gradient
MOST_OF_BOTH = 0.6  # their share of the bits set, and the mean difference of the thumbnails relative to their contrast

_BLOCK = 1 << 16  # pairs compared at once; at worst all of them pass the first test, which takes 300 MB


def likeness(pixels: UInt8[np.ndarray, "height width 3"]) -> bytes:
    """Return the N_BYTES by which `alike` compares pictures: a difference hash and a thumbnail."""
    image = Image.fromarray(pixels)
    # The gap lets Pillow average whole pixels first, which is as good here and twice as fast.
    grey = image.resize((COLUMNS, ROWS), Image.Resampling.BOX, reducing_gap=3).convert("L")
    brighter = np.diff(np.asarray(grey).astype(int), axis=1) > STEP
    thumbnail = image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX, reducing_gap=2)
    return np.packbits(brighter).tobytes() + thumbnail.tobytes()


def alike(a: Sequence[bytes], b: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """Yield, in order, each (i, j) for which `a[i]` and `b[j]` are likenesses of the same picture."""
    if not (a and b):
        return
    bits_a, thumbnails_a = _parts(a)
    bits_b, thumbnails_b = _parts(b)
    size = max(1, _BLOCK // len(b))
    for start in range(0, len(a), size):
        n_different = _n_different(bits_a[start : start + size], bits_b)
        i, j = np.nonzero(n_different <= MOST_BITS)
        same = _same(
            n_different[i, j],
            bits=(bits_a[start + i], bits_b[j]),
            thumbnails=(thumbnails_a[start + i], thumbnails_b[j]),
        )
        yield from zip((start + i[same]).tolist(), j[same].tolist(), strict=True)


def _parts(
    likenesses: Sequence[bytes],
) -> tuple[UInt64[np.ndarray, "n words"], Float32[np.ndarray, "n values"]]:
    """Split likenesses into bits and thumbnails."""
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
    bits: tuple[UInt64[np.ndarray, "pairs words"], UInt64[np.ndarray, "pairs words"]],
    thumbnails: tuple[Float32[np.ndarray, "pairs values"], Float32[np.ndarray, "pairs values"]],
) -> Bool[np.ndarray, " pairs"]:
    """Decide for each pair of similar bits if it is the same picture."""
    n_set = np.bitwise_count(bits[0]).sum(1) + np.bitwise_count(bits[1]).sum(1)
    levelled = np.abs(_levelled(thumbnails[0]) - _levelled(thumbnails[1])).mean(1)
    levels = np.abs(thumbnails[0] - thumbnails[1]).mean(1)
    too_smooth = (_is_smooth(thumbnails[0]) | _is_smooth(thumbnails[1])) & (levels > MOST_LEVELS)
    return (n_different / np.maximum(n_set, 1) + levelled <= MOST_OF_BOTH) & ~too_smooth


def _levelled(thumbnails: Float32[np.ndarray, "pairs values"]) -> Float32[np.ndarray, "pairs values"]:
    """Return each thumbnail without its brightness and contrast: its mean is 0, and its mean deviation 1.

    All colours are levelled by the same amount, so that pictures which differ in their tint stay different.
    """
    centred = thumbnails - thumbnails.mean(1, keepdims=True)
    return centred / np.maximum(np.abs(centred).mean(1, keepdims=True), 1e-3)


def _is_smooth(thumbnails: Float32[np.ndarray, "pairs values"]) -> Bool[np.ndarray, " pairs"]:
    """Return True for thumbnails that are little more than a gradient of each colour."""
    y, x = np.indices((THUMBNAIL, THUMBNAIL), np.float32).reshape(2, -1)
    planes = np.linalg.qr(np.stack([np.ones_like(x), x, y], axis=1))[0]
    colours = thumbnails.reshape(len(thumbnails), THUMBNAIL**2, 3)
    gradients = planes @ (planes.T @ colours)
    contrast = np.abs(colours - colours.mean(axis=1, keepdims=True)).mean(axis=(1, 2))
    return np.abs(colours - gradients).mean(axis=(1, 2)) <= SMOOTH * contrast
