"""What a source may find on a user's disk: which files are audio, in which order, and how text is read."""

import os
from collections.abc import Iterator
from pathlib import Path

import soundfile

from mumu_jax.data.manifest import Rejected
from mumu_jax.data.modalities.text.files import read_text

# libsndfile's formats, and the other extensions they go by.  Not `raw`: it has no header to decode it by.
READABLE = {name.lower() for name in soundfile.available_formats()} - {"raw"} | {
    *("aif", "aifc", "mp1", "mp2", "oga", "opus", "sf", "snd", "sph"),
}

# Audio that it does not read is listed all the same, so that preparing the data reports it as rejected
# instead of leaving it out in silence.
UNREADABLE = {
    *("aac", "ac3", "alac", "amr", "ape", "dff", "dsf", "dts", "m4a", "m4b", "m4p", "mka", "mpc", "mpga"),
    *("ra", "shn", "spx", "tak", "tta", "weba", "wma", "wv"),
}

AUDIO_SUFFIXES = frozenset(f".{extension}" for extension in READABLE | UNREADABLE)
IMAGE_SUFFIXES = frozenset(
    {".apng", ".avif", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
)


def is_audio(path: Path) -> bool:
    """Whether the name says so, in any case of letters; the content is judged when it is decoded."""
    return path.suffix.lower() in AUDIO_SUFFIXES


def is_image(path: Path) -> bool:
    """The same for images."""
    return path.suffix.lower() in IMAGE_SUFFIXES


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
