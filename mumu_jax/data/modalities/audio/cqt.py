"""The power of librosa's constant-Q transform, with filters that are built once instead of for every recording.

Octave by octave from the top, a bank of filters is applied, then the signal's rate is halved for the octave below.  A
frame's response is linear in its samples, so that a bank is one matrix, and an octave is one matrix product.
Schörkhuber & Klapuri 2010.  The reference is `librosa.cqt` with its defaults (soxr HQ, Hann windows, 1 % of each
filter's spectrum dropped).  It is not imported, because that takes a second and 200 MB in every process.

librosa 1.0 halves the rate in fewer cases than 0.11.  `AudioSettings.cqt` says which form is computed; for most
settings, the default ones among them, both are the same.
"""

from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import soxr
from jaxtyping import Complex, Float32, Float64

from mumu_jax.config import AudioSettings
from mumu_jax.errors import UserError

SPARSITY = 0.01  # librosa drops the smallest values that make up this share of a filter's spectrum
_HANN_BINS = 1.50018310546875  # noise bandwidth of the Hann window, in bins of the Fourier transform
# By form: the rate is halved only if the next octave ends at or below this share of it.
_HIGHEST_SHARE = {"librosa-0.11": np.inf, "librosa-1.0": 0.2}


class Octave(NamedTuple):
    """The filters of an octave, for the signal of the octave above, at half its rate if `halve`."""

    halve: bool
    hop: int  # samples a frame, at the octave's rate
    filters: Float64[np.ndarray, "taps parts"]  # real parts, then imaginary parts, lowest bin first


def cqt_power(y: Float32[np.ndarray, " samples"], settings: AudioSettings) -> Float32[np.ndarray, "frames bins"]:
    """Return |C|² for C = `librosa.cqt(y, …)`, time first, to float32 rounding.  Raises UserError as `banks_of`."""
    factor, octaves = banks_of(settings)
    if factor > 1:
        y = _decimate(y, factor)
    powers = []
    for octave in octaves:
        if octave.halve:
            y = _decimate(y, 2)
        real, imaginary = np.split(_frames(y, octave) @ octave.filters, 2, axis=1)
        powers.append((real * real + imaginary * imaginary).astype(np.float32))
    n_frames = min(map(len, powers))
    return np.concatenate([power[:n_frames] for power in reversed(powers)], axis=1)


def banks_of(settings: AudioSettings) -> tuple[int, tuple[Octave, ...]]:
    """Return the factor by which to decimate the signal first, and all octaves, the highest first.

    Raises UserError if the highest filter would reach beyond half of `sr_hz`.
    """
    return _make_banks(
        sr_hz=settings.sr_hz,
        hop=settings.hop_length,
        fmin_hz=settings.fmin_hz,
        n_bins=settings.n_bins,
        bins_per_octave=settings.bins_per_octave,
        highest_share=_HIGHEST_SHARE[settings.cqt],
    )


def form_made_with(librosa: str, settings: AudioSettings) -> str:
    """Return the form of data that was prepared when the installed version of librosa still decided it.

    If both forms are the same for these settings, it is the default form.
    """
    old, new = "librosa-0.11", "librosa-1.0"
    if librosa.startswith("0."):
        return old
    halvings = {form: [octave.halve for octave in banks_of(replace(settings, cqt=form))[1]] for form in (old, new)}
    return old if halvings[old] == halvings[new] else new


@lru_cache
def _make_banks(
    sr_hz: float, hop: int, fmin_hz: float, n_bins: int, bins_per_octave: int, highest_share: float
) -> tuple[int, tuple[Octave, ...]]:
    freqs_hz = fmin_hz * 2 ** (np.arange(n_bins) / bins_per_octave)
    alpha = (4 ** (1 / bins_per_octave) - 1) / (4 ** (1 / bins_per_octave) + 1)  # bandwidth over frequency
    n_octaves = -(-n_bins // bins_per_octave)
    cutoff_hz = freqs_hz[-1] * (1 + 0.5 * _HANN_BINS * alpha)
    if cutoff_hz > sr_hz / 2:
        raise UserError(
            f"audio.n_bins is {n_bins}: the highest filter reaches {cutoff_hz:,.0f} Hz, beyond half of audio.sr_hz; "
            "set fewer bins, or a lower audio.fmin_hz"
        )
    n_early = max(0, int(np.ceil(np.log2(sr_hz / 2 / cutoff_hz))) - 2)
    n_early = min(n_early, max(0, (hop & -hop).bit_length() - n_octaves))
    factor = 2**n_early
    sr_hz, hop = sr_hz / factor, hop // factor
    gains = np.sqrt(freqs_hz * alpha / sr_hz)  # one over the square root of each filter's length
    octaves, halve = [], False
    for top in range(n_bins, 0, -bins_per_octave):
        bins = slice(max(0, top - bins_per_octave), top)
        if halve:
            sr_hz, hop, gains = sr_hz / 2, hop // 2, np.sqrt(2) * gains
        octaves.append(Octave(halve, hop, _bank(freqs_hz[bins], gains[bins], alpha, sr_hz)))
        halve = hop % 2 == 0 and bool(freqs_hz[bins.start - 1] <= highest_share * sr_hz)
    return factor, tuple(octaves)


def _bank(
    freqs_hz: Float64[np.ndarray, " bins"], gains: Float64[np.ndarray, " bins"], alpha: float, sr_hz: float
) -> Float64[np.ndarray, "taps parts"]:
    """Return Hann-windowed oscillations of 1 / alpha periods, restored from their sparse spectra."""
    lengths = sr_hz / (alpha * freqs_hz)
    n_fft = 2 ** int(np.ceil(np.log2(lengths[0])))
    spectra = np.stack([_spectrum(f / sr_hz, length, n_fft) for f, length in zip(freqs_hz, lengths, strict=True)])
    # The sum over the frequencies that are left is the response to an impulse at each sample of the frame.
    responses = np.fft.fft(np.pad(spectra, ((0, 0), (0, n_fft - spectra.shape[1]))), axis=1)
    responses = (responses * (gains * lengths / n_fft)[:, None]).T
    return np.concatenate((responses.real, responses.imag), axis=1)


def _spectrum(cycles: float, length: float, n_fft: int) -> Complex[np.ndarray, " frequencies"]:
    """Return the spectrum of a filter of L1 norm 1, centred in its frame; its smallest values are set to 0."""
    t = np.arange(-length // 2, length // 2)
    wave = np.exp(2j * np.pi * cycles * t) * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(len(t)) / len(t)))
    start = (n_fft - len(t)) // 2
    padded = np.pad(wave / np.abs(wave).sum(), (start, n_fft - len(t) - start))
    spectrum = np.fft.fft(padded)[: n_fft // 2 + 1]
    magnitudes = np.abs(spectrum)
    ascending = np.sort(magnitudes)
    threshold = ascending[np.argmin(np.cumsum(ascending / magnitudes.sum()) < SPARSITY)]
    return np.where(magnitudes >= threshold, spectrum, 0)


def _frames(y: Float32[np.ndarray, " samples"], octave: Octave) -> Float64[np.ndarray, "frames taps"]:
    """Cut overlapping frames as long as the filters, centred on every `hop`-th sample, with zeros beyond the ends."""
    n_fft = len(octave.filters)
    padded = np.pad(y, n_fft // 2)
    return np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(padded, n_fft)[:: octave.hop], np.float64)


def _decimate(y: Float32[np.ndarray, " samples"], factor: int) -> Float32[np.ndarray, " fewer"]:
    """Resample to a fraction of the rate, with the same energy; scaled here so that soxr rounds as in librosa."""
    size = -(-len(y) // factor)
    decimated = soxr.resample(y, factor, 1, "HQ")[:size]
    decimated /= np.sqrt(1 / factor)
    return np.pad(decimated, (0, size - len(decimated)))
