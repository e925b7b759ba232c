"""Prepared covers: a record an album, the centre square of its cover in 8 bits."""

import os
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Float32

from mumu_jax.config import ImageSettings
from mumu_jax.data.manifest import Album, Rejected
from mumu_jax.data.modalities.base import Content, Modality, path_state
from mumu_jax.data.modalities.image.duplicates import likeness
from mumu_jax.data.modalities.image.read import read_image

# Of ImageNet's red, green and blue, 0 to 1: fb.resnet.torch's, and those that the published networks were trained with.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _inputs(album: Album, folder: Path) -> Iterator[tuple[str, Path | None]]:
    yield album.album_id, album.cover


def _read(path: Path, settings: ImageSettings) -> Content | Rejected:
    try:
        pixels = read_image(path, settings)
    except Rejected as rejected:
        return rejected
    return Content({"image": pixels}, likeness=likeness(pixels).hex())


def _shape(settings: ImageSettings) -> tuple[int, int, int]:
    return settings.side_px, settings.side_px, 3


def _features(settings: ImageSettings) -> dict[str, Any]:
    encoding = tfds.features.Encoding.BYTES
    return {"image": tfds.features.Tensor(shape=_shape(settings), dtype=np.uint8, encoding=encoding)}


def _encode(fields: Mapping[str, Any]) -> dict[str, list[bytes]]:
    return {"image": [fields["image"].tobytes()]}


def _decode(fields: Mapping[str, list[Any]], settings: ImageSettings) -> dict[str, Any]:
    return {"image": np.frombuffer(fields["image"][0], np.uint8).reshape(_shape(settings))}


def _statistics(
    records: Iterable[dict[str, Any]], settings: ImageSettings
) -> tuple[Float32[np.ndarray, "3"], Float32[np.ndarray, "3"]]:
    """Those of ImageNet, whatever the records, for pixels from 0 to 1."""
    return np.array(MEAN, np.float32), np.array(STD, np.float32)


MODALITY = Modality(
    name="image",
    item="album",
    settings=ImageSettings,
    inputs=_inputs,
    read=_read,
    exists=os.path.exists,
    state=path_state,
    features=_features,
    encode=_encode,
    decode=_decode,
    versions={"pillow": version("pillow"), "likeness": "1"},  # of `data/duplicates`: another number where it changes
    shard_records=384,  # 75 MB
    statistics=_statistics,
)
