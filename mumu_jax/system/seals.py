"""Seals: the SHA-256 of a folder's files in one list, written after them and checked when they are read.

A byte that a disk or a copy has changed would else be read as another setting, label or weight.
"""

from collections.abc import Iterator
from pathlib import Path

from mumu_jax.errors import UserError
from mumu_jax.system.files import read_checked_json, sha256_of, write_checked_json

SEAL = "sha256.json"


def seal(folder: Path, *names: str) -> None:
    """Record the checksums of files, and of all files below folders, beside those that are recorded already.

    Names that do not exist are left out, and so are recorded files that are gone.
    """
    files = {name: sha256 for name, sha256 in read_seal(folder).items() if (folder / name).is_file()}
    for path in _files_of(folder, names):
        files[path.relative_to(folder).as_posix()] = sha256_of(path)
    _write(folder, files)


def unseal(folder: Path, *names: str) -> None:
    """Forget the checksums of files, and of all files below folders, that are about to change."""
    files = read_seal(folder)
    kept = {name: sha256 for name, sha256 in files.items() if not _is_one(name, names)}
    if len(kept) < len(files):
        _write(folder, kept)


def is_sealed(folder: Path, name: str) -> bool:
    """Return True if a file, or any file below a folder, is recorded."""
    return any(_is_one(recorded, (name,)) for recorded in read_seal(folder))


def check_seal(folder: Path, remedy: str, *names: str) -> None:
    """Raise UserError, which ends with `remedy`, if a recorded file has changed.

    With `names`, only these files are checked, and those below these folders.  Files that are missing pass: their
    readers say so.  Nothing is recorded of folders from before there were seals, nor of what a killed process has just
    written.
    """
    for name in damaged(folder, *names):
        raise UserError(f"{folder / name} is damaged: it is not what was written (its SHA-256 differs); {remedy}")


def damaged(folder: Path, *names: str) -> Iterator[str]:
    """Yield the recorded files that have changed, by name."""
    for name, sha256 in read_seal(folder).items():
        chosen = not names or _is_one(name, names)
        if chosen and (folder / name).is_file() and sha256_of(folder / name) != sha256:
            yield name


def remove_damaged(folder: Path) -> bool:
    """Remove the recorded files that have changed, and the list itself if it is damaged; return True if any was."""
    try:
        names = list(damaged(folder))
    except UserError:
        names = [SEAL]
    for name in names:
        (folder / name).unlink()
    return bool(names)


def _is_one(name: str, names: tuple[str, ...]) -> bool:
    return any(name == one or name.startswith(f"{one}/") for one in names)


def read_seal(folder: Path) -> dict[str, str]:
    """Return the recorded checksums by name, none if there is no list; raises UserError if the list is damaged."""
    path = folder / SEAL
    if not path.exists():
        return {}
    try:
        content = read_checked_json(path)
        if content.keys() != {"files", "sha256"}:
            raise ValueError(f"expected files and sha256, found {', '.join(content) or 'nothing'}")
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); restore it, or remove it to go on unchecked") from error
    return content["files"]


def _files_of(folder: Path, names: tuple[str, ...]) -> Iterator[Path]:
    for name in names:
        path = folder / name
        if path.is_dir():
            yield from (below for below in sorted(path.rglob("*")) if below.is_file())
        elif path.is_file():
            yield path


def _write(folder: Path, files: dict[str, str]) -> None:
    write_checked_json(folder / SEAL, {"files": dict(sorted(files.items()))})
