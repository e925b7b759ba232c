"""MuMu's released files by name, and what is near where they are missing."""

from dataclasses import dataclass
from pathlib import Path

from mumu_jax.data.sources.downloads import ARCHIVES, other_than_data
from mumu_jax.data.sources.finding import Finding, Report
from mumu_jax.errors import nearest

MULTI_LABEL_CSV = "MuMu_dataset_multi-label.csv"
SINGLE_LABEL_CSV = "MuMu_dataset_single-label.csv"
METADATA = "amazon_metadata_MuMu.json"
REVIEWS = "amazon_reviews_MuMu.json"
GENRE_LABELS = "genre_labels_MuMu.tsv"
SPLITS_FOLDER = "splits"

HOME = "https://www.upf.edu/web/mtg/mumu"
FROM_HOME = f"download it from the links of the MuMu page, {HOME}"
COPY_AGAIN = f"copy the file again, or {FROM_HOME}"


@dataclass(frozen=True)
class Release:
    """MuMu's folder, and the path of every released file that it has."""

    root: Path
    csv: Path | None
    metadata: Path | None
    reviews: Path | None
    genre_labels: Path | None

    @property
    def single_label(self) -> bool:
        return self.csv is not None and self.csv.name == SINGLE_LABEL_CSV

    @property
    def album_list(self) -> Path:
        """The file that says which albums there are."""
        return self.csv or self.metadata or self.root


def find_release(path: Path, report: Report) -> Release:
    """Return the released files in `path`, which is MuMu's folder, or one of the two CSV files in it.

    In a folder with both, the multi-label file counts.  The JSON files may be gzipped (`.json.gz`).  It is an error if
    neither a CSV file nor the metadata is there.
    """
    names = (MULTI_LABEL_CSV, SINGLE_LABEL_CSV)
    root = path if path.is_dir() else path.parent
    csv = _first(root, names) if path == root else path
    metadata = _first(root, (METADATA, f"{METADATA}.gz"))
    if csv and csv.name not in names:
        expected = f"MuMu's folder, or {' or '.join(names)} in it"
        report(Finding("error", path, expected, "another file", "give one of these"))
        csv = None
    elif not csv and not metadata:
        remedy = _nearby(root, (*names, METADATA)) or FROM_HOME
        report(Finding("error", root, f"{', '.join(names)} or {METADATA}", "none of them", remedy))
    return Release(
        root,
        csv,
        metadata,
        reviews=_first(root, (REVIEWS, f"{REVIEWS}.gz")),
        genre_labels=_first(root, (GENRE_LABELS, f"{SPLITS_FOLDER}/{GENRE_LABELS}")),
    )


def _nearby(root: Path, names: tuple[str, ...]) -> str | None:
    """Say what to do if the files are one folder further down, packed, or under a browser's name for a copy."""
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        if _first(folder, names):
            return f"they are in {folder}: give that"
    files = sorted(path for path in root.iterdir() if path.is_file())
    for path in files:
        is_packed = path.suffix.lower() in ARCHIVES
        name = nearest(path.name.removesuffix(path.suffix if is_packed else ""), names, likeness=0.8)
        if name and is_packed and not name.endswith(".json"):
            return f"{path.name} is there: unpack it as {name}"
        if name:
            return f"{path.name} is there: rename it {name}{path.suffix if is_packed else ''}"
    packed = next((path for path in files if path.suffix.lower() in ARCHIVES), None)
    return packed and f"{packed.name} is there: unpack it"


def _first(root: Path, names: tuple[str, ...]) -> Path | None:
    return next((root / name for name in names if (root / name).is_file()), None)


def is_data(path: Path, expected: str, report: Report) -> bool:
    """Tell if the file may be data; report an error if its first bytes are those of something else."""
    other = other_than_data(path)
    if other:
        report(Finding("error", path, expected, other, COPY_AGAIN))
    return other is None
