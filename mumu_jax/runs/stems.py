"""A user's own albums of several modalities: files that share a name but for its suffix, such as a.mp3 and a.txt."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mumu_jax.data.modalities.base import Read, Reader
from mumu_jax.data.sources.files import composed, files_below
from mumu_jax.errors import UserError


@dataclass(frozen=True)
class Stem:
    """The files of one album by modality; `path` is the part of their names that they share."""

    path: Path
    files: dict[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Together(Read):
    """A stem as read; `parts` are by modality, those without records left out."""

    parts: Mapping[str, Read] = field(default_factory=dict)


def find_stems(paths: Sequence[Path], readers: Mapping[str, Reader]) -> list[Stem]:
    """Find the stems of the files among `paths`, with the files beside them, and of those below the folders among them.

    Of two files of one modality the first in code point order counts.  One that is missing may be inside another: a
    song's tags may hold its lyrics.  Raises UserError if a path has no such file.
    """
    stems: dict[str, Stem] = {}
    for path in paths:
        files = [
            (name, file)
            for file in (files_below(path) if path.is_dir() else _beside(path))
            for name, reader in readers.items()
            if reader.is_one(file)
        ]
        if not files:
            kinds = ", ".join(reader.files for reader in readers.values())
            raise UserError(f"{path} holds no file of these kinds: {kinds}; name a folder or files with some")
        for name, file in files:
            stem = stems.setdefault(_key(file), Stem(file.with_suffix("")))
            stem.files.setdefault(name, file)
    for stem in stems.values():
        for name, reader in readers.items():
            for file in filter(reader.is_inside, [*stem.files.values()]):
                stem.files.setdefault(name, file)
    return list(stems.values())


def _beside(path: Path) -> list[Path]:
    """Return `path`, if it exists or not, and the files of the same stem."""
    folder = path.parent
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path, *(file for file in files if _key(file) == _key(path) and file.is_file())]


def _key(file: Path) -> str:
    """Return what files of one stem have in common, whatever Unicode form their names have."""
    return composed(os.path.abspath(file.with_suffix("")))


def put_together(stems: Iterable[Stem], reads: Mapping[str, Iterator[Read]], missing: str) -> Iterator[Together]:
    """Yield each stem from its modalities' files as they are read, in the stems' order.

    `missing` is as in `config.fusion`: a stem without one of the modalities is an error (`drop`), or may go (`mask`).
    """
    for stem in stems:
        of_stem = {name: next(of_modality) for name, of_modality in reads.items() if name in stem.files}
        parts = {name: read for name, read in of_stem.items() if read.records}
        absent = [
            f"{name} ({of_stem[name].error if name in of_stem else 'no file'})" for name in reads if name not in parts
        ]
        seconds = sum(read.seconds for read in of_stem.values())
        if absent and (missing == "drop" or not parts):
            yield Together(stem.path, [], seconds, f"missing: {', '.join(absent)}")
        else:
            records = [record for read in parts.values() for record in read.records]
            yield Together(stem.path, records, seconds, parts=parts)
