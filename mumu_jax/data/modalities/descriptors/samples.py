"""Descriptors of the samples themselves: moments, zero crossings, loudness."""

import numpy as np
from jaxtyping import Float32, Float64, Shaped

N_FFT, HOP_LENGTH = 2048, 512  # librosa's defaults: frame i is centred on sample 512 i
_ZERO = 1e-10  # librosa takes a smaller sample for 0


def moments(y: Float32[np.ndarray, " samples"]) -> list[float]:
    """Return the mean of |y|, the standard deviation of y, the skewness of |y| and the excess kurtosis of y.

    Skewness and kurtosis are biased, as in SciPy; 0 for samples that differ by rounding alone, which have none.
    """
    mean, _, skewness, _ = _four_moments(np.abs(y))
    _, std, _, kurtosis = _four_moments(y)
    return [mean, std, skewness, kurtosis]


def _four_moments(values: Float32[np.ndarray, " n"]) -> tuple[float, float, float, float]:
    """Return mean, standard deviation, skewness and excess kurtosis."""
    mean = float(values.mean(dtype=np.float64))
    deviations = values - np.float32(mean)
    std = float(np.sqrt((deviations * deviations).mean(dtype=np.float64)))
    if std <= np.finfo(np.float32).eps * abs(mean):
        return mean, std, 0.0, 0.0
    deviations /= np.float32(std)
    squares = deviations * deviations
    skewness = float((deviations * squares).mean(dtype=np.float64))
    return mean, std, skewness, float((squares * squares).mean(dtype=np.float64)) - 3


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
