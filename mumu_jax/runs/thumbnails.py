"""Thumbnails of a split's covers beside their feature vectors: `covers_<split>.npz`, from which figure 2 is drawn."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float16, Shaped, UInt8
from PIL import Image

from mumu_jax.compute.predict import SplitPredictions
from mumu_jax.data.store.records import Records
from mumu_jax.system.files import read_npz, write_npz

MAX_COVERS = 500
SIDE_PX = 64
_MOST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Thumbnails:
    """Albums of a split, chosen at random and in random order; `labels` are multi-hot, in the run's columns."""

    album_ids: Shaped[np.ndarray, " albums"]
    vectors: Float16[np.ndarray, "albums d"]
    covers: UInt8[np.ndarray, "albums side side 3"]
    labels: UInt8[np.ndarray, "albums labels"]


def choose_thumbnails(records: Records, predictions: SplitPredictions) -> Thumbnails:
    """Choose at most MAX_COVERS records of covers, always the same ones; `predictions` are of all the records."""
    rows = np.random.default_rng(0).permutation(len(records))[:MAX_COVERS]
    return Thumbnails(
        np.array(records.album_ids)[rows],
        np.clip(predictions.embedding[rows], -_MOST, _MOST).astype(np.float16),
        np.stack([_shrink(record["image"]) for record in records.read(rows)]),
        predictions.labels[rows],
    )


def _shrink(pixels: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "side side 3"]:
    return np.asarray(Image.fromarray(pixels).resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC))


def write_thumbnails(path: Path, thumbnails: Thumbnails) -> None:
    """Write the thumbnails, whole or not at all; the same ones give the same bytes."""
    write_npz(path, compressed=True, **vars(thumbnails))


def read_thumbnails(path: Path) -> Thumbnails:
    """Read what `write_thumbnails` wrote.  Raises UserError on anything else."""
    names = [field.name for field in dataclasses.fields(Thumbnails)]
    arrays = read_npz(path, "score the run again (mumu_jax.evaluate)", *names)
    return Thumbnails(**{name: arrays[name] for name in names})
