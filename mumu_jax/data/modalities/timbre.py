"""Timbre: a record a track, four statistics of the Million Song Dataset's 12 timbre coefficients.

Oramas et al. 2017, section 6.1 (TIMBRE-MLP).
"""

import os
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
from jaxtyping import Float, Float32

from mumu_jax.config import Config, TimbreSettings
from mumu_jax.data.manifest import Album, Rejected
from mumu_jax.data.modalities.base import Content, Read
from mumu_jax.data.modalities.values import Values
from mumu_jax.system.files import open_regular

DATASET = "analysis/segments_timbre"
N_COEFFICIENTS = 12
COLUMNS = tuple(
    f"{statistic} of timbre {i + 1}"
    for statistic in ("mean", "maximum", "variance", "norm")
    for i in range(N_COEFFICIENTS)
)
MOST_SEGMENTS = 1_000_000  # a song has about a thousand; a file may declare more than the memory holds


def read_timbre(path: Path) -> Float32[np.ndarray, " values"]:
    """Return [48]: mean, maximum, variance and l2 norm of each coefficient over the segments of an MSD `.h5` file.

    Raises Rejected on a file that is missing, cannot be read, has no segments or values that are not finite.
    """
    if not os.path.exists(path):
        raise Rejected("missing", "there is no such file")
    try:
        open_regular(path).close()
        with h5py.File(path, "r") as file:
            stored: Any = file[DATASET]
            shape = stored.shape
            if len(shape) != 2 or shape[1] != N_COEFFICIENTS or shape[0] > MOST_SEGMENTS:
                expected = f"up to {MOST_SEGMENTS:,} × {N_COEFFICIENTS} numbers"
                raise Rejected("unreadable", f"expected {DATASET} of {expected}, found {shape}")
            segments = np.asarray(stored[()], np.float64)
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise Rejected("unreadable", f"expected the HDF5 dataset {DATASET}: {error}") from error
    if not len(segments):
        raise Rejected("empty", f"{DATASET} has no segment")
    with np.errstate(over="ignore", invalid="ignore"):
        found = timbre_statistics(segments)
    if not np.isfinite(found).all():
        raise Rejected("nan", f"{DATASET} has values that are not finite, or too large")
    return found


def timbre_statistics(segments: Float[np.ndarray, "segments 12"]) -> Float32[np.ndarray, " values"]:
    """Return [48]: mean, maximum, variance and l2 norm of each column.  Oramas et al. 2017, section 6.1."""
    parts = (segments.mean(axis=0), segments.max(axis=0), segments.var(axis=0), np.linalg.norm(segments, axis=0))
    return np.concatenate(parts).astype(np.float32)


class Timbre(Values):
    """Timbre statistics of the Million Song Dataset."""

    name, item, settings, sections = "timbre", "track", TimbreSettings, ("timbre",)
    sees, files = "the timbre statistics of songs", ".h5"
    versions: ClassVar[dict[str, str]] = {"h5py": version("h5py")}
    shard_records, column_names = 4096, COLUMNS

    def inputs(self, album: Album, folder: Path) -> Iterator[tuple[str, Path | None]]:
        """Yield each track's id and `.h5` file."""
        return ((track.track_id, track.timbre) for track in album.tracks)

    def read(self, source: Path, settings: TimbreSettings) -> Content:
        return Content({"timbre": read_timbre(source)})

    def is_one(self, path: Path) -> bool:
        return path.suffix.lower() == ".h5"

    def read_file(self, path: Path, config: Config, fitted: None) -> Read:
        """Compute the statistics of a track of the Million Song Dataset."""
        return Read(path, [{"timbre": read_timbre(path)}])

    def describe(self, config: Config, fitted: None) -> tuple[str, str]:
        return (
            "float32 [n, 48]: of each track the mean, maximum, variance and l2 norm over its segments, 12 numbers "
            "each, of the 12 timbre coefficients of the Million Song Dataset (`analysis/segments_timbre`)."
        ), "timbre = np.zeros((2, 48), np.float32)"
