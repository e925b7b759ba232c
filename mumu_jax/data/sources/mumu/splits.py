"""The published splits, which tartarus has as lists of albums or of tracks."""

from collections.abc import Mapping
from pathlib import Path

from mumu_jax.data.manifest import SPLITS
from mumu_jax.data.sources.mumu.rejections import Rejections
from mumu_jax.data.sources.mumu.release import SPLITS_FOLDER
from mumu_jax.data.sources.tartarus import items_index, read_list

# Of several lists the first counts: ids of albums before ids of tracks.
DATASETS = ("MuMu-albums", "MuMu", "MuMu-tracks")


def find_dataset(folder: Path) -> str | None:
    """That whose lists count: the first of DATASETS that has any of the three in `folder`; None where there is none."""
    there = (name for name in DATASETS if any(items_index(folder, split, name).is_file() for split in SPLITS))
    return next(there, None)


def read_splits(root: Path, album_of: Mapping[str, str], rejections: Rejections) -> dict[str, str]:
    """The split of every album that the lists name; none where there are no lists, or not all three.

    `album_of` is `albums_by_id`; other ids do not count.  An album that is in several lists, itself or by its tracks,
    belongs to the first of train, val and test.
    """
    folder = root / SPLITS_FOLDER
    dataset = find_dataset(folder)
    if dataset is None:
        return {}
    files = {split: items_index(folder, split, dataset) for split in SPLITS}
    missing = [path for path in files.values() if not path.is_file()]
    for path in missing:
        rejections.of(path)(1, "missing", "expected beside the other two; without it none counts")
    splits: dict[str, str] = {}
    for split, path in files.items() if not missing else ():
        reject = rejections.of(path)
        for number, item in enumerate(read_list(path), 1):
            album_id = album_of.get(item)
            if album_id is not None and splits.setdefault(album_id, split) != split:
                reject(
                    number, "conflict", f"{item}: album {album_id} is already in {splits[album_id]}, and stays there"
                )
    return splits
