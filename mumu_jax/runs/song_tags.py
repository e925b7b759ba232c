"""Genres in a song's own tags, by mutagen, which the extra `write` brings: ID3v2.4, Vorbis comments, MPEG-4 and others.

Mutagen is licensed under the GPL: nothing imports it unless songs' tags are to be read or written.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from mumu_jax.errors import UserError, reason_of


class NotWritten(Exception):
    """A song whose genres cannot be written: the reason, for its row."""


def check_installed() -> None:
    """Raise UserError without the extra."""
    try:
        import mutagen  # noqa: F401
    except ImportError as error:
        raise UserError("--write needs mutagen; pip install 'mumu_jax[write]'") from error


def genres_in(path: Path) -> list[str]:
    """Return the genres that a song's tags have.  Raises NotWritten if it has a format whose tags cannot be written."""
    with path.open("rb") as file:
        tags = _open(file, path.name).tags
        values = [] if tags is None else _read(tags)
    return [value for value in values if value.strip()]


def set_genres(file: BinaryIO, name: str, genres: Sequence[str]) -> None:
    """Let an open song have these genres, each a value of its own; `name` is its file's.  Raises NotWritten."""
    from mutagen import MutagenError

    song = _open(file, name)
    try:
        _write(song.tags, genres)
        file.seek(0)
        song.save(file)
    except MutagenError as error:
        raise NotWritten(f"mutagen cannot write its tags ({reason_of(error)})") from error


def _open(file: BinaryIO, name: str) -> Any:
    """Return the song as mutagen knows it."""
    import mutagen
    from mutagen.id3 import ID3

    try:
        song = mutagen.File(filename=name, fileobj=file)  # pyright: ignore[reportCallIssue]
    except Exception as error:  # damaged files raise whatever parsing them meets
        raise NotWritten(f"mutagen cannot read its tags ({reason_of(error)})") from error
    try:
        if song is not None and song.tags is None:
            song.add_tags()
    except Exception:  # a format without tags, which has an error of its own
        song = None
    if song is None or not (isinstance(song.tags, ID3) or _key_of(song.tags)):
        raise NotWritten("mutagen knows no tags for files of its kind; convert it, for instance to FLAC")
    return song


def _key_of(tags: Any) -> str | None:
    """Return the key that holds genres in tags that are a dict of lists."""
    from mutagen._vorbis import VCommentDict
    from mutagen.apev2 import APEv2
    from mutagen.asf import ASFTags
    from mutagen.mp4 import MP4Tags

    keys = {VCommentDict: "genre", MP4Tags: "\xa9gen", ASFTags: "WM/Genre", APEv2: "Genre"}
    return next((key for kind, key in keys.items() if isinstance(tags, kind)), None)


def _read(tags: Any) -> list[str]:
    key = _key_of(tags)
    if key is None:  # ID3, whose numbers of genres mutagen spells out
        return [genre for frame in tags.getall("TCON") for genre in frame.genres]
    return [str(value) for value in tags[key]] if key in tags else []


def _write(tags: Any, genres: Sequence[str]) -> None:
    from mutagen.id3 import TCON, Encoding

    key = _key_of(tags)
    if key is None:
        tags.setall("TCON", [TCON(encoding=Encoding.UTF8, text=list(genres))])
    else:
        tags[key] = list(genres)
