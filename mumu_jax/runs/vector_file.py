"""A file of what a model sees in a user's own files, for other programs: their vectors and all of their scores.

paths [n], vectors float32 [n, d], scores float32 [n, labels]; labels, their names; model, the fingerprint of a run.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mumu_jax.errors import UserError
from mumu_jax.runs.own_files import Model
from mumu_jax.runs.scorer import Seen
from mumu_jax.runs.tags import written_path
from mumu_jax.system.files import read_npz, write_npz

NAMES = ("paths", "vectors", "scores", "labels", "model")


class VectorFile:
    """An .npz file with a row for each of a user's files, written when it is closed; a later call adds rows."""

    def __init__(self, path: Path, names: Sequence[str], labels: Sequence[str]) -> None:
        self._path, self._name, self._labels = path, names[0], labels
        self._rows: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        if path.exists():
            arrays = read_npz(path, "give another --vectors, or remove it", *NAMES)
            if (model := str(arrays["model"])) not in names:
                raise UserError(f"{path} holds vectors of another model ({model}); give another --vectors or remove it")
            rows = zip(arrays["vectors"], arrays["scores"], strict=True)
            self._rows = dict(zip(arrays["paths"].tolist(), rows, strict=True))

    def has(self, path: Path) -> bool:
        """Return True if the file has vectors of one of a user's files."""
        return written_path(path) in self._rows

    def add(self, path: Path, seen: Seen) -> None:
        """Add what a model sees in one of a user's files."""
        self._rows[written_path(path)] = seen.vector, seen.scores

    def write(self) -> None:
        """Write all rows, whole or not at all."""
        if not self._rows:
            return
        vectors, scores = (np.stack(part) for part in zip(*self._rows.values(), strict=True))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        arrays = dict(zip(NAMES, ([*self._rows], vectors, scores, self._labels, self._name), strict=True))
        write_npz(self._path, **arrays)


@contextmanager
def open_vectors(path: Path | None, scorer: Model) -> Iterator[VectorFile | None]:
    """Open a file of vectors, None without a path; an interrupted call keeps what it has seen.

    Raises UserError on a file that is something else.
    """
    if path is None:
        yield None
        return
    if path.suffix != ".npz":
        raise UserError(f"--vectors={path} ends in {path.suffix or 'nothing'!r}; give a file that ends in .npz")
    file = VectorFile(path, scorer.names, [label.name for label in scorer.labels])
    try:
        yield file
    finally:
        file.write()
