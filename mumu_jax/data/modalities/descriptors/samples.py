"""Descriptors of the samples themselves: moments, zero crossings, loudness."""

import numpy as np
from jaxtyping import Float32, Float64, Shaped

N_FFT, HOP_LENGTH = 2048, 512  # librosa's defaults: frame i is centred on sample 512 i
_ZERO = 1e-10  # librosa takes a smaller sample for 0


def moments(y: Float32[np.ndarray, " samples"]) -> list[float]:
    """Return the mean of |y|, the standard deviation of y, the skewness of |y| and the excess kurtosis of y."""
    samples = y.astype(np.float64)
    magnitudes = np.abs(samples)
    return [
        float(magnitudes.mean()),
        float(samples.std()),
        _standardised_moment(magnitudes, 3),
        _standardised_moment(samples, 4) - 3,
    ]


def _standardised_moment(values: Float64[np.ndarray, " n"], order: int) -> float:
    """Return the third or fourth central moment over that power of the deviation, biased as in SciPy.

    Values that differ by float32's rounding alone have none: 0 for the third, and 3, a Gaussian's, for the fourth.
    """
    mean = values.mean()
    deviations = values - mean
    squares = deviations * deviations
    variance = squares.mean()
    if np.sqrt(variance) <= np.finfo(np.float32).eps * abs(mean):
        return 0.0 if order == 3 else 3.0
    return float((squares @ (deviations if order == 3 else squares)) / len(values) / variance ** (order / 2))


def zero_crossing_rate(y: Float32[np.ndarray, " samples"]) -> Float64[np.ndarray, " frames"]:
    """Return the share of a frame's samples whose sign differs from that of the sample before, in the same frame.

    Beyond its ends the signal stays as it is, without crossings.
    """
    is_negative = y < -_ZERO
    crossings = _padded(np.concatenate(([False], is_negative[1:] != is_negative[:-1])))
    sums = _sums_of_frames(crossings)
    return (sums - crossings[::HOP_LENGTH][: len(sums)]) / N_FFT


def rms(y: Float32[np.ndarray, " samples"]) -> Float64[np.ndarray, " frames"]:
    """Return the root mean square of each frame.  Beyond its ends the signal is 0."""
    return np.sqrt(_sums_of_frames(_padded(y * y)) / N_FFT)


def _padded(values: Shaped[np.ndarray, " samples"]) -> Shaped[np.ndarray, " more"]:
    """Return as many values as the frames have, with zeros for what they have beyond the ends."""
    n_frames = 1 + len(values) // HOP_LENGTH
    return np.pad(values, N_FFT // 2)[: N_FFT + (n_frames - 1) * HOP_LENGTH]


def _sums_of_frames(padded: Shaped[np.ndarray, " more"]) -> Float64[np.ndarray, " frames"]:
    """Return the sum over each frame: of the four hops that it consists of."""
    hops = padded.reshape(-1, HOP_LENGTH).sum(axis=1)
    return np.convolve(hops.astype(np.float64), np.ones(N_FFT // HOP_LENGTH), "valid")
