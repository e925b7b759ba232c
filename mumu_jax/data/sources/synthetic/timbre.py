"""Timbre of a made-up track in the file format of the Million Song Dataset."""

from pathlib import Path

import h5py
import numpy as np
import soundfile
from jaxtyping import Float
from scipy.fft import dct

SEGMENT_SAMPLES = 8192  # a third of a second: about as long as the dataset's own segments
BANDS_HZ = np.geomspace(60, 10_000, 25)
N_COEFFICIENTS = 12


def write_timbre(audio: Path, path: Path) -> None:
    """`analysis/segments_timbre` of an audio file: loudness, and the shape of the spectrum, a row a segment."""
    samples, sr_hz = soundfile.read(audio, dtype="float32", always_2d=True)
    with h5py.File(path, "w") as file:
        file.create_dataset("analysis/segments_timbre", data=segments_timbre(samples.mean(axis=1), sr_hz))


def segments_timbre(samples: Float[np.ndarray, " samples"], sr_hz: int) -> Float[np.ndarray, "segments 12"]:
    """The cepstrum of logarithmic bands, in dB: as the dataset's, a few numbers that go from coarse to fine."""
    n_segments = max(1, len(samples) // SEGMENT_SAMPLES)
    segments = np.resize(samples, (n_segments, SEGMENT_SAMPLES)) * np.hanning(SEGMENT_SAMPLES)
    power = np.abs(np.fft.rfft(segments)) ** 2
    edges = np.searchsorted(np.fft.rfftfreq(SEGMENT_SAMPLES, 1 / sr_hz), BANDS_HZ)
    bands = np.add.reduceat(power, edges, axis=1)[:, :-1]
    return np.asarray(dct(10 * np.log10(bands + 1e-6), norm="ortho", axis=1))[:, :N_COEFFICIENTS]
