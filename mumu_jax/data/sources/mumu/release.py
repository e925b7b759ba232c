"""The released files: their names, and which of them are in a folder."""

from dataclasses import dataclass
from pathlib import Path

from mumu_jax.errors import UserError

MULTI_LABEL_CSV = "MuMu_dataset_multi-label.csv"
SINGLE_LABEL_CSV = "MuMu_dataset_single-label.csv"
METADATA = "amazon_metadata_MuMu.json"
REVIEWS = "amazon_reviews_MuMu.json"
GENRE_LABELS = "genre_labels_MuMu.tsv"
SPLITS_FOLDER = "splits"
ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".7z", ".rar")

# Where the owner's files are looked for, by the name that `Request.folders` has for them.
FOLDERS = {"audio": ("audio",), "covers": ("covers", "images"), "msd": ("msd", "h5")}

HOME = "https://www.upf.edu/web/mtg/mumu"
FROM_HOME = f"the MuMu page of the UPF's Music Technology Group, {HOME}, says where the files are to be had"


@dataclass(frozen=True)
class Release:
    """The folder, and the path of every released file that is there.  One of `csv` and `metadata` is."""

    root: Path
    csv: Path | None
    metadata: Path | None
    reviews: Path | None
    genre_labels: Path | None

    @property
    def single_label(self) -> bool:
        return self.csv is not None and self.csv.name == SINGLE_LABEL_CSV


def find_release(input: Path) -> Release:
    """What is there of the release; `input` is its folder, or one of the two CSV files in it.

    In a folder with both, the multi-label file counts.  The JSON files may be gzipped (`.json.gz`).  Raises UserError
    where neither a CSV file nor the metadata is there.
    """
    names = (MULTI_LABEL_CSV, SINGLE_LABEL_CSV)
    root = input if input.is_dir() else input.parent
    if root != input and input.name not in names:
        raise UserError(f"expected MuMu's folder, or {' or '.join(names)} in it, found {input}; give one of these")
    csv = _first(root, names) if root == input else input
    metadata = _first(root, (METADATA, f"{METADATA}.gz"))
    if csv is None and metadata is None:
        remedy = _lies_elsewhere(root, (*names, METADATA)) or FROM_HOME
        raise UserError(f"expected {', '.join(names)} or {METADATA} in {root}, found none of them; {remedy}")
    return Release(
        root,
        csv,
        metadata,
        reviews=_first(root, (REVIEWS, f"{REVIEWS}.gz")),
        genre_labels=_first(root, (GENRE_LABELS, f"{SPLITS_FOLDER}/{GENRE_LABELS}")),
    )


def _lies_elsewhere(root: Path, names: tuple[str, ...]) -> str | None:
    """What to do where the files are near: one folder further down, packed, or under a browser's name for a copy."""
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        if _first(folder, names):
            return f"they lie in {folder}: give that"
    stems = tuple(Path(name).stem.lower() for name in names)
    for path in sorted(root.iterdir()):
        if path.suffix.lower() in ARCHIVES:
            return f"{path.name} is there: unpack it"
        if path.name.lower().startswith(stems):
            return f"{path.name} is there: give it the name it was released by"
    return None


def _first(root: Path, names: tuple[str, ...]) -> Path | None:
    return next((root / name for name in names if (root / name).is_file()), None)
