"""Audio: songs as constant-Q transforms in dB, or as another front end's frames."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float16, Float32

from mumu_jax.config import AudioSettings, Config
from mumu_jax.data.modalities.audio import patches
from mumu_jax.data.modalities.audio.decode import TrackFrames, track_cqt
from mumu_jax.data.modalities.audio.front_ends import front_end_of
from mumu_jax.data.modalities.audio.songs import Songs


class Audio(Songs):
    """Songs, each frame in dB below the loudest of its excerpt.  The record's field is named after the front end."""

    name, settings, sections = "audio", AudioSettings, ("audio",)
    own_settings = frozenset({"data.patch", "data.patches", "data.standardise"})

    def field(self, settings: AudioSettings) -> str:
        """Return the front end's name."""
        return settings.front_end

    def frames_of(self, path: Path, settings: AudioSettings) -> TrackFrames:
        """Decode a track and transform it.  Raises Rejected."""
        return track_cqt(path, settings)

    def levels_db(
        self, frames: Float16[np.ndarray, "frames bins"], settings: AudioSettings
    ) -> Float32[np.ndarray, "frames bins"]:
        """Return the frames, which are stored in dB."""
        return frames.astype(np.float32)

    def check(self, settings: AudioSettings) -> None:
        """Raise UserError if there is no such front end, or if it cannot use the settings."""
        front_end_of(settings).check(settings)

    def statistics(self, records: Iterable[dict[str, Any]], settings: AudioSettings) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of each (frame, bin) over the tracks' fixed patches."""
        return patches.fit_statistics(records, settings)

    def describe(self, config: Config, fitted: None) -> tuple[str, str]:
        """Describe the patches and the transform."""
        audio, shape = config.audio, f"{config.audio.patch_frames}, {config.audio.n_bins}"
        return (
            f"float16 [n, {shape}]: patches of {audio.patch_frames * audio.hop_length / audio.sr_hz:.1f} s, frames × "
            f"bins: {front_end_of(audio).describe(audio)}; magnitudes in dB below the largest of the "
            f"{audio.excerpt_s:g} s around it, at least {audio.floor_db:g}, which also fills what is too short."
        ), f"patches = np.full((2, {shape}), {audio.floor_db:g}, np.float16)"
