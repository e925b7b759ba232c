"""The published splits: whether the lists are there, agree with each other and with the albums."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from tokenize import TokenError

import numpy as np

from mumu_jax.data.manifest import SPLITS
from mumu_jax.data.preparation.diagnosis.fault import NOTHING_TO_DO, TARTARUS, Fault, of_error, of_rejected, some
from mumu_jax.data.sources.mumu.csv_files import Listed, albums_by_id
from mumu_jax.data.sources.mumu.first_bytes import other_than_data
from mumu_jax.data.sources.mumu.rejections import Rejections
from mumu_jax.data.sources.mumu.release import SPLITS_FOLDER, Release
from mumu_jax.data.sources.mumu.splits import DATASETS, find_dataset, read_splits
from mumu_jax.data.sources.tartarus import LABELS_PREFIX, items_index, read_list
from mumu_jax.errors import UserError


def check_splits(release: Release, listed: Mapping[str, Listed]) -> tuple[dict[str, str], list[Fault]]:
    """The published split of every album that has one, and what is wrong with the lists."""
    folder = release.root / SPLITS_FOLDER
    album_of = albums_by_id(listed)
    rejections = Rejections()
    try:
        splits = read_splits(release.root, album_of, rejections)
    except UserError as error:
        return {}, [of_error(folder, "an id a line, each once", error)]
    dataset = find_dataset(folder)
    if dataset is None:
        expected = f"{items_index(folder, 'train', DATASETS[0]).name} and those of val and test"
        remedy = f"nothing: albums are split by their hash; for the paper's splits, {TARTARUS}"
        return {}, [Fault("note", folder, expected, "none", remedy)]
    conflicts = [line for line in rejections.lines if line["reason"] == "conflict"]
    faults = of_rejected(conflicts, "each album in one split", TARTARUS)
    missing = [path for split in SPLITS if not (path := items_index(folder, split, dataset)).is_file()]
    found, remedy = "no file, so that none of the lists counts", f"copy all three; {TARTARUS}"
    faults += [Fault("warning", path, "a list for each split", found, remedy) for path in missing]
    if not missing:
        labels = _labels_of(folder / f"{LABELS_PREFIX}{dataset}.tsv")
        # The single-label file has other genres.
        genres_of = {} if release.single_label else {item: {*listed[of].genres} for item, of in album_of.items()}
        for split in SPLITS:
            path = items_index(folder, split, dataset)
            faults += _check_list(path, album_of, release.single_label)
            for rows in sorted(folder.glob(f"y_{split}_class_*_{dataset}.npy")):
                faults += _check_rows(rows, read_list(path), labels, genres_of)
    if splits and (without := [album_id for album_id in listed if album_id not in splits]):
        found = f"none for {len(without):,} of {len(listed):,} albums: {some(without)}"
        remedy = f"take lists and tables from one release: these albums are split by their hash; {TARTARUS}"
        faults.append(Fault("warning", folder, "a split for every album", found, remedy))
    return splits, faults


def _check_list(path: Path, album_of: Mapping[str, str], single_label: bool) -> Iterator[Fault]:
    if other := other_than_data(path):
        yield Fault("warning", path, "an id a line", other, f"copy the file again; {TARTARUS}")
        return
    if unknown := [item for item in read_list(path) if item not in album_of]:
        found = f"{len(unknown):,} of others: {some(unknown)}"
        # The single-label file has a part of the albums that the lists name.
        severity, remedy = (
            ("note", NOTHING_TO_DO) if single_label else ("warning", f"take all from one release; {TARTARUS}")
        )
        yield Fault(severity, path, "ids of the data set's albums or tracks", found, remedy)


def _labels_of(path: Path) -> list[str]:
    """The columns of y_*.npy; none where that cannot be known."""
    try:
        return read_list(path)
    except UserError:
        return []


def _check_rows(path: Path, items: list[str], labels: list[str], genres_of: Mapping[str, set[str]]) -> Iterator[Fault]:
    """Whether y_*.npy, which the source does not need, says of the list's items what the tables say."""
    remedy = f"nothing: the file is not read; or take all from one release; {TARTARUS}"
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError, SyntaxError, TokenError) as error:  # the last two of a damaged header
        yield Fault("warning", path, "a NumPy array", f"none: {error}", remedy)
        return
    if rows.ndim != 2 or len(rows) != len(items) or rows.shape[1] != (len(labels) or rows.shape[1]):
        expected = f"{len(items):,} × {len(labels) or 'any'} numbers: lines of items_index × genre_labels"
        yield Fault("warning", path, expected, f"shape {rows.shape}", remedy)
        return
    known = [(i, item) for i, item in enumerate(items) if labels and item in genres_of]
    others = [item for i, item in known if {labels[c] for c in np.flatnonzero(rows[i])} != genres_of[item]]
    if others:
        found = f"others for {len(others):,} of {len(items):,} items: {some(others)}"
        yield Fault("warning", path, "the genres that the tables have", found, remedy)
