"""The strength of the twelve pitch classes in each frame, relative to the tuning that the recording seems to have.

As `librosa.feature.chroma_stft` with its defaults; peaks are looked for where pitches may be, and nowhere else.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Float32

from mumu_jax.data.modalities.descriptors.samples import N_FFT
from mumu_jax.data.modalities.descriptors.spectra import frequencies_hz

N_CHROMA = 12
LOWEST_HZ, HIGHEST_HZ = 150.0, 4000.0  # of the peaks that tell the tuning
LEAST_SHARE = 0.1  # of the frame's largest power: smaller peaks do not count
A0_HZ = 27.5
CENTRE_OCTAVE, OCTAVES = 5.0, 2.0  # above A0's: the filters' weight is Gaussian in octaves


def chroma(power: Float32[np.ndarray, "frames bins"], sr_hz: int) -> Float32[np.ndarray, "frames 12"]:
    """Return the power of each pitch class, C first, over that of the frame's strongest one."""
    raw = power @ _filters(sr_hz, tuning(power, sr_hz))
    largest = raw.max(axis=1, keepdims=True)
    return raw / np.where(largest > np.finfo(np.float32).tiny, largest, 1)


def tuning(power: Float32[np.ndarray, "frames bins"], sr_hz: int) -> float:
    """Return the deviation from A4 = 440 Hz in semitones, from -0.5 to 0.5: the most frequent one of strong peaks.

    A peak's frequency and height are those of a parabola through three bins; strong is what reaches the median height.
    """
    freqs_hz = frequencies_hz(sr_hz)
    low, high = np.searchsorted(freqs_hz, [LOWEST_HZ, min(HIGHEST_HZ, sr_hz / 2)])
    left, middle, right = power[:, low - 1 : high - 1], power[:, low:high], power[:, low + 1 : high + 1]
    is_peak = (middle > left) & (middle >= right)
    is_peak &= middle > np.float32(LEAST_SHARE) * power.max(axis=1, keepdims=True)
    bins = low + np.nonzero(is_peak)[1]
    left, middle, right = left[is_peak], middle[is_peak], right[is_peak]
    if not len(bins):
        return 0.0
    slope, curvature = (right - left) / 2, left + right - 2 * middle
    shift = np.where(np.abs(slope) < np.abs(curvature), -slope / np.where(curvature == 0, 1, curvature), 0)
    heights = middle + np.float32(0.5) * slope * shift
    pitches_hz = ((bins + shift) * sr_hz / N_FFT)[heights >= np.median(heights)].astype(np.float32)
    semitones = np.mod(N_CHROMA * np.log2(pitches_hz / np.float32(A0_HZ)), np.float32(1))
    semitones[semitones >= 0.5] -= 1
    edges = np.linspace(-0.5, 0.5, 101)
    return float(edges[np.argmax(np.histogram(semitones, edges)[0])])


@lru_cache(maxsize=128)
def _filters(sr_hz: int, tuning: float) -> Float32[np.ndarray, "bins 12"]:
    """Return the weight of each bin in each pitch class: Gaussian in semitones, and over the octaves.  Ellis 2007."""
    pitches = N_CHROMA * np.log2(frequencies_hz(sr_hz)[1:] / (A0_HZ * 2 ** (tuning / N_CHROMA)))
    pitches = np.concatenate(([pitches[0] - 1.5 * N_CHROMA], pitches))  # 0 Hz: an octave and a half below the first bin
    widths = np.append(np.maximum(np.diff(pitches), 1), 1)
    distances = np.mod(pitches[:, None] - np.arange(N_CHROMA) + N_CHROMA / 2, N_CHROMA) - N_CHROMA / 2
    weights = np.exp(-0.5 * (2 * distances / widths[:, None]) ** 2)
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    weights *= np.exp(-0.5 * ((pitches / N_CHROMA - CENTRE_OCTAVE) / OCTAVES) ** 2)[:, None]
    return np.roll(weights, -3, axis=1).astype(np.float32)  # from A to C
