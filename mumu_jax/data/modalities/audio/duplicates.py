"""Likeness of recordings: a few bytes of each one's spectrogram, and the pairs of two collections that sound alike.

A recording in another encoding, at another gain or cut a few milliseconds off has nearly the same likeness.  It is the
course of the lower bins over the first excerpt, level by level: the filters of the higher ones are shorter than the
step from frame to frame, so that there a small offset shows other samples.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int, Num

SEGMENTS, BANDS = 12, 20  # of time and of frequency, over which the levels are averaged
N_BYTES = SEGMENTS * BANDS
LOWER = 5 / 8  # of the bins: up to 1 kHz of the default ones
RANGE_DB = 60.0  # below the loudest; encoders change what is softer

# The thresholds below which two are the same recording, chosen on these.  Of 60 songs of the mini dataset and 16
# excerpts of real songs, all are recognised at another gain or sample rate, as MP3 of 128 kbit/s, as Ogg and 5 ms off,
# 93 % half a frame off, and as MP3 of 64 kbit/s all of the real ones and 80 % of the others.  Of 380,000 pairs of
# different ones, 300 of them songs of one of three genres of the mini dataset, none is closer than 0.69; of the few
# pairs of real songs, none closer than 1.2.  Of 100 clips of GTZAN, 50 copied byte for byte and 50 saved otherwise, all
# 63 pairs that lie in two splits are found, and no other.
MOST_DIFFERENT = 0.55  # the distance of the courses, relative to the larger one's deviation
MOST_LEVELS_DB = 2.0  # the mean difference of the bands' levels
LEAST_DEVIATION_DB = 0.5  # of a course; steady tones, hiss and silence have less, and nothing to compare

# Up to ALL recordings are compared with one another, which is the faster way for so many; of more, those in the same of
# many buckets of about BUCKET.  The same recordings enclose an angle of at most 33 degrees, and mostly of less than 15.
# Of a million recordings, such a pair shares no bucket of TABLES divisions once in 35 million times at 15 degrees, in
# 3,400 at 25, in 80 at 33.
ALL, BUCKET, TABLES = 1 << 18, 1 << 10, 32
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


class _Parts(NamedTuple):
    """Likenesses as numbers: their places, the bands' levels in dB and their mean, and the courses about these.

    `sizes` are the courses' norms, `directions` the courses divided by them.
    """

    at: Int[np.ndarray, " n"]
    bands: Float32[np.ndarray, "n bands"]
    level: Float32[np.ndarray, " n"]
    courses: Float32[np.ndarray, "n values"]
    sizes: Float32[np.ndarray, " n"]
    directions: Float32[np.ndarray, "n values"]


def alike(a: Sequence[bytes], b: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """Yield, in order, each (i, j) for which `a[i]` and `b[j]` are likenesses of the same recording.

    The work grows with the number of recordings, not with that of their pairs: of more than ALL, only those are
    compared that share a bucket of one of TABLES random divisions, as the same recordings nearly always do.
    """
    if a and b:
        parts_a, parts_b = _parts(a), _parts(b)
        buckets = _buckets(parts_a.directions, parts_b.directions)
        pairs = (_compare(parts_a, parts_b, rows_a, rows_b) for rows_a, rows_b in buckets)
        yield from sorted(set(chain.from_iterable(pairs)))


def _buckets(
    a: Float32[np.ndarray, "n values"], b: Float32[np.ndarray, "m values"]
) -> Iterator[tuple[Int[np.ndarray, " rows"], Int[np.ndarray, " rows"]]]:
    """Yield rows of `a` and of `b` that may be alike: all, or those on the same sides of random planes (LSH).

    Directions with an angle w are on the same side of one plane with probability 1 - w / pi (Charikar 2002).  The
    planes go through the middle of `b`, so that buckets are about as large.
    """
    if len(b) <= ALL:
        yield np.arange(len(a)), np.arange(len(b))
        return
    n_planes = math.ceil(math.log2(len(b) / BUCKET))
    rng = np.random.default_rng(0)
    for _ in range(TABLES):
        planes = rng.standard_normal((N_BYTES, n_planes), dtype=np.float32)
        on_a, on_b = a @ planes, b @ planes
        middle, digits = np.median(on_b, axis=0), 1 << np.arange(n_planes)
        codes_a, codes_b = ((on > middle) @ digits for on in (on_a, on_b))
        rows_a, rows_b = np.argsort(codes_a, kind="stable"), np.argsort(codes_b, kind="stable")
        edges = np.arange(2**n_planes + 1)
        edges_a, edges_b = np.searchsorted(codes_a[rows_a], edges), np.searchsorted(codes_b[rows_b], edges)
        for code in range(2**n_planes):
            yield rows_a[edges_a[code] : edges_a[code + 1]], rows_b[edges_b[code] : edges_b[code + 1]]


def _compare(
    a: _Parts, b: _Parts, rows_a: Int[np.ndarray, " rows"], rows_b: Int[np.ndarray, " others"]
) -> list[tuple[int, int]]:
    """Return the places of the same recordings, each of the rows of `a` compared with each of `b`."""
    if not (len(rows_a) and len(rows_b)):
        return []
    # Courses that differ by at most this share of the larger one enclose at most an angle of this cosine, and bands
    # that do not differ by more on average have means that do not either: by level, few need to be compared.
    least_cosine = np.float32(np.sqrt(1 - MOST_DIFFERENT**2) - 1e-4)
    rows_a, rows_b = rows_a[np.argsort(a.level[rows_a])], rows_b[np.argsort(b.level[rows_b])]
    levels_a, levels_b = a.level[rows_a], b.level[rows_b]
    directions_b = b.directions[rows_b]
    pairs, n = [], max(1, _BLOCK // len(rows_b))
    for start in range(0, len(rows_a), n):
        block, levels = rows_a[start : start + n], levels_a[start : start + n]
        low, high = np.searchsorted(levels_b, (levels[0] - MOST_LEVELS_DB - 1e-3, levels[-1] + MOST_LEVELS_DB + 1e-3))
        row, column = np.nonzero(a.directions[block] @ directions_b[low:high].T >= least_cosine)
        for some in np.array_split(np.arange(len(row)), 1 + len(row) // _CLOSE):
            one, other = block[row[some]], rows_b[low + column[some]]
            different = np.linalg.norm(a.courses[one] - b.courses[other], axis=1)
            same = different <= MOST_DIFFERENT * np.maximum(a.sizes[one], b.sizes[other])
            same &= np.abs(a.bands[one] - b.bands[other]).mean(1) <= MOST_LEVELS_DB
            pairs += zip(a.at[one[same]].tolist(), b.at[other[same]].tolist(), strict=True)
    return pairs


def _parts(likenesses: Sequence[bytes]) -> _Parts:
    """Return the numbers of those whose course deviates enough to be compared: others are alike to none."""
    values = np.frombuffer(b"".join(likenesses), np.uint8).reshape(-1, SEGMENTS, BANDS)
    levels = values * np.float32(_STEP_DB)
    bands = levels.mean(1)
    courses = (levels - bands[:, None]).reshape(-1, N_BYTES)
    at = np.flatnonzero(np.abs(courses).mean(1) >= LEAST_DEVIATION_DB)
    bands, courses = bands[at], courses[at]
    sizes = np.linalg.norm(courses, axis=1)
    return _Parts(at, bands, bands.mean(1), courses, sizes, courses / sizes[:, None])
