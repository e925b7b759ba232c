"""Descriptors of each frame's spectrum: centroid, bandwidths, contrast, roll-off, mel-frequency cepstrum."""

from functools import lru_cache

import numpy as np
from jaxtyping import Complex128, Float32, Float64, Int

from mumu_jax.data.modalities.descriptors.samples import HOP_LENGTH, N_FFT
from mumu_jax.data.modalities.mel import window_and_bank

ORDERS = (2, 3, 4)  # of the bandwidths
N_CONTRASTS, CONTRAST_HZ, QUANTILE = 7, 200.0, 0.02
ROLLOFF = 0.85
N_MELS, N_MFCC = 128, 20
AMIN, RANGE_DB = 1e-10, 80.0  # librosa.power_to_db's
_BLOCK_FRAMES = 64  # what a core's cache holds


def power_spectra(
    y: Float32[np.ndarray, " samples"], offset: float
) -> tuple[Float32[np.ndarray, "frames bins"], Float32[np.ndarray, "frames bins"]]:
    """Return the power of the Fourier transform of each frame, with a Hann window, of y and of y + `offset`.

    Beyond the signal's ends are zeros.  A constant has no other bins than the first two in a frame that does not reach
    beyond them, so that few frames are transformed twice.
    """
    starts = np.arange(1 + len(y) // HOP_LENGTH) * HOP_LENGTH - N_FFT // 2
    at_ends = (starts < 0) | (starts + N_FFT > len(y))
    power, first_bins = _power(y, np.arange(len(starts)))
    raised = power.copy()
    raised[:, :2] = np.abs(first_bins + offset * np.array([N_FFT / 2, -N_FFT / 4])) ** 2
    raised[at_ends], _ = _power(y + np.float32(offset), np.flatnonzero(at_ends))
    return power, raised


def _power(
    y: Float32[np.ndarray, " samples"], which: Int[np.ndarray, " frames"]
) -> tuple[Float32[np.ndarray, "frames bins"], Complex128[np.ndarray, "frames 2"]]:
    """Return the power of some frames, and the two first bins of their Fourier transform.

    Computed in float64 as `librosa.stft`: in float32, a band without sound would be rounding noise.
    """
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(y, N_FFT // 2), N_FFT)[::HOP_LENGTH]
    power = np.empty((len(which), N_FFT // 2 + 1), np.float32)
    first_bins = np.empty((len(which), 2), np.complex128)
    for low in range(0, len(which), _BLOCK_FRAMES):
        block = slice(low, low + _BLOCK_FRAMES)
        spectrum = np.fft.rfft(frames[which[block]] * window, axis=1)
        power[block] = spectrum.real**2 + spectrum.imag**2
        first_bins[block] = spectrum[:, :2]
    return power, first_bins


def frequencies_hz(sr_hz: int) -> Float64[np.ndarray, " bins"]:
    """Return the frequency of each bin."""
    return np.linspace(0, sr_hz / 2, N_FFT // 2 + 1)


def centroid_and_bandwidths(
    magnitudes: Float32[np.ndarray, "frames bins"], sr_hz: int
) -> Float32[np.ndarray, "frames 4"]:
    """Return the mean frequency of each frame, weighted by magnitude, and the deviations of the ORDERS from it.

    The deviation of order p is (sum of weight · |f - centroid|^p)^(1/p), in Hz.
    """
    freqs_hz = frequencies_hz(sr_hz).astype(np.float32)
    result = np.zeros((len(magnitudes), 1 + len(ORDERS)), np.float32)
    for low in range(0, len(magnitudes), _BLOCK_FRAMES):
        block = slice(low, low + _BLOCK_FRAMES)
        total = magnitudes[block].sum(axis=1, keepdims=True)
        weights = magnitudes[block] / np.where(total > np.finfo(np.float32).tiny, total, 1)
        result[block, 0] = centroid = weights @ freqs_hz
        deviations = np.abs(freqs_hz - centroid[:, None])
        weights *= deviations
        for column, order in enumerate(ORDERS, 1):
            weights *= deviations
            result[block, column] = weights.sum(axis=1) ** (1 / order)
    return result


def contrast(magnitudes: Float32[np.ndarray, "frames bins"], sr_hz: int) -> Float32[np.ndarray, "frames 7"]:
    """Return the distance in dB of the loudest and the quietest bins in each of 7 bands, an octave each from 200 Hz on.

    Loudest and quietest are 2 % of a band, at least one bin.  As in librosa, decibels are ten times the logarithm of
    magnitudes, the first band is all below 200 Hz, bands begin one bin early and, but for the last, end one early.
    """
    peaks, valleys = np.empty((2, len(magnitudes), N_CONTRASTS), np.float32)
    for band, (low, high, n_extreme) in enumerate(_bands(sr_hz)):
        ascending = np.sort(magnitudes[:, low:high], axis=1)  # in vectors: faster than a partition
        valleys[:, band] = ascending[:, :n_extreme].mean(axis=1)
        peaks[:, band] = ascending[:, -n_extreme:].mean(axis=1)
    return decibels(peaks) - decibels(valleys)


@lru_cache
def _bands(sr_hz: int) -> tuple[tuple[int, int, int], ...]:
    """Return of each contrast's band the first bin, the bin behind the last, and how many bins are its extremes."""
    freqs_hz = frequencies_hz(sr_hz)
    edges_hz = [0.0, *(CONTRAST_HZ * 2.0 ** np.arange(N_CONTRASTS))]
    bands = []
    for i in range(N_CONTRASTS):
        (inside,) = np.nonzero((freqs_hz >= edges_hz[i]) & (freqs_hz <= edges_hz[i + 1]))
        is_last = i == N_CONTRASTS - 1
        low = inside[0] - (i > 0)
        end = len(freqs_hz) if is_last else inside[-1] + 1
        bands.append((int(low), int(end if is_last else end - 1), max(1, round(QUANTILE * (end - low)))))
    return tuple(bands)


def rolloff(magnitudes: Float32[np.ndarray, "frames bins"], sr_hz: int) -> Float64[np.ndarray, " frames"]:
    """Return the frequency of the first bin up to which a frame has 85 % of the sum of its magnitudes."""
    bins = np.empty(len(magnitudes), np.int64)
    for low in range(0, len(magnitudes), _BLOCK_FRAMES):
        block = slice(low, low + _BLOCK_FRAMES)
        sums = np.cumsum(magnitudes[block], axis=1)
        bins[block] = np.count_nonzero(sums < np.float32(ROLLOFF) * sums[:, -1:], axis=1)
    return bins * (sr_hz / N_FFT)


def mel_db(power: Float32[np.ndarray, "frames bins"], sr_hz: int) -> Float32[np.ndarray, "frames mels"]:
    """Return the power of 128 bands of Slaney's mel scale, in dB."""
    _, bank = window_and_bank(sr_hz, N_FFT, N_MELS, 0.0, sr_hz / 2, "slaney", "area")
    return decibels((bank @ power.T).T)


def mfcc(mel: Float32[np.ndarray, "frames mels"]) -> Float32[np.ndarray, "frames 20"]:
    """Return the first coefficients of the orthonormal cosine transform (II) over the bands."""
    return mel @ _cosines()


@lru_cache
def _cosines() -> Float32[np.ndarray, "mels 20"]:
    angles = np.pi / N_MELS * (np.arange(N_MELS)[:, None] + 0.5) * np.arange(N_MFCC)
    scale = np.where(np.arange(N_MFCC) == 0, np.sqrt(1 / N_MELS), np.sqrt(2 / N_MELS))
    return (np.cos(angles) * scale).astype(np.float32)


def decibels(power: Float32[np.ndarray, "frames bins"]) -> Float32[np.ndarray, "frames bins"]:
    """Return `librosa.power_to_db`: 10 log10, of at least 1e-10, and at most 80 dB below the largest."""
    levels = np.float32(10) * np.log10(np.maximum(power, np.float32(AMIN)))
    return np.maximum(levels, levels.max() - np.float32(RANGE_DB))
