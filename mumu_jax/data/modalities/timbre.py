"""Prepared timbre: a record a track, four statistics of the Million Song Dataset's 12 timbre coefficients.

Oramas et al. 2017, section 6.1 (TIMBRE-MLP).
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Float, Float32

from mumu_jax.config import TimbreSettings
from mumu_jax.data.manifest import Album, Rejected
from mumu_jax.data.modalities.base import Content, Modality, path_state

DATASET = "analysis/segments_timbre"
N_COEFFICIENTS = 12
N_VALUES = 4 * N_COEFFICIENTS
LEAST_STD = 1e-6  # a value that is the same in all training tracks is left as it is


def read_timbre(path: Path) -> Float32[np.ndarray, " values"]:
    """[48]: the mean, maximum, variance and l2 norm of each coefficient over the segments of an MSD `.h5` file.

    Raises Rejected on a file that is missing, cannot be read, has no segments or values that are not finite.
    """
    if not os.path.exists(path):
        raise Rejected("missing", "there is no such file")
    try:
        with h5py.File(path, "r") as file:
            found: Any = file[DATASET]
            segments = np.asarray(found[()], np.float64)
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise Rejected("unreadable", f"expected the HDF5 dataset {DATASET}: {error}") from error
    if segments.ndim != 2 or segments.shape[1] != N_COEFFICIENTS:
        raise Rejected("unreadable", f"expected {DATASET} of n × {N_COEFFICIENTS} numbers, found {segments.shape}")
    if not len(segments):
        raise Rejected("empty", f"{DATASET} has no segment")
    with np.errstate(over="ignore", invalid="ignore"):
        found = timbre_statistics(segments)
    if not np.isfinite(found).all():
        raise Rejected("nan", f"{DATASET} has values that are not finite, or too large")
    return found


def timbre_statistics(segments: Float[np.ndarray, "segments 12"]) -> Float32[np.ndarray, " values"]:
    """[48]: mean, maximum, variance, l2 norm of each column.  Oramas et al. 2017, section 6.1."""
    parts = (segments.mean(axis=0), segments.max(axis=0), segments.var(axis=0), np.linalg.norm(segments, axis=0))
    return np.concatenate(parts).astype(np.float32)


def _inputs(album: Album, folder: Path) -> Iterator[tuple[str, Path | None]]:
    return ((track.track_id, track.timbre) for track in album.tracks)


def _read(path: Path, settings: TimbreSettings) -> Content | Rejected:
    try:
        return Content({"timbre": read_timbre(path)})
    except Rejected as rejected:
        return rejected


def _features(settings: TimbreSettings) -> dict[str, Any]:
    encoding = tfds.features.Encoding.BYTES
    return {"timbre": tfds.features.Tensor(shape=(N_VALUES,), dtype=np.float32, encoding=encoding)}


def _encode(fields: Mapping[str, Any]) -> dict[str, list[bytes]]:
    return {"timbre": [fields["timbre"].tobytes()]}


def _decode(fields: Mapping[str, list[Any]], settings: TimbreSettings) -> dict[str, Any]:
    return {"timbre": np.frombuffer(fields["timbre"][0], np.float32).reshape(N_VALUES)}


def _statistics(
    records: Iterable[dict[str, Any]], settings: TimbreSettings
) -> tuple[Float32[np.ndarray, " values"], Float32[np.ndarray, " values"]]:
    """Mean and standard deviation of each value over the records, in float64; 0 and 1 without records."""
    rows = [record["timbre"] for record in records]
    values = np.array(rows, np.float64) if rows else np.array([[-1.0], [1.0]]) * np.ones(N_VALUES)
    std = values.std(axis=0)
    return values.mean(axis=0).astype(np.float32), np.where(std > LEAST_STD, std, 1).astype(np.float32)


MODALITY = Modality(
    name="timbre",
    item="track",
    settings=TimbreSettings,
    inputs=_inputs,
    read=_read,
    exists=os.path.exists,
    state=path_state,
    features=_features,
    encode=_encode,
    decode=_decode,
    versions={"h5py": version("h5py")},
    shard_records=4096,
    statistics=_statistics,
)
