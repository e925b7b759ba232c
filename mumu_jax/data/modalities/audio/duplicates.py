"""Likeness of recordings: a few bytes of each one's spectrogram, and the pairs of two collections that sound alike.

A recording in another encoding, at another gain or cut a few milliseconds off has nearly the same likeness.  It is the
course of the lower bins over the first excerpt, level by level: the filters of the higher ones are shorter than the
step from frame to frame, so that there a small offset shows other samples.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float32, Num

SEGMENTS, BANDS = 12, 20  # of time and of frequency, over which the levels are averaged
N_BYTES = SEGMENTS * BANDS
LOWER = 5 / 8  # of the bins: up to 1 kHz of the default ones
RANGE_DB = 60.0  # below the loudest; encoders change what is softer

# The thresholds below which two are the same recording, chosen on these.  Of 60 songs of the mini dataset and 16
# excerpts of real songs, all are recognised at another gain or sample rate, as MP3 of 128 kbit/s, as Ogg and 5 ms off,
# 93 % half a frame off, and as MP3 of 64 kbit/s all of the real ones and 80 % of the others.  Of 380,000 pairs of
# different ones, 300 of them songs of one of three genres of the mini dataset, none is closer than 0.69; of the few
# pairs of real songs, none closer than 1.2.
MOST_DIFFERENT = 0.55  # the distance of the courses, relative to the larger one's deviation
MOST_LEVELS_DB = 2.0  # the mean difference of the bands' levels
LEAST_DEVIATION_DB = 0.5  # of a course; steady tones, hiss and silence have less, and nothing to compare

_BLOCK, _CLOSE = 1 << 24, 1 << 16  # pairs compared at once: at first, 64 MB, and those that are close, 190 MB
_STEP_DB = RANGE_DB / 255


def likeness(frames: Num[np.ndarray, "frames bins"], n_frames: int) -> bytes:
    """Return the N_BYTES by which `alike` compares recordings, made of at most `n_frames` frames in dB."""
    lower = frames[:n_frames, : max(1, round(LOWER * frames.shape[1]))].astype(np.float32)
    levels = _averaged(_averaged(np.maximum(lower, -RANGE_DB), SEGMENTS).T, BANDS).T
    return np.clip((levels + RANGE_DB) / _STEP_DB + 0.5, 0, 255).astype(np.uint8).tobytes()


def _averaged(rows: Float32[np.ndarray, "rows columns"], n: int) -> Float32[np.ndarray, "n columns"]:
    """Return the means of `n` runs of rows, as equal as can be; of fewer rows some are repeated."""
    starts = np.arange(n) * len(rows) // n
    lengths = np.diff(np.append(starts, len(rows)))
    return np.add.reduceat(rows, starts, axis=0) / np.maximum(lengths, 1)[:, None].astype(np.float32)


def alike(a: Sequence[bytes], b: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """Yield, in order, each (i, j) for which `a[i]` and `b[j]` are likenesses of the same recording."""
    if not (a and b):
        return
    bands_a, courses_a, sizes_a = _parts(a)
    bands_b, courses_b, sizes_b = _parts(b)
    directions_a, directions_b = courses_a / sizes_a[:, None], courses_b / sizes_b[:, None]
    # Courses that differ by at most this share of the larger one enclose at most an angle of this cosine, and bands
    # that do not differ by more on average have means that do not either: by level, few need to be compared.
    least_cosine = np.float32(np.sqrt(1 - MOST_DIFFERENT**2) - 1e-4)
    by_level_a, by_level_b = np.argsort(bands_a.mean(1)), np.argsort(bands_b.mean(1))
    levels_a, levels_b = bands_a.mean(1)[by_level_a], bands_b.mean(1)[by_level_b]
    directions_b = directions_b[by_level_b]
    pairs, rows = [], max(1, _BLOCK // len(b))
    for start in range(0, len(a), rows):
        i = by_level_a[start : start + rows]
        levels = levels_a[start : start + rows]
        low, high = np.searchsorted(levels_b, (levels[0] - MOST_LEVELS_DB - 1e-3, levels[-1] + MOST_LEVELS_DB + 1e-3))
        row, column = np.nonzero(directions_a[i] @ directions_b[low:high].T >= least_cosine)
        for some in np.array_split(np.arange(len(row)), 1 + len(row) // _CLOSE):
            one, other = i[row[some]], by_level_b[low + column[some]]
            different = np.linalg.norm(courses_a[one] - courses_b[other], axis=1)
            same = different <= MOST_DIFFERENT * np.maximum(sizes_a[one], sizes_b[other])
            same &= np.abs(bands_a[one] - bands_b[other]).mean(1) <= MOST_LEVELS_DB
            pairs += zip(one[same].tolist(), other[same].tolist(), strict=True)
    yield from sorted(pairs)


def _parts(
    likenesses: Sequence[bytes],
) -> tuple[Float32[np.ndarray, "n bands"], Float32[np.ndarray, "n values"], Float32[np.ndarray, " n"]]:
    """Return the mean level of each band in dB, the course about it, and that course's size.

    A course that deviates too little to be compared is endless: it is alike to none.
    """
    values = np.frombuffer(b"".join(likenesses), np.uint8).reshape(-1, SEGMENTS, BANDS)
    levels = values * np.float32(_STEP_DB)
    means = levels.mean(1)
    courses = (levels - means[:, None]).reshape(-1, N_BYTES)
    sizes = np.linalg.norm(courses, axis=1)
    sizes[np.abs(courses).mean(1) < LEAST_DEVIATION_DB] = np.inf
    return means, courses, sizes
