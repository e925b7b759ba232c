"""Where a network's inputs lie in a track: patches of `patch_frames` frames, each within one excerpt."""

import hashlib
import math

import numpy as np
from jaxtyping import Float16

from mumu_jax.config import AudioSettings


def n_frames_of_excerpt(settings: AudioSettings) -> int:
    """Frames of each excerpt in a record of several.  A record shorter than two of these is one excerpt."""
    return 1 + round(settings.excerpt_s * settings.sr_hz) // settings.hop_length


def random_start(n_frames: int, uniform: float, settings: AudioSettings) -> int:
    """The first frame of a patch, where `uniform` (0 <= uniform < 1) falls among all valid ones.

    Valid are the starts whose patch lies within one excerpt; 0 alone where a track is no longer than a patch.
    """
    n_excerpts = max(1, n_frames // n_frames_of_excerpt(settings))
    excerpt = n_frames if n_excerpts == 1 else n_frames_of_excerpt(settings)
    n_starts = max(1, excerpt - settings.patch_frames + 1)
    which, start = divmod(int(uniform * n_excerpts * n_starts), n_starts)
    return which * excerpt + start


def fixed_start(track_id: str, n_frames: int, settings: AudioSettings) -> int:
    """The first frame of the track's one patch of all epochs, from a hash of its id and `patch_seed`."""
    digest = hashlib.sha256(f"{settings.patch_seed}:{track_id}".encode("utf-8", "surrogatepass")).digest()
    return random_start(n_frames, int.from_bytes(digest[:6], "big") / 2**48, settings)


def cut(
    cqt: Float16[np.ndarray, "frames bins"],
    start: int,
    settings: AudioSettings,
    out: Float16[np.ndarray, "patch_frames bins"] | None = None,
) -> Float16[np.ndarray, "patch_frames bins"]:
    """The patch that starts at frame `start` (written to `out`), at the floor after the track's end."""
    out = np.empty((settings.patch_frames, cqt.shape[1]), cqt.dtype) if out is None else out
    patch = cqt[start : start + settings.patch_frames]
    out[: len(patch)] = patch
    out[len(patch) :] = settings.floor_db
    return out


def consecutive_starts(n_frames: int, settings: AudioSettings) -> list[int]:
    """First frames of the fewest patches that cover an excerpt evenly from its first frame to its last.

    Up to 5 % of a patch may be left over between them rather than make one patch more.
    """
    n_patches = max(1, math.ceil(n_frames / settings.patch_frames - 0.05))
    last = max(0, n_frames - settings.patch_frames)
    return [round(start) for start in np.linspace(0, last, n_patches).tolist()] if n_patches > 1 else [0]
