"""Descriptors: a record a track, 97 classic numbers of its sound.  Bahuleyan 2018 (arXiv 1804.01149).

The numbers are librosa's, from one Fourier transform for all of them where librosa makes one for each; librosa itself
takes a second and 200 MB in every process.  Signals and parameters are those of the author's code, but for the last
bandwidth: there it is that of order 3 again.  Nothing is rounded.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from mumu_jax.config import Config, DescriptorsSettings
from mumu_jax.data.modalities.audio.decode import transformed_excerpts
from mumu_jax.data.modalities.audio.recordings import SILENT, Recordings
from mumu_jax.data.modalities.base import Content, Read
from mumu_jax.data.modalities.descriptors import samples, spectra
from mumu_jax.data.modalities.descriptors.chroma import N_CHROMA, chroma
from mumu_jax.data.modalities.descriptors.tempo import tempo
from mumu_jax.data.modalities.values import Values

SILENT_STD = 1e-5  # of all samples: nobody hears less
MOMENTS = ("magnitude_mean", "std", "magnitude_skewness", "kurtosis")
SHARPNESS = ("centroid", *(f"bandwidth_{order}" for order in spectra.ORDERS))


def _several(name: str, n: int) -> tuple[str, ...]:
    return tuple(f"{name}_{i + 1}_{statistic}" for statistic in ("mean", "std") for i in range(n))


COLUMNS = (
    *(f"samples_{name}" for name in MOMENTS),
    *(f"{name}_{statistic}" for name in ("zero_crossing_rate", "rms") for statistic in ("mean", "std")),
    "tempo",
    *(f"{name}_{statistic}" for name in SHARPNESS for statistic in ("mean", "std")),
    *_several("contrast", spectra.N_CONTRASTS),
    *("rolloff_mean", "rolloff_std"),
    *_several("mfcc", spectra.N_MFCC),
    *_several("chroma", N_CHROMA),
)


def descriptors_of(y: Float32[np.ndarray, " samples"], sr_hz: int) -> Float32[np.ndarray, " 97"]:
    """Return the COLUMNS of an excerpt.

    The author adds 1e-4 to the samples before crossings and loudness are computed, which counts no crossings in
    silence, and 0.01 before centroid, bandwidths and roll-off, which brings these near 0 Hz in silence.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # samples of 1e30: the result is not finite, which is rejected
        power, raised = spectra.power_spectra(y, offset=0.01)
        raised = np.sqrt(raised)
        mel = spectra.mel_db(power, sr_hz)
        parts = (
            samples.moments(y),
            _mean_and_std(samples.zero_crossing_rate(y + np.float32(1e-4))),
            _mean_and_std(samples.rms(y + np.float32(1e-4))),
            [tempo(mel, sr_hz)],
            _mean_and_std(spectra.centroid_and_bandwidths(raised, sr_hz)).T.ravel(),
            _mean_and_std(spectra.contrast(np.sqrt(power), sr_hz)).ravel(),
            _mean_and_std(spectra.rolloff(raised, sr_hz)),
            _mean_and_std(spectra.mfcc(mel)).ravel(),
            _mean_and_std(chroma(power[::2], sr_hz)).ravel(),  # of every other frame: the author's hop is 1,024
        )
        return np.concatenate(parts).astype(np.float32)


def _mean_and_std(frames: np.ndarray) -> np.ndarray:
    return np.stack([frames.mean(axis=0, dtype=np.float64), frames.std(axis=0, dtype=np.float64)])


class Descriptors(Recordings, Values):
    """Songs as 97 numbers each; a song of several excerpts as the mean over them, which is a choice made here."""

    name, settings, sections = "descriptors", DescriptorsSettings, ("descriptors",)
    column_names = COLUMNS
    by_default = False  # the CQT is what most experiments see
    has_likeness, likeness_words = True, ("songs", "have the sound of")

    def read(self, source: Path, settings: DescriptorsSettings) -> Content:
        """Decode and describe a track."""
        values, seconds, silent = describe_track(source, settings)
        return Content({self.name: values}, {"seconds": seconds, "silent": int(silent)})

    def read_file(self, path: Path, config: Config, fitted: None) -> Read:
        """Decode and describe a song."""
        values, seconds, silent = describe_track(path, config.descriptors)
        return Read(path, [], seconds, str(SILENT)) if silent else Read(path, [{self.name: values}], seconds)

    def likeness(self, fields: Mapping[str, Any], settings: DescriptorsSettings) -> bytes:
        """Return a checksum of the numbers: copies of a file have the same one."""
        return hashlib.blake2b(fields[self.name].tobytes(), digest_size=16).digest()

    def alike(self, a: Sequence[bytes], b: Sequence[bytes]) -> Iterator[tuple[int, int]]:
        """Yield no pair: what sounds alike is found in the frames of other modalities, and copies by their bytes."""
        return iter(())

    def describe(self, config: Config, fitted: None) -> tuple[str, str]:
        """Describe the numbers."""
        return (
            f"float32 [n, {len(COLUMNS)}]: of each song, mono at {config.descriptors.sr_hz:,} Hz, the descriptors "
            f"{', '.join(COLUMNS)}, as librosa computes them; of one longer than {config.descriptors.excerpt_s:g} s "
            "their mean over excerpts of that length."
        ), f"descriptors = np.zeros((2, {len(COLUMNS)}), np.float32)"


def describe_track(path: Path, settings: DescriptorsSettings) -> tuple[Float32[np.ndarray, " 97"], float, bool]:
    """Return the mean over a file's excerpts, its duration in seconds, and True if it is silent.  Raises Rejected."""
    excerpts, seconds = transformed_excerpts(path, settings, lambda y: descriptors_of(y, settings.sr_hz))
    silent = all(values[COLUMNS.index("samples_std")] <= SILENT_STD for values in excerpts)
    return np.stack(excerpts).mean(axis=0, dtype=np.float64).astype(np.float32), seconds, silent
