"""The constants of a run: fitted on the training data before the first step, and kept in `constants.npz`."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8

from mumu_jax.compute.network import Constants, Standardisation
from mumu_jax.config import Config
from mumu_jax.data.loader import multi_hot
from mumu_jax.data.manifest import Album, Label
from mumu_jax.data.preparation.census import warning_of_few
from mumu_jax.data.store.pairs import parts_of
from mumu_jax.data.store.records import Dataset, read_albums
from mumu_jax.errors import UserError
from mumu_jax.objectives import make_objective
from mumu_jax.objectives.cosine import label_factors, ppmi
from mumu_jax.objectives.label_graph import fit_label_graph
from mumu_jax.runs.label_names import vectors_of_names
from mumu_jax.runs.settings import remedy_of_few
from mumu_jax.system.files import read_npz, write_npz
from mumu_jax.system.lines import print_remark

FILE = "constants.npz"
Seen = Bool[np.ndarray, " labels"]  # the labels with a positive in training


def fit_constants(config: Config, dataset: Dataset, data_dir: Path) -> tuple[Constants, Seen]:
    """Return the constants and which labels occur in training; warns of labels that do not.

    The objective is fitted on all albums of train and validation, with the modality or without (Oramas et al. 2017,
    section 6).
    """
    objective = make_objective(config.target)
    every = read_albums(dataset, data_dir)
    albums = [album for album in every if album.split in ("train", "val")]
    if objective.single_label:
        needing = f"config.target.kind={config.target.kind!r}"
        check_single_label(every, data_dir, needing, "train with 'logistic' or 'cosine'")
    labels = _multi_hot_labels(albums, dataset.labels)
    train, val = ({*dataset.split(split).album_ids} for split in ("train", "val"))
    seen = np.asarray(labels[[album.album_id in train for album in albums]].any(axis=0))
    in_train, in_val = ([album for album in albums if album.album_id in ids] for ids in (train, val))
    if not config.model.weights and (warning := warning_of_few(in_train, in_val, remedy_of_few(config))):
        print_remark(f"warning: {warning}")
    try:
        fitted = {name: np.asarray(array) for name, array in objective.fit(labels).items()}
    except ValueError as error:
        raise UserError(f"{data_dir}: {error} (an experiment whose name ends in _logistic)") from error
    if config.target.head == "graph":
        in_training = labels[[album.album_id in train for album in albums]]
        fitted |= fit_label_graph(in_training, _features_of_labels(in_training, dataset.labels, config, data_dir))
    targeted = objective.has_target(len(seen), fitted)
    _warn(f"are on no training album with {dataset.name}: {objective.unseen}", dataset, ~seen & targeted)
    _warn(objective.untargeted, dataset, ~targeted)
    parts = parts_of(dataset, config)
    inputs = {name: standardisation(parts[name], config.data.standardise) for name in config.inputs}
    return Constants(inputs, fitted), seen


def _features_of_labels(
    multi_hot_labels: Shaped[np.ndarray, "albums labels"], labels: Sequence[Label], config: Config, data_dir: Path
) -> Float[np.ndarray, "labels d"]:
    """Return what the graph's nodes are described by: vectors of their names, or their factors in training."""
    if config.names_labels:
        return vectors_of_names([label.name for label in labels], config)
    try:
        return np.asarray(label_factors(ppmi(multi_hot_labels), config.target.n_factors))
    except ValueError as error:
        why = str(error).partition("; ")[0]
        raise UserError(f"{data_dir}: {why}; train with config.target.head='dense'") from error


def standardisation(dataset: Dataset, unit: str) -> Standardisation:
    """Return the prepared mean and standard deviation of each position, or of each bin over all frames of a patch."""
    mean, std = dataset.mean, dataset.std
    if unit == "bin" and mean.ndim == 2:
        mean_square = (std.astype(np.float64) ** 2 + mean.astype(np.float64) ** 2).mean(axis=0)
        mean = mean.mean(axis=0, dtype=np.float64)
        mean, std = mean.astype(np.float32), np.sqrt(mean_square - mean**2).astype(np.float32)
    return Standardisation(mean, std)


def check_single_label(albums: Sequence[Album], data_dir: Path, needing: str, instead: str = "") -> None:
    """Raise UserError unless each album has one genre, and not all the same; `needing` is what needs that.

    `instead` is what else could be done, after "or".
    """
    if len({genre for album in albums for genre in album.genres}) < 2:
        raise UserError(f"all albums of {data_dir} have the same genre; {needing} needs several")
    for album in albums:
        if len(album.genres) != 1:
            raise UserError(
                f"album {album.album_id!r} of {data_dir} has {len(album.genres)} genres, and {needing} needs one each; "
                f"give data of one genre an album{instead and f', or {instead}'}"
            )


def write_constants(workdir: Path, constants: Constants, seen: Seen) -> None:
    """Write the constants to the run's folder."""
    arrays: dict[str, Any] = {}
    for name, of_input in constants.inputs.items():
        mean, std = _names_of(name, constants.inputs)
        arrays |= {mean: of_input.mean, std: of_input.std}
    write_npz(workdir / FILE, seen=seen, **arrays, **constants.fitted)


def read_constants(workdir: Path, config: Config) -> tuple[Constants, Seen]:
    """Read what `write_constants` wrote; raises UserError if it is missing or damaged."""
    names = {name: _names_of(name, config.inputs) for name in config.inputs}
    of_inputs = (array for of_input in names.values() for array in of_input)
    arrays = read_npz(workdir / FILE, "restore it, or use another --workdir", "seen", *of_inputs)
    inputs = {name: Standardisation(arrays.pop(mean), arrays.pop(std)) for name, (mean, std) in names.items()}
    seen = arrays.pop("seen")
    return Constants(inputs, arrays), seen


def _names_of(modality: str, modalities: Collection[str]) -> tuple[str, str]:
    """Return the names of an input's arrays, mean and standard deviation; of the only one without its modality."""
    prefix = f"{modality}." if len(modalities) > 1 else ""
    return f"{prefix}mean", f"{prefix}std"


def _multi_hot_labels(albums: Sequence[Album], labels: Sequence[Label]) -> UInt8[np.ndarray, "albums labels"]:
    column = {label.name: i for i, label in enumerate(labels)}
    unknown = sorted({genre for album in albums for genre in album.genres} - set(column))
    if unknown:
        raise UserError(f"the manifest has the genre {unknown[0]!r}, the prepared data has not; prepare it again")
    return np.array([multi_hot([column[genre] for genre in album.genres], len(column)) for album in albums])


def _warn(what: str, dataset: Dataset, chosen: Bool[np.ndarray, " labels"]) -> None:
    names = [label.name for label, is_one in zip(dataset.labels, chosen, strict=True) if is_one]
    if names:
        shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
        print_remark(f"warning: {len(names)} of {len(dataset.labels)} labels ({shown}) {what}")
