"""A user's own files: found, read in several processes, and scored in batches."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mumu_jax.data.modalities.base import Read, Reader, died
from mumu_jax.data.sources.files import files_below
from mumu_jax.errors import UserError
from mumu_jax.runs.ensemble import Ensemble
from mumu_jax.runs.scorer import Scorer, Seen
from mumu_jax.runs.several import Several
from mumu_jax.runs.stems import Stem, find_stems, put_together
from mumu_jax.system.workers import map_in_order

Model = Scorer | Several | Ensemble


def find_files(paths: Sequence[Path], reader: Reader) -> list[Path]:
    """Find the files among `paths`, and those below the folders among them that `reader` is for, each once.

    A file named by the user is taken whatever its name.  Raises UserError if a folder holds none.
    """
    files: dict[str, Path] = {}
    for path in paths:
        fitting = [file for file in files_below(path) if reader.is_one(file)] if path.is_dir() else [path]
        if not fitting:
            raise UserError(f"{path} holds no {reader.files} file; name a folder or files with some")
        for file in fitting:
            files.setdefault(os.path.abspath(file), file)
    return list(files.values())


def find_items(paths: Sequence[Path], readers: Mapping[str, Reader]) -> dict[Path, Any]:
    """Find what is to be tagged, by path: files, or, of several modalities, the stems of files."""
    if len(readers) > 1:
        return {stem.path: stem for stem in find_stems(paths, readers)}
    return {path: path for path in find_files(paths, *readers.values())}


def score_items(
    scorer: Model, items: Sequence[Any], batch_size: int, workers: int
) -> Iterator[tuple[Read, Seen | None]]:
    """Yield each of `find_items` in order with what the model sees in it, None if it could not be read."""
    reads = _read_items(scorer, items, workers)
    for group in _groups(reads, batch_size):
        whole = [read for read in group if read.records]
        seen = iter(scorer.see(whole, batch_size) if whole else ())
        for read in group:
            yield read, next(seen) if read.records else None


def _read_items(scorer: Model, items: Sequence[Any], workers: int) -> Iterator[Read]:
    if len(scorer.readers) == 1:
        [reader] = scorer.readers.values()
        return _read(items, reader, workers)
    stems: Sequence[Stem] = items
    reads = {
        name: _read([stem.files[name] for stem in stems if name in stem.files], reader, workers)
        for name, reader in scorer.readers.items()
    }
    return put_together(stems, reads, scorer.missing)


def _read(files: Sequence[Path], reader: Reader, workers: int) -> Iterator[Read]:
    if reader.in_process:
        return map(reader.read, files)
    return map_in_order(reader.read, files, min(workers, len(files)), _died_reading)


def _died_reading(path: Path) -> Read:
    return Read(path, [], error=str(died(path)))


def _groups(reads: Iterable[Read], n_records: int) -> Iterator[list[Read]]:
    """Yield runs of files that together fill a batch: most have fewer records than that."""
    group, filled = [], 0
    for read in reads:
        group.append(read)
        filled += len(read.records)
        if filled >= n_records:
            yield group
            group, filled = [], 0
    if group:
        yield group
