"""The owner's folders: audio and MSD `.h5` by track id, covers by amazon_id, flat or nested."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from mumu_jax.data.sources.mumu.release import FOLDERS
from mumu_jax.errors import UserError


def find_folder(kind: str, root: Path, named: Mapping[str, Path]) -> Path:
    """The folder that the user names for `kind`, else the one in `root`; which need not be there.

    Raises UserError where a named one is not.
    """
    if kind in named:
        if not named[kind].is_dir():
            raise UserError(f"expected a folder of {kind}, found none at {named[kind]}; correct the path")
        return named[kind]
    usual = [root / name for name in FOLDERS[kind]]
    return next((folder for folder in usual if folder.is_dir()), usual[0])


def index_files(folder: Path, suffixes: Collection[str]) -> dict[str, Path]:
    """The files at or below `folder` by name without suffix, of several the first in code point order.

    Goes through the folder once, whatever its depth: asking for each of 147,000 files would take longer.
    """
    found: dict[str, str] = {}
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
                found[stem] = min(path, found.get(stem, path))
    return {stem: Path(path) for stem, path in found.items()}


def _raise_unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
