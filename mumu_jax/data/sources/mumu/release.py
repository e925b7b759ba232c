"""MuMu's files: the released ones by name, the owner's folders beside them, and downloads that are something else."""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from mumu_jax.data.sources.finding import Finding, Report
from mumu_jax.errors import UserError, nearest

MULTI_LABEL_CSV = "MuMu_dataset_multi-label.csv"
SINGLE_LABEL_CSV = "MuMu_dataset_single-label.csv"
METADATA = "amazon_metadata_MuMu.json"
REVIEWS = "amazon_reviews_MuMu.json"
GENRE_LABELS = "genre_labels_MuMu.tsv"
SPLITS_FOLDER = "splits"
ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".7z", ".rar")

# Names of the owner's folders, by their names in `Request.folders`: audio and MSD `.h5` files by track id, covers by
# amazon_id, flat or nested.
FOLDERS = {"audio": ("audio",), "covers": ("covers", "images"), "msd": ("msd", "h5")}

HOME = "https://www.upf.edu/web/mtg/mumu"
FROM_HOME = f"download it from the links of the MuMu page, {HOME}"
COPY_AGAIN = f"copy the file again, or {FROM_HOME}"

HEAD_BYTES = 512
_LFS_POINTER = b"version https://git-lfs.github.com/"
_MARKUP = (b"<!doctype", b"<html", b"<?xml", b"<head")
_PACKED = {b"PK\x03\x04": "a zip archive", b"\x1f\x8b": "a gzip archive", b"BZh": "a bzip2 archive"}


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


# --- the owner's folders ------------------------------------------------------------------------------------


def find_folder(kind: str, root: Path, named: Mapping[str, Path]) -> Path:
    """Return the folder that the user names for `kind`, else the one in `root`, which may be missing.

    Raises UserError if a named one is missing.
    """
    if kind in named:
        if not named[kind].is_dir():
            raise UserError(f"expected a folder of {kind}, found none at {named[kind]}; correct the path")
        return named[kind]
    usual = [root / name for name in FOLDERS[kind]]
    return next((folder for folder in usual if folder.is_dir()), usual[0])


def index_files(folder: Path, suffixes: Collection[str]) -> dict[str, Path]:
    """Map names without suffix to the files at or below `folder`; of several files the first in code point order.

    Goes through the folder once, whatever its depth: asking for each of 147,000 files would take longer.
    """
    files: dict[str, str] = {}
    seen = set()
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=_raise_unless_missing):
        real = os.path.realpath(parent)
        if real in seen:  # a link in a circle
            folders.clear()
            continue
        seen.add(real)
        for name in names:
            stem, suffix = os.path.splitext(name)
            if suffix.lower() in suffixes and not name.startswith("."):
                path = os.path.join(parent, name)
                files[stem] = min(path, files.get(stem, path))
    return {stem: Path(path) for stem, path in files.items()}


def _raise_unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


# --- first bytes: a download may fail by leaving something else under the right name ------------------------


def other_than_data(path: Path) -> str | None:
    """Name the file's kind if its first bytes are no data: empty, a pointer, a web page, an archive; else None."""
    head = read_head(path)
    if not head:
        return "an empty file"
    if head.startswith(_LFS_POINTER):
        return "a Git LFS pointer, not the data it stands for"
    if head.lstrip().lower().startswith(_MARKUP):
        return "a web page (HTML)"
    if not head.strip(b"\0"):
        return "zero bytes only"
    packed = next((kind for magic, kind in _PACKED.items() if head.startswith(magic)), None)
    return None if path.suffix == ".gz" else packed


def read_head(path: Path) -> bytes:
    """Return the first HEAD_BYTES bytes."""
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


def is_data(path: Path, expected: str, report: Report) -> bool:
    """Tell if the file may be data; report an error if its first bytes are those of something else."""
    other = other_than_data(path)
    if other:
        report(Finding("error", path, expected, other, COPY_AGAIN))
    return other is None
