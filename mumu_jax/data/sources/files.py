"""What a source may find on a user's disk: which files are audio, in which order, and how text is read."""

import os
from collections.abc import Iterator
from pathlib import Path

from mumu_jax.data.modalities.text.files import read_text
from mumu_jax.data.rejected import Rejected


def files_below(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Every file below `folder` that is not hidden, in code point order.

    Links are followed, but never in a circle.  A link to nothing counts as a file: it is one that is missing.
    """
    real = folder.resolve()
    if real in above:
        return
    for path in sorted(path for path in folder.iterdir() if not path.name.startswith(".")):
        if path.is_dir():
            yield from files_below(path, (*above, real))
        elif path.is_file() or not path.exists():
            yield path


class Texts:
    """Reads text files for a source: their beginnings, as far as texts are used; `rejected` lists those that are none.

    Lines are as in `request.Collection`.
    """

    def __init__(self, max_chars: int) -> None:
        self._max_chars = max_chars
        self.rejected: list[dict[str, str | int]] = []

    def read(self, path: Path) -> str | None:
        try:
            return read_text(path, self._max_chars)
        except Rejected as why:
            self.rejected.append({"file": str(path), "reason": why.reason, "detail": why.detail})
            return None


def as_id(name: str) -> str:
    """A file's name or path as an id that can be written anywhere, also where its bytes are not UTF-8."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
