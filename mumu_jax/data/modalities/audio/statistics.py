"""What standardises the patches: mean and standard deviation of every (frame, bin), fitted on the training split."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Float32

from mumu_jax.config import AudioSettings
from mumu_jax.data.modalities.audio import patches

LEAST_STD_DB = 1.0  # a bin that is at the floor in nearly every track is not blown up to noise


def of_fixed_patches(
    records: Iterable[dict[str, Any]], settings: AudioSettings
) -> tuple[Float32[np.ndarray, "frames bins"], Float32[np.ndarray, "frames bins"]]:
    """Mean and standard deviation (dB, at least LEAST_STD_DB) over the records' fixed patches, summed in float64.

    0 and 1 where there are no records, which leaves patches as they are.  Spec, "Audio features".
    """
    total = np.zeros((2, settings.patch_frames, settings.n_bins))
    n_patches = 0
    for record in records:
        start = patches.fixed_start(record["track_id"], len(record[settings.front_end]), settings)
        patch = patches.cut(record[settings.front_end], start, settings).astype(np.float64)
        total += patch, patch**2
        n_patches += 1
    mean, mean_square = total / max(n_patches, 1)
    std = np.sqrt(np.maximum(mean_square - mean**2, LEAST_STD_DB**2))
    return mean.astype(np.float32), std.astype(np.float32)
