"""The feature vectors of a run's albums: extracted from its networks, and kept as an `.npz` file."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from mumu_jax.data.manifest import SPLITS
from mumu_jax.data.store.records import Dataset
from mumu_jax.errors import UserError
from mumu_jax.runs.folder import TrainedRun
from mumu_jax.runs.prediction import Watch, see_items
from mumu_jax.system.files import read_npz, write_npz

SUFFIX = ".npz"


@dataclass(frozen=True)
class Features:
    """The vectors of the albums of all splits, those of one split side by side; `run` is the run's fingerprint.

    A vector is what the album network sees: the mean over the album's tracks, or the penultimate vector of its text,
    cover or fusion.
    """

    album_ids: list[str]
    splits: list[str]
    labels: UInt8[np.ndarray, "albums labels"]
    vectors: Float32[np.ndarray, "albums d"]
    label_names: list[str]
    run: str


def extract_features(run: TrainedRun, dataset: Dataset, name: str, watch: Watch = iter) -> Features:
    """Return the vectors of the albums of all splits; `name` is the run's fingerprint."""
    records = {split: dataset.split(split) for split in SPLITS}
    albums = {split: see_items(run, one, watch)[1] for split, one in records.items() if len(one)}
    return Features(
        [album_id for one in albums.values() for album_id in one.album_ids],
        [split for split, one in albums.items() for _ in one.album_ids],
        np.concatenate([one.labels for one in albums.values()]),
        np.concatenate([one.vectors for one in albums.values()]),
        [label.name for label in run.labels],
        name,
    )


def check_format(path: Path) -> None:
    """Raise UserError if the name does not end as `write_features` needs it."""
    if path.suffix != SUFFIX:
        raise UserError(f"--features={path} ends in {path.suffix or 'nothing'!r}; give a file that ends in {SUFFIX}")


def write_features(path: Path, features: Features) -> None:
    """Write the vectors, whole or not at all; the same features give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_npz(path, **{field.name: getattr(features, field.name) for field in dataclasses.fields(features)})


def read_features(path: Path) -> Features:
    """Read what `write_features` wrote; raises UserError on anything else."""
    check_format(path)
    remedy = "write it again (mumu_jax.evaluate --features)"
    arrays = read_npz(path, remedy)
    try:
        lists = {name: arrays[name].tolist() for name in ("album_ids", "splits", "label_names", "run")}
        return Features(labels=arrays["labels"], vectors=arrays["vectors"], **lists)
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is not a file of features ({error!r}); {remedy}") from error
