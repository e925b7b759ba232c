"""Prepared audio: a record a track, its log-CQT as `[frames, bins]` float16 dB."""

import os
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import tensorflow_datasets as tfds

from mumu_jax.config import AudioSettings
from mumu_jax.data.manifest import Album
from mumu_jax.data.modalities.audio import patches
from mumu_jax.data.modalities.audio.cqt import banks_of
from mumu_jax.data.modalities.audio.decode import read_track
from mumu_jax.data.modalities.base import Content, Modality, path_state
from mumu_jax.data.rejected import Rejected


def _inputs(album: Album, folder: Path) -> Iterator[tuple[str, Path]]:
    return ((track.track_id, track.audio) for track in album.tracks)


def _read(path: Path, settings: AudioSettings) -> Content | Rejected:
    found = read_track(path, settings)
    if isinstance(found, Rejected):
        return found
    cqt, seconds, silent = found
    return Content({"cqt": cqt}, {"seconds": seconds, "silent": int(silent)})


def _features(settings: AudioSettings) -> dict[str, Any]:
    shape, encoding = (None, settings.n_bins), tfds.features.Encoding.BYTES
    return {"cqt": tfds.features.Tensor(shape=shape, dtype=np.float16, encoding=encoding)}


def _encode(fields: Mapping[str, Any]) -> dict[str, list[bytes]]:
    return {"cqt": [fields["cqt"].tobytes()]}


def _decode(fields: Mapping[str, list[Any]], settings: AudioSettings) -> dict[str, Any]:
    return {"cqt": np.frombuffer(fields["cqt"][0], np.float16).reshape(-1, settings.n_bins)}


MODALITY = Modality(
    name="audio",
    item="track",
    settings=AudioSettings,
    inputs=_inputs,
    read=_read,
    exists=os.path.exists,
    state=path_state,
    features=_features,
    encode=_encode,
    decode=_decode,
    versions={
        "libsndfile": soundfile.__libsndfile_version__,
        "soxr": version("soxr"),
    },
    shard_records=256,  # 32 MB of 30 s tracks
    counts=("silent", "seconds"),
    later_settings=frozenset({"patch_frames", "patch_seed"}),  # patches are cut when the records are read
    check=banks_of,
    statistics=patches.fit_statistics,
)
