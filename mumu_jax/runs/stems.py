"""A user's own albums for a fusion: files that share a name but for its ending, such as a.mp3, a.txt and a.jpg."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mumu_jax.data.sources.files import files_below
from mumu_jax.errors import UserError
from mumu_jax.runs.reading import Read, Reader


@dataclass(frozen=True)
class Stem:
    """The files of one album by modality; `path` is what their names share."""

    path: Path
    files: dict[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Together(Read):
    """All that was read of a stem; `parts` are by modality, those without records left out."""

    parts: Mapping[str, Read] = field(default_factory=dict)


def find_stems(paths: Sequence[Path], readers: Mapping[str, Reader]) -> list[Stem]:
    """The stems of the files among `paths`, with what lies beside them, and of those below the folders among them.

    Of two files of one modality the first in code point order counts.  Raises UserError where there is none.
    """
    stems: dict[str, Stem] = {}
    for path in paths:
        found = False
        for file in files_below(path) if path.is_dir() else _beside(path):
            for name, reader in readers.items():
                if reader.is_one(file):
                    stem = stems.setdefault(os.path.abspath(file.with_suffix("")), Stem(file.with_suffix("")))
                    stem.files.setdefault(name, file)
                    found = True
        if not found:
            kinds = ", ".join(reader.kind for reader in readers.values())
            raise UserError(f"{path} holds no file of these kinds: {kinds}; name a folder or files with some")
    return list(stems.values())


def _beside(path: Path) -> list[Path]:
    """The files of the same stem, of which `path` is one, whether there or not."""
    folder = path.parent
    there = [file for file in folder.iterdir() if file.stem == path.stem and file.is_file()] if folder.is_dir() else []
    return [path, *sorted(there)]


def put_together(stems: Iterable[Stem], reads: Mapping[str, Iterator[Read]], missing: str) -> Iterator[Together]:
    """Each stem, of what was read of each modality's files in the stems' order; `missing` is as in `config.fusion`."""
    for stem in stems:
        found = {name: next(of_modality) for name, of_modality in reads.items() if name in stem.files}
        parts = {name: read for name, read in found.items() if read.records}
        why = [f"{name} ({found[name].error if name in found else 'no file'})" for name in reads if name not in parts]
        seconds = sum(read.seconds for read in found.values())
        if why and (missing == "drop" or not parts):
            yield Together(stem.path, [], seconds, f"lacks {', '.join(why)}")
        else:
            records = [record for read in parts.values() for record in read.records]
            yield Together(stem.path, records, seconds, parts=parts)
