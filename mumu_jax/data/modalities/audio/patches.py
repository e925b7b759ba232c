"""Patches of a track, the inputs of a network: `patch_frames` frames, each patch within one excerpt."""

import hashlib
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Float16, Float32

from mumu_jax.config import AudioSettings, MelSettings

FrameSettings = AudioSettings | MelSettings

LEAST_STD_DB = 1.0  # keeps a bin that is at the floor in nearly every track from being scaled up to noise


def n_frames_of_excerpt(settings: FrameSettings) -> int:
    """Return the frames of each excerpt in a record of several.  A record shorter than two of these is one excerpt."""
    return 1 + round(settings.excerpt_s * settings.sr_hz) // settings.hop_length


def random_start(n_frames: int, uniform: float, settings: FrameSettings) -> int:
    """Map `uniform` (0 <= uniform < 1) to the first frame of a patch, all valid ones being equally likely.

    A patch is valid if it lies within one excerpt.  In a track no longer than a patch, only 0 is valid.
    """
    n_excerpts = max(1, n_frames // n_frames_of_excerpt(settings))
    excerpt = n_frames if n_excerpts == 1 else n_frames_of_excerpt(settings)
    n_starts = max(1, excerpt - settings.patch_frames + 1)
    which, start = divmod(int(uniform * n_excerpts * n_starts), n_starts)
    return which * excerpt + start


def fixed_start(track_id: str, n_frames: int, settings: FrameSettings) -> int:
    """Return the first frame of the track's fixed patch, from a hash of its id and `patch_seed`."""
    digest = hashlib.sha256(f"{settings.patch_seed}:{track_id}".encode("utf-8", "surrogatepass")).digest()
    return random_start(n_frames, int.from_bytes(digest[:6], "big") / 2**48, settings)


def cut(
    frames: Float16[np.ndarray, "frames bins"],
    start: int,
    settings: FrameSettings,
    out: Float16[np.ndarray, "patch_frames bins"] | None = None,
) -> Float16[np.ndarray, "patch_frames bins"]:
    """Return the patch that starts at frame `start`, written to `out` if given.

    A track that is shorter than a patch is repeated, or filled up with the settings' `filling`.
    """
    out = np.empty((settings.patch_frames, frames.shape[1]), frames.dtype) if out is None else out
    patch = frames[start : start + settings.patch_frames]
    out[: len(patch)] = patch
    rest = out[len(patch) :]
    rest[:] = np.resize(patch, rest.shape) if settings.filling is None else settings.filling
    return out


def consecutive_starts(n_frames: int, settings: FrameSettings) -> list[int]:
    """Return the first frames of the fewest patches that cover an excerpt evenly from its first frame to its last.

    Up to 5 % of a patch may be left out between them if that saves a patch.
    """
    n_patches = max(1, math.ceil(n_frames / settings.patch_frames - 0.05))
    last = max(0, n_frames - settings.patch_frames)
    return [round(start) for start in np.linspace(0, last, n_patches).tolist()] if n_patches > 1 else [0]


def covering_starts(n_frames: int, settings: FrameSettings) -> list[int]:
    """Return the first frames of the patches that cover a track: for each of its excerpts, `consecutive_starts`."""
    size = n_frames_of_excerpt(settings)
    n_excerpts = max(1, n_frames // size)
    last = n_frames - (n_excerpts - 1) * size  # the frames of the last excerpt, of several as many as of the others
    lengths = [size] * (n_excerpts - 1) + [last]
    return [i * size + start for i, length in enumerate(lengths) for start in consecutive_starts(length, settings)]


def spread_starts(n_frames: int, n: int, settings: FrameSettings) -> list[int]:
    """Return the first frames of `n` patches, evenly spaced over the valid ones; fewer if there are fewer."""
    return sorted({random_start(n_frames, uniform, settings) for uniform in spread(n)})


def start_s(start: int, n_frames: int, seconds: float, settings: FrameSettings) -> float:
    """Return the time in a recording, which lasts `seconds`, at which a patch starts that starts at frame `start`.

    The last of several excerpts ends with the recording.
    """
    size = n_frames_of_excerpt(settings)
    n_excerpts = max(1, n_frames // size)
    excerpt, frame = divmod(start, size) if n_excerpts > 1 else (0, start)
    is_last = 0 < excerpt == n_excerpts - 1
    excerpt_start_s = seconds - settings.excerpt_s if is_last else excerpt * settings.excerpt_s
    return excerpt_start_s + frame * settings.hop_length / settings.sr_hz


def spread(n: int) -> list[float]:
    """Return the uniforms of `n` evenly spaced patches."""
    return [(i + 0.5) / n for i in range(n)]


def fit_statistics(
    records: Iterable[dict[str, Any]], settings: AudioSettings
) -> tuple[Float32[np.ndarray, "frames bins"], Float32[np.ndarray, "frames bins"]]:
    """Return mean and standard deviation (dB, at least LEAST_STD_DB) of every (frame, bin) of the fixed patches.

    Fitted on the training split, they standardise the patches.  Sums are in float64.  Without records the result is
    0 and 1, which leaves patches unchanged.  Spec, "Audio features".
    """
    total = np.zeros((2, settings.patch_frames, settings.n_bins))
    n_patches = 0
    for record in records:
        start = fixed_start(record["track_id"], len(record[settings.front_end]), settings)
        patch = cut(record[settings.front_end], start, settings).astype(np.float64)
        total += patch, patch**2
        n_patches += 1
    mean, mean_square = total / max(n_patches, 1)
    std = np.sqrt(np.maximum(mean_square - mean**2, LEAST_STD_DB**2))
    return mean.astype(np.float32), std.astype(np.float32)
