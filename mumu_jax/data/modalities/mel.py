"""Mel spectrograms: the input of tagging networks, prepared beside the CQT.

Records hold the power of each band, or its square root, and the devices take the logarithm (`compression.py`).  The
published networks were trained on absolute levels, and so is every network that sees these.
"""

import dataclasses
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from jaxtyping import Float16, Float32, Float64

from mumu_jax.compression import PRESETS
from mumu_jax.config import Config, MelSettings
from mumu_jax.data.modalities.audio.decode import TrackFrames, padded, track_frames
from mumu_jax.data.modalities.audio.songs import Songs

if TYPE_CHECKING:
    from scipy.sparse import csr_array

SILENT_POWER = 1e-10
RANGE_DB = 80.0  # of what is compared between songs
_BLOCK_FRAMES = 128  # transformed at a time: what a core's cache holds


class Mel(Songs):
    """Songs as mel spectrograms."""

    name, settings, sections = "mel", MelSettings, ("mel",)
    own_settings = frozenset({"data.patch", "data.patches"})
    by_default = False  # the CQT is what most experiments see
    free_settings = Songs.later_settings  # networks of 3 s and of 29 s see the same records
    presets: ClassVar[Mapping[str, Any]] = PRESETS

    def field(self, settings: MelSettings) -> str:
        """Return `mel`."""
        return "mel"

    def frames_of(self, path: Path, settings: MelSettings) -> TrackFrames:
        """Decode a track and transform it.  Raises Rejected."""
        silence = SILENT_POWER if is_power(settings) else SILENT_POWER**0.5
        return track_frames(path, settings, lambda piece: _of_float16(stored_mel(piece, settings)), silence)

    def levels_db(
        self, frames: Float16[np.ndarray, "frames bins"], settings: MelSettings
    ) -> Float32[np.ndarray, "frames bins"]:
        """Return the frames in dB below the track's maximum, at least -RANGE_DB."""
        values = np.maximum(frames.astype(np.float32), np.float32(1e-8))
        levels = np.float32(10 if is_power(settings) else 20) * np.log10(values)
        return np.maximum(levels - levels.max(), np.float32(-RANGE_DB))

    def describe(self, config: Config, fitted: None) -> tuple[str, str]:
        """Describe the patches and the transform."""
        mel, shape = config.mel, f"{config.mel.patch_frames}, {config.mel.n_bins}"
        kind = "power" if is_power(mel) else "the square root of the power"
        above = ", over its largest value within the 30 s around it" if mel.level == "db_max" else ""
        return (
            f"float16 [n, {shape}]: patches of {mel.patch_frames * mel.hop_length / mel.sr_hz:.1f} s, frames × bands: "
            f"{kind}{above}, in {mel.n_bins} mel bands ({mel.scale}, norm: {mel.norm}) from {mel.fmin_hz:g} to "
            f"{mel.fmax_hz:g} Hz of mono audio at {mel.sr_hz:,} Hz, with a Hann window of {mel.n_fft:,} samples each "
            f"{mel.hop_length:,}, centred, reflected at the ends; a song that is shorter is repeated."
        ), f"patches = np.zeros((2, {shape}), np.float16)"


def differences_from(preset: str, settings: MelSettings) -> list[str]:
    """Name the settings that make other values than a preset's; none if there is no preset ("")."""
    if not preset:
        return []
    expected = dataclasses.asdict(PRESETS[preset])
    for name in ("excerpt_s", "patch_frames", "patch_seed"):  # which frames are seen, not what is in them
        del expected[name]
    found = dataclasses.asdict(settings)
    return [f"mel.{name} is {found[name]}, not {value}" for name, value in expected.items() if found[name] != value]


def is_power(settings: MelSettings) -> bool:
    """Return True if power is stored, False if it is its square root."""
    return settings.level in ("power", "log10000")


def stored_mel(y: Float32[np.ndarray, " samples"], settings: MelSettings) -> Float32[np.ndarray, "frames bins"]:
    """Return an excerpt's values as they are stored.  One shorter than SHORTEST_S is padded with zeros."""
    with np.errstate(over="ignore", invalid="ignore"):  # samples of 1e30: the result is not finite, which is rejected
        power = mel_power(padded(y, settings.sr_hz), settings)
        if is_power(settings):
            return power
        if settings.level == "db_max":
            power /= max(power.max(), np.float32(SILENT_POWER))
        return np.sqrt(power)


def _of_float16(values: Float32[np.ndarray, "frames bins"]) -> Float32[np.ndarray, "frames bins"]:
    """Round values of at least 0 to multiples of float16's smallest, where they lie below its smallest normal one.

    NumPy's own rounding of those takes thirty times as long, and quiet music has many.  The values from 0.5 to 1 are
    as far apart in float32.
    """
    half, smallest_normal = np.float32(0.5), np.finfo(np.float16).smallest_normal.astype(np.float32)
    return np.where(values < smallest_normal, (values + half) - half, values)


def mel_power(y: Float32[np.ndarray, " samples"], settings: MelSettings) -> Float32[np.ndarray, "frames bins"]:
    """Return the power of each mel band, a frame each `hop_length` samples, centred, reflected at the ends.

    The reference is `librosa.feature.melspectrogram(center=True, pad_mode="reflect", power=2)`.
    """
    from scipy.fft import rfft  # here and below: worker processes of other modalities start without it

    window, bank = window_and_bank(
        settings.sr_hz,
        settings.n_fft,
        settings.n_bins,
        settings.fmin_hz,
        settings.fmax_hz,
        settings.scale,
        settings.norm,
    )
    padded = np.pad(y, settings.n_fft // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, settings.n_fft)[:: settings.hop_length]
    mel = np.empty((len(frames), settings.n_bins), np.float32)
    for low in range(0, len(frames), _BLOCK_FRAMES):
        block = slice(low, low + _BLOCK_FRAMES)
        # Unlike NumPy's, SciPy's transform takes several rows at once.
        spectra: Any = rfft(frames[block] * window, axis=1, overwrite_x=True)
        mel[block] = (bank @ (spectra.real**2 + spectra.imag**2).T).T
    return mel


@lru_cache
def window_and_bank(
    sr_hz: int, n_fft: int, n_bins: int, fmin_hz: float, fmax_hz: float, scale: str, norm: str
) -> tuple[Float32[np.ndarray, " samples"], "csr_array"]:
    """Return the periodic Hann window, and the weights [bins, frequencies] of the Fourier transform in each mel band.

    They are sparse: a frequency is in two bands at most.
    """
    from scipy.sparse import csr_array

    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    to_mel, to_hz = _SCALES[scale]
    lowest, highest = to_mel(np.array([fmin_hz, fmax_hz]))
    edges_hz = to_hz(np.linspace(lowest, highest, n_bins + 2))
    low, centre, high = edges_hz[:-2], edges_hz[1:-1], edges_hz[2:]
    freqs_hz = np.linspace(0, sr_hz / 2, n_fft // 2 + 1)[:, None]
    triangles = np.maximum(0, np.minimum((freqs_hz - low) / (centre - low), (high - freqs_hz) / (high - centre)))
    if norm == "area":
        triangles *= 2 / (high - low)
    return window.astype(np.float32), csr_array(triangles.T.astype(np.float32))


def _slaney_of_hz(hz: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Map Hz to the mel scale of Slaney's Auditory Toolbox: linear up to 1 kHz, which is 15 mel."""
    with np.errstate(divide="ignore"):
        return np.where(hz < 1000, 3 * hz / 200, 15 + 27 * np.log(hz / 1000) / np.log(6.4))


def _hz_of_slaney(mel: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    return np.where(mel < 15, 200 * mel / 3, 1000 * 6.4 ** ((mel - 15) / 27))


def _htk_of_hz(hz: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Map Hz to the mel scale of HTK: 2595 log10(1 + f / 700)."""
    return 2595 * np.log10(1 + hz / 700)


def _hz_of_htk(mel: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    return 700 * (10 ** (mel / 2595) - 1)


_SCALES = {"slaney": (_slaney_of_hz, _hz_of_slaney), "htk": (_htk_of_hz, _hz_of_htk)}
