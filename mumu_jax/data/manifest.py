"""The manifest: what every source yields and everything after it reads.  JSON lines, one album a line."""

import codecs
import hashlib
import json
import os
import reprlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mumu_jax.errors import UserError
from mumu_jax.system.files import replacing

SPLITS = ("train", "val", "test")

# Where an album's hash (0 to 1) puts it: 80/10/10, Oramas et al. 2017, section 6.
INTERVALS = {"train": (0.0, 0.8), "val": (0.8, 0.9), "test": (0.9, 1.0)}


@dataclass(frozen=True)
class Track:
    """One recording: a unique id, where its audio file is, and where the MSD's `.h5` with its timbre is."""

    track_id: str
    audio: Path
    timbre: Path | None = None


@dataclass(frozen=True)
class Album:
    """One album: its genres (multi-label), its recordings, its review text and its cover, where there are any.

    `split` is None until `assign_splits` decides.  `text` is the text itself (of `n_reviews` reviews, where that is
    known), `cover` a path, `entities` the path of an entity linker's output for the text.
    """

    album_id: str
    genres: tuple[str, ...]
    tracks: tuple[Track, ...]
    split: str | None = None
    text: str | None = None
    cover: Path | None = None
    entities: Path | None = None
    n_reviews: int | None = None


@dataclass(frozen=True)
class Label:
    """A genre: its name, and the genre above it in the taxonomy (None at the top or where unknown)."""

    name: str
    parent: str | None = None


REASONS = (
    "missing",
    "unreadable",
    "empty",
    "not_audio",
    "not_text",
    "truncated",
    "nan",
    "malformed",
    "crashed",
    "placeholder",
    "duplicate",
)


class Rejected(Exception):
    """A file that cannot be used: `reason` is one of REASONS, `detail` explains it to a person."""

    def __init__(self, reason: str, detail: str):
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


# --- writing ------------------------------------------------------------------------------------------------


def write_manifest(path: Path, albums: Iterable[Album]) -> None:
    """Write one album a line, whole or not at all; the same albums always give the same bytes.

    Paths below the manifest's folder are written relative to it, so that the folder can be moved as a whole;
    others are written absolute.
    """
    folder = Path(os.path.abspath(path.parent))
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("wb") as file:
        for album in albums:
            line = {
                "album_id": album.album_id,
                "split": album.split,
                "genres": list(album.genres),
                "tracks": [_track_line(track, folder) for track in album.tracks],
                "text": album.text,
                "cover": album.cover and _stored(album.cover, folder),
                "entities": album.entities and _stored(album.entities, folder),
                "n_reviews": album.n_reviews,
            }
            file.write(_encode(line))


def _track_line(track: Track, folder: Path) -> dict[str, str]:
    line = {"track_id": track.track_id, "audio": _stored(track.audio, folder)}
    return line | {"timbre": _stored(track.timbre, folder)} if track.timbre else line


def write_labels(path: Path, labels: Sequence[Label]) -> None:
    """Write `[{"name", "parent"}, …]` in column order, one label a line, whole or not at all."""
    lines = [_encode({"name": label.name, "parent": label.parent}).strip() for label in labels]
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(b"[\n" + b",\n".join(lines) + b"\n]\n")


def _stored(path: Path, folder: Path) -> str:
    path = Path(os.path.abspath(path))
    return (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()


def _encode(value: Any) -> bytes:
    # A file name that is not UTF-8 reaches Python as lone surrogates; written as `\udcXX` they are valid JSON
    # and come back as the same bytes of the same file.
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


# --- reading ------------------------------------------------------------------------------------------------


def read_manifest(path: Path) -> list[Album]:
    """The albums of a manifest, in its order; relative paths start at the manifest's folder.

    `album_id`, `genres` and `tracks` must be there, everything else may be null or missing; other
    keys are ignored, as are a BOM, blank lines and CRLF.  Raises UserError, naming the line, on anything that
    is not such an album, and on an id that comes twice.
    """
    albums: list[Album] = []
    first_seen: dict[tuple[str, str], str] = {}
    for where, line in _numbered_lines(path):
        album = _parse_album(line, path.parent, where)
        for key in [("album_id", album.album_id), *(("track_id", track.track_id) for track in album.tracks)]:
            if key in first_seen:
                raise UserError(
                    f"{where}: {key[0]} {key[1]!r} is already in {first_seen[key]}; "
                    "give every album and every track an id of its own"
                )
            first_seen[key] = where
        albums.append(album)
    return albums


def read_labels(path: Path) -> list[Label]:
    """The labels in column order; raises UserError where `path` is not what `write_labels` writes."""
    try:
        entries = json.loads(_read_bytes(path))
    except ValueError as error:
        raise UserError(f"{path}: expected JSON in UTF-8, found {error}; prepare the data again") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UserError(f'{path}: expected a list of {{"name", "parent"}}; prepare the data again')
    where = [f"{path}: label {i}" for i in range(len(entries))]
    labels = [Label(_field(e, "name", w), _field(e, "parent", w)) for e, w in zip(entries, where, strict=True)]
    for name, count in Counter(label.name for label in labels).items():
        if count > 1:
            raise UserError(f"{path}: the label {name!r} comes {count} times; every column needs its own name")
    return labels


def _numbered_lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """(`file:line`, line) of every line that is not blank."""
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
                if line.strip():
                    yield f"{path}:{number}", line
    except OSError as error:
        raise _unreadable(path, error) from error


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(f"cannot read {path}: {error.strerror}; give the path of a file that is there")


def _parse_album(line: bytes, folder: Path, where: str) -> Album:
    try:
        fields = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: expected one album as JSON in UTF-8, found {error}; mend the line") from error
    if not isinstance(fields, dict):
        raise UserError(f"{where}: expected one album as a JSON object, found {reprlib.repr(fields)}; mend the line")
    return Album(
        album_id=_field(fields, "album_id", where),
        genres=tuple(dict.fromkeys(_field(fields, "genres", where))),
        tracks=tuple(_parse_track(track, folder, where) for track in _field(fields, "tracks", where)),
        split=_field(fields, "split", where),
        text=_field(fields, "text", where),
        cover=_path(fields, "cover", folder, where),
        entities=_path(fields, "entities", folder, where),
        n_reviews=_field(fields, "n_reviews", where),
    )


def _parse_track(fields: Mapping[str, Any], folder: Path, where: str) -> Track:
    audio = folder / _field(fields, "audio", where)
    return Track(_field(fields, "track_id", where), audio, _path(fields, "timbre", folder, where))


def _path(fields: Mapping[str, Any], key: str, folder: Path, where: str) -> Path | None:
    name = _field(fields, key, where)
    return folder / name if name else None


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_text(value: object) -> bool:
    return value is None or isinstance(value, str)


# What a key's value must be, in words and as a test.  A key whose test takes None may be missing.
FIELDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "album_id": ("a non-empty string", _is_name),
    "split": ("train, val, test or null", lambda v: v is None or v in SPLITS),
    "genres": ("a list of non-empty strings", lambda v: isinstance(v, list) and all(map(_is_name, v))),
    "tracks": (
        'a list of {"track_id", "audio"}',
        lambda v: isinstance(v, list) and all(isinstance(track, dict) for track in v),
    ),
    "track_id": ("a non-empty string", _is_name),
    "audio": ("a path", _is_name),
    "text": ("a string or null", _is_text),
    "cover": ("a path or null", _is_text),
    "timbre": ("a path or null", _is_text),
    "entities": ("a path or null", _is_text),
    "n_reviews": ("a number of reviews or null", lambda v: v is None or (type(v) is int and v >= 0)),
    "name": ("a non-empty string", _is_name),
    "parent": ("a string or null", _is_text),
}


def _field(fields: Mapping[str, Any], key: str, where: str) -> Any:
    """`fields[key]`, or None for one that may be missing; UserError where it is not what FIELDS says."""
    expected, fits = FIELDS[key]
    value = fields.get(key)
    if not fits(value):
        found = reprlib.repr(value) if key in fields else f"only the keys {', '.join(fields) or '(none)'}"
        raise UserError(f"{where}: expected {key!r} to be {expected}, found {found}; mend the line")
    return value


def albums_sha256(albums: Iterable[Album]) -> str:
    """Names which albums there are, with their splits and genres."""
    lines = (_encode([album.album_id, album.split, album.genres]) for album in albums)
    return hashlib.sha256(b"".join(lines)).hexdigest()


# --- labels and splits --------------------------------------------------------------------------------------


def labels_of(albums: Iterable[Album], parents: Mapping[str, str | None] = MappingProxyType({})) -> list[Label]:
    """Every genre of the albums, in code point order, with its parent where `parents` names one."""
    names = sorted({genre for album in albums for genre in album.genres})
    return [Label(name, parents.get(name)) for name in names]


def assign_splits(albums: Sequence[Album]) -> list[Album]:
    """The albums, in their order, each with a split: 80 % train, 10 % val, 10 % test.

    An album that has a split keeps it.  The others go where the SHA-256 of their id puts them, so an album
    stays where it is when others are added or removed.  One exception, for tiny sets: where that leaves a
    split empty though there are three albums or more, the free album whose hash lies nearest to the empty
    split's interval moves there, unless it is the last of its own split.
    """
    splits = {album.album_id: album.split or _hashed_split(album.album_id) for album in albums}
    free = [album.album_id for album in albums if album.split is None]
    for empty in SPLITS if len(albums) >= len(SPLITS) else ():
        sizes = Counter(splits.values())
        movable = [album_id for album_id in free if sizes[splits[album_id]] > 1]
        if not sizes[empty] and movable:
            splits[min(movable, key=lambda album_id: (_distance(album_id, empty), album_id))] = empty
    return [replace(album, split=splits[album.album_id]) for album in albums]


def _hashed_split(album_id: str) -> str:
    return next(split for split in SPLITS if _distance(album_id, split) == 0)


def _distance(album_id: str, split: str) -> float:
    """How far the album's hash lies from the split's interval, 0 inside it."""
    # surrogatepass: ids may come from file names that are not UTF-8
    digest = hashlib.sha256(album_id.encode("utf-8", "surrogatepass")).digest()
    position = int.from_bytes(digest[:6], "big") / 2**48  # exact in a float, and never 1
    low, high = INTERVALS[split]
    return max(low - position, position - high, 0.0)
