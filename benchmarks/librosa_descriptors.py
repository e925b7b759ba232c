"""The numbers of `modalities/descriptors` by plain calls of librosa, which the benchmark and the tests compare with.

The calls are those of Bahuleyan 2018's code, with `rms` and `tempo` under today's names, a last bandwidth of order 4,
and no rounding.
"""

import librosa
import numpy as np
import scipy.stats


def plain_descriptors(y: np.ndarray, sr_hz: int) -> np.ndarray:
    """Return the 97 numbers of samples."""
    feature, higher, raised = librosa.feature, y + np.float32(1e-4), y + np.float32(0.01)
    parts = [
        [np.abs(y).mean(), y.std(), scipy.stats.skew(np.abs(y)), scipy.stats.kurtosis(y)],
        _statistics(feature.zero_crossing_rate(higher, frame_length=2048, hop_length=512)),
        _statistics(feature.rms(y=higher)),
        feature.tempo(y=y, sr=sr_hz),
        _statistics(feature.spectral_centroid(y=raised, sr=sr_hz)),
        *(_statistics(feature.spectral_bandwidth(y=raised, sr=sr_hz, p=p)) for p in (2, 3, 4)),
        _statistics(feature.spectral_contrast(y=y, sr=sr_hz, n_bands=6, fmin=200.0)),
        _statistics(feature.spectral_rolloff(y=raised, sr=sr_hz, roll_percent=0.85)),
        _statistics(feature.mfcc(y=y, sr=sr_hz, n_mfcc=20)),
        _statistics(feature.chroma_stft(y=y, sr=sr_hz, hop_length=1024)),
    ]
    return np.concatenate(parts)


def _statistics(frames: np.ndarray) -> np.ndarray:
    return np.concatenate([frames.mean(axis=1), frames.std(axis=1)])
