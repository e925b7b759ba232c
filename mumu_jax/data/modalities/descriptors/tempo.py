"""A recording's tempo: the lag at which its onsets repeat, as `librosa.feature.tempo` finds it."""

import numpy as np
from jaxtyping import Float32, Float64

from mumu_jax.data.modalities.descriptors.samples import HOP_LENGTH, N_FFT

WINDOW_S = 8.0  # in which onsets repeat
USUAL_BPM, FASTEST_BPM = 120.0, 320.0  # the prior is Gaussian in octaves from the usual tempo, with a deviation of 1


def tempo(mel: Float32[np.ndarray, "frames mels"], sr_hz: int) -> float:
    """Return the tempo in beats a minute, from mel bands in dB; that of the prior alone if there is no onset."""
    onsets = onset_strength(mel)
    size = int(WINDOW_S * sr_hz) // HOP_LENGTH
    lags = np.arange(1, size)
    bpm = 60 * sr_hz / HOP_LENGTH / lags
    prior = np.where(bpm < FASTEST_BPM, -0.5 * np.log2(bpm / USUAL_BPM) ** 2, -np.inf)
    return float(bpm[np.argmax(np.log1p(1e6 * mean_autocorrelation(onsets, size)[1:]) + prior)])


def onset_strength(mel: Float32[np.ndarray, "frames mels"]) -> Float64[np.ndarray, " frames"]:
    """Return the mean rise of the bands since the frame before, delayed by the half of a frame that looks ahead."""
    rises = np.maximum(np.diff(mel, axis=0), 0).mean(axis=1, dtype=np.float64)
    return np.pad(rises, (1 + N_FFT // (2 * HOP_LENGTH), 0))[: len(mel)]


def mean_autocorrelation(onsets: Float64[np.ndarray, " frames"], size: int) -> Float64[np.ndarray, " lags"]:
    """Return the mean over all frames of the autocorrelation of the `size` frames around each, which is 1 at lag 0.

    The mean is taken of the power spectra, before the one inverse transform.
    """
    n = len(onsets)
    padded = np.pad(onsets, size // 2, mode="linear_ramp", end_values=0)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    n_fft = min(factor << (2 * size // factor).bit_length() for factor in (1, 3, 5))  # large enough, and fast
    windowed = np.lib.stride_tricks.sliding_window_view(padded, size)[:n] * window
    energy = np.einsum("ij,ij->i", windowed, windowed)
    spectra = np.fft.rfft(windowed, n_fft, axis=1)
    weights = 1 / np.where(energy > np.finfo(np.float64).tiny, energy, 1) / n
    power = weights @ (spectra.real**2 + spectra.imag**2)
    return np.fft.irfft(power, n_fft)[:size]
