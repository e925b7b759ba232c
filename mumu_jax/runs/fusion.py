"""Late fusion: a run keeps the feature vectors of other runs, and sees an album as its vectors side by side.

Oramas et al. 2017, sections 5.4 and 6.4.  A fusion needs the other runs only to tag:

fusion.json      by modality the run that its vectors are of, and the labels and albums of the data
features/*.npz   by modality the vectors of all albums that have it
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from mumu_jax.config import Config
from mumu_jax.data.manifest import SPLITS, albums_sha256, read_manifest
from mumu_jax.data.modalities.inputs import Inputs
from mumu_jax.data.modalities.vectors import FUSION, Kept, Source, folder_of, read_kept
from mumu_jax.data.store.pairs import open_dataset
from mumu_jax.data.store.records import Dataset, HeldRecords, Records, read_albums, sha256_of_arrays
from mumu_jax.errors import UserError
from mumu_jax.runs.folder import TrainedRun, check_same_settings, difference_of_data, load_run
from mumu_jax.runs.prediction import Watch, see_items
from mumu_jax.system import processes
from mumu_jax.system.files import only_one, read_npz, sha256_of, write_json, write_npz
from mumu_jax.system.lines import print_remark


@dataclass(frozen=True)
class Fused(Dataset):
    """Albums with a joined vector each: a data set that is held in memory."""

    records: dict[str, list[dict[str, Any]]]  # by split

    def split(self, name: str) -> Records:
        """Return the albums of `train`, `val` or `test`."""
        return HeldRecords(self.records[name])


def open_data(config: Config, data_dir: Path, workdir: Path) -> Dataset:
    """Open what the run in `workdir` sees: the data prepared in `data_dir`, or, of a fusion, the vectors it keeps.

    Raises UserError if that is missing or made from other albums, and on whatever `open_prepared` refuses.
    """
    if Inputs.unfitted(config).prepared:
        return open_dataset(config, data_dir)
    kept = read_kept(workdir)
    check_data(kept, workdir, data_dir)
    features = {}
    for name, source in kept.sources.items():
        path = _features_file(workdir, name)
        if not path.exists() or sha256_of(path) != source.sha256:
            raise UserError(f"{path} is not what was kept there; restore it, or train again in another --workdir")
        features[name] = read_features(path)
    width = sum(source.width for source in kept.sources.values())
    content = [[name, source.fingerprint, source.sha256] for name, source in kept.sources.items()]
    return Fused(
        name=config.fusion.modalities,
        item="album",
        folder=workdir / "features",
        labels=kept.labels,
        mean=np.zeros(width, np.float32),
        std=np.ones(width, np.float32),
        albums_sha256=kept.albums_sha256,
        checksum=hashlib.sha256(json.dumps(content).encode()).hexdigest(),
        records=join(features, config.fusion.missing),
    )


# --- the vectors of a run's albums --------------------------------------------------------------------------


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


def extract_features(run: TrainedRun, dataset: Dataset, watch: Watch = iter) -> Features:
    """Return the vectors of the albums of all splits."""
    records = {split: dataset.split(split) for split in SPLITS}
    albums = {split: see_items(run, one, watch)[1] for split, one in records.items() if len(one)}
    return Features(
        album_ids=[album_id for one in albums.values() for album_id in one.album_ids],
        splits=[split for split, one in albums.items() for _ in one.album_ids],
        labels=np.concatenate([one.labels for one in albums.values()]),
        vectors=np.concatenate([one.vectors for one in albums.values()]),
        label_names=[label.name for label in run.labels],
        run=run.fingerprint,
    )


@dataclass(frozen=True)
class Origin:
    """The run that a user's file of vectors is of: its modality, its folder, and that as seen from the file's.

    `data` is the checksum of the data, `sha256` that of the vectors.
    """

    modality: str
    folder: str
    relative: str
    data: str
    sha256: str


def origin_of(features: Features, run: TrainedRun, workdir: Path, dataset: Dataset, file: Path) -> Origin:
    """Return what a file of vectors says of the run in `workdir`, so that trees or a fusion on the file find it."""
    relative = os.path.relpath(workdir.absolute(), file.parent.absolute())
    sha256 = sha256_of_arrays(features.vectors)
    return Origin(run.config.modality, str(workdir.absolute()), relative, dataset.checksum, sha256)


def write_features(path: Path, features: Features, origin: Origin | None = None) -> None:
    """Write the vectors to an `.npz` file, whole or not at all; the same features give the same bytes.

    Files that a fusion keeps have no `origin`: it would be other data after the runs were moved.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_npz(path, **vars(features), **(vars(origin) if origin else {}))


def read_features(path: Path) -> Features:
    """Read what `write_features` wrote; raises UserError on anything else."""
    arrays = _read_arrays(path, Features)
    lists = {name: arrays[name].tolist() for name in ("album_ids", "splits", "label_names", "run")}
    return Features(labels=arrays["labels"], vectors=arrays["vectors"], **lists)


def read_origin(path: Path) -> Origin:
    """Read what a file of vectors says of its run; raises UserError if it says nothing, as in earlier versions."""
    return Origin(**{name: str(array) for name, array in _read_arrays(path, Origin).items()})


def _read_arrays(path: Path, kind: type) -> dict[str, np.ndarray]:
    """Read the arrays of an `.npz` file that are named as the fields of a dataclass."""
    names = [field.name for field in dataclasses.fields(kind)]
    arrays = read_npz(path, _remedy(path), *names)
    return {name: arrays[name] for name in names}


def _remedy(path: Path) -> str:
    return f"write it again: python -m mumu_jax.evaluate --workdir=RUN --features={path}"


def run_of(path: Path) -> Path:
    """Return the folder of a run that is named by it, or by a file of its vectors; raises UserError if it has moved."""
    if not path.is_file():
        return path
    origin = read_origin(path)
    folder = folder_of(origin.folder, origin.relative, path.parent)
    if not folder.is_dir():
        raise UserError(
            f"{path} has the vectors of the run {folder}, which is no longer there; move it back, or name it: "
            f"--runs={origin.modality}=RUN"
        )
    return folder


# --- joining vectors ----------------------------------------------------------------------------------------


def join(features: Mapping[str, Features], missing: str) -> dict[str, list[dict[str, Any]]]:
    """Return by split a record of each album that has all modalities, or (`mask`) one: its labels and fused vector.

    Zeros replace a missing vector.  Says how many albums lack one.
    """
    rows_by_id = {name: {album_id: row for row, album_id in enumerate(one.album_ids)} for name, one in features.items()}
    with_zeros = {name: np.pad(one.vectors, ((0, 1), (0, 0))) for name, one in features.items()}  # the last row
    about = {
        album_id: (split, np.flatnonzero(labels))
        for one in features.values()
        for album_id, split, labels in zip(one.album_ids, one.splits, one.labels, strict=True)
    }
    records = {}
    for split in SPLITS:
        album_ids = [album_id for album_id, (its_split, _) in about.items() if its_split == split]
        rows = {name: np.array([by_id.get(i, -1) for i in album_ids], int) for name, by_id in rows_by_id.items()}
        absent = {name: of_modality == -1 for name, of_modality in rows.items()}
        incomplete = np.any(list(absent.values()), axis=0)
        if incomplete.any() and processes.is_main():
            said = ", ".join(f"{n} without {name}" for name, of_modality in absent.items() if (n := of_modality.sum()))
            treatment = "masked: zeros replace the vector" if missing == "mask" else "dropped"
            counts = f"{incomplete.sum()} of {len(album_ids)} albums lack a modality"
            print_remark(f"{split}: {counts} ({said}) and are {treatment}")
        chosen = np.flatnonzero(~incomplete | (missing == "mask"))
        vectors = fuse([with_zeros[name][of_modality[chosen]] for name, of_modality in rows.items()])
        records[split] = [
            {"album_id": album_ids[i], "labels": about[album_ids[i]][1], "vector": vector}
            for i, vector in zip(chosen, vectors, strict=True)
        ]
    return records


def fuse(parts: Sequence[Float32[np.ndarray, "albums _"]]) -> Float32[np.ndarray, "albums width"]:
    """Join each modality's l2-normalised vectors side by side; a vector of zeros stays one.  Section 5.4."""
    lengths = [np.linalg.norm(part, axis=1, keepdims=True) for part in parts]
    return np.concatenate(
        [part / np.where(length == 0, 1, length) for part, length in zip(parts, lengths, strict=True)], axis=1
    )


# --- what a fusion keeps of its runs ------------------------------------------------------------------------


def keep_features(
    config: Config, runs: Mapping[str, Path] | None, data_dir: Path | None, workdir: Path, watch: Watch = iter
) -> Path:
    """Copy the feature vectors of `runs` into the fusion's folder unless they are there; return their data folder.

    A run is named by its folder, or by a file of its vectors, which then need not be computed.  `data_dir` is the
    current folder of the runs' data; by default the one of their training.  Raises UserError if runs do not fit one
    another or the data, or if others are kept.
    """
    check_same_settings(workdir, config)
    if processes.any_of_all((workdir / FUSION).exists())[0]:
        return _check_kept(config, runs or {}, data_dir, workdir)
    if runs is None:
        wanted = ",".join(f"{name}=RUN" for name in config.fusion.names)
        raise UserError(f"{config.name} joins the vectors of trained runs; name their folders: --runs={wanted}")
    files = {name: path for name, path in runs.items() if path.is_file()}
    runs = {name: run_of(path) for name, path in runs.items()}
    opened = {name: _open_run_of(name, path, data_dir) for name, path in runs.items()}
    first, dataset = next(iter(opened.values()))
    data_dir = data_dir or first.data_dir
    for name, (_, other) in opened.items():
        check_same_data(other, runs[name], dataset, next(iter(runs.values())))
    read_albums(dataset, data_dir)
    features = {
        name: _read_same(files[name], run, of_run) if name in files else extract_features(run, of_run, watch)
        for name, (run, of_run) in opened.items()
    }

    def write() -> None:
        with only_one(workdir, "training"):
            sources = {name: _keep(workdir, name, runs[name].absolute(), one) for name, one in features.items()}
            kept = Kept(str(data_dir.absolute()), dataset.albums_sha256, dataset.labels, sources)
            write_json(workdir / FUSION, dataclasses.asdict(kept))

    processes.main_first(write, str(workdir))
    return data_dir


def _read_same(path: Path, run: TrainedRun, dataset: Dataset) -> Features:
    """Read a file of vectors; raises UserError unless they are what `extract_features` returns."""
    features, origin = read_features(path), read_origin(path)
    for same, found in (
        (features.run == run.fingerprint, f"it is of the run {features.run}, which now is {run.fingerprint}"),
        (origin.data == dataset.checksum, f"it is of other data than {dataset.folder}"),
        (origin.sha256 == sha256_of_arrays(features.vectors), "its vectors were changed"),
    ):
        if not same:
            raise UserError(f"{path} has not the vectors of the run: {found}; {_remedy(path)}")
    return features


def _open_run_of(name: str, path: Path, data_dir: Path | None) -> tuple[TrainedRun, Dataset]:
    """Open a run of a modality and the data that it was trained on; raises UserError if they do not fit."""
    run, dataset = open_source(path, data_dir)
    if run.config.modality != name:
        raise UserError(
            f"--runs: {name}={path} is a run of {run.config.modality} ({run.config.name}); name one of {name}"
        )
    return run, dataset


def open_source(path: Path, data_dir: Path | None = None) -> tuple[TrainedRun, Dataset]:
    """Open a run and the data that it was trained on, which may be elsewhere; raises UserError if it has changed."""
    run = load_run(path)
    dataset = open_data(run.config, data_dir or run.data_dir, path)
    if dataset.checksum != run.data_checksum:
        difference = difference_of_data(path, run.data_dir, data_dir or run.data_dir)
        raise UserError(f"{difference}; train it again on that data, or give the --data_dir that it was trained on")
    return run, dataset


def check_same_data(dataset: Dataset, run: Path, expected: Dataset, first: Path) -> None:
    """Raise UserError unless the data of a run has the labels and albums of the first run's."""
    for what, same in (
        ("labels", dataset.labels == expected.labels),
        ("albums, splits or genres", dataset.albums_sha256 == expected.albums_sha256),
    ):
        if not same:
            raise UserError(
                f"{run} was trained on other {what} ({dataset.folder}) than {first} ({expected.folder}); train both on "
                "the same data"
            )


def _keep(workdir: Path, name: str, run: Path, features: Features) -> Source:
    """Write the vectors of a modality's run, and return what fusion.json says of it."""
    path = _features_file(workdir, name)
    write_features(path, features)
    relative = os.path.relpath(run, workdir.absolute())
    return Source(str(run), features.run, features.vectors.shape[1], sha256_of(path), relative)


def _check_kept(config: Config, runs: Mapping[str, Path], data_dir: Path | None, workdir: Path) -> Path:
    """Return the folder of the data whose vectors are kept.

    Raises UserError if the vectors are of other modalities, runs or data, or if a run has changed; it may be gone.
    """
    kept, names = read_kept(workdir), config.fusion.names
    if list(kept.sources) != names:
        joined = ", ".join(kept.sources)
        raise UserError(f"{workdir} keeps the vectors of {joined}, not of {', '.join(names)}; give another --workdir")
    for name, path in runs.items():
        source, is_file = kept.sources[name], path.is_file()
        is_there = is_file or (path / "config.json").exists()
        found = (read_features(path).run,) if is_file else load_run(path).names if is_there else ("missing",)
        if source.fingerprint not in found and (is_there or str(path.absolute()) != source.path):
            raise UserError(
                f"{workdir} keeps the vectors of {name}={source.path} ({source.fingerprint}), not of {path} "
                f"({found[0]}); leave --runs out to go on with those, or give another --workdir"
            )
    if data_dir:
        check_data(kept, workdir, data_dir)
    return data_dir or Path(kept.data_dir)


def check_data(kept: Kept, workdir: Path, data_dir: Path) -> None:
    """Raise UserError unless the vectors kept in `workdir` are of the albums of `data_dir`."""
    if str(data_dir.absolute()) == kept.data_dir:  # which may be gone: a fusion no longer needs it
        return
    if albums_sha256(read_manifest(data_dir / "manifest.jsonl")) != kept.albums_sha256:
        raise UserError(
            f"{workdir} keeps the feature vectors of {kept.data_dir}, and {data_dir} has other albums, splits or "
            "genres; leave --data_dir (and $MUMU_DATA_DIR) out, or train a fusion on that data in another --workdir"
        )


def _features_file(workdir: Path, name: str) -> Path:
    return workdir / "features" / f"{name}.npz"
