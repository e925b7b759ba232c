"""The owner's folders of files that no data set brings: songs, covers and MSD files, found by their names."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from mumu_jax.errors import UserError

# Names of the owner's folders, by their names in `Request.folders`.
FOLDERS = {"audio": ("audio",), "covers": ("covers", "images"), "msd": ("msd", "h5")}
H5_SUFFIXES = frozenset({".h5"})


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
