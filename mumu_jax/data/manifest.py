"""Manifest of a collection: one album a line as JSON, what every source gives and `prepare` writes."""

import codecs
import hashlib
import json
import os
import re
import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, get_type_hints

import msgspec
from msgspec import Meta, Struct

from mumu_jax.errors import UserError, nearest
from mumu_jax.system.files import replacing

SPLITS = ("train", "val", "test")

# The range of an album's hash (0 to 1) that puts it in a split: 80/10/10, Oramas et al. 2017, section 6.
INTERVALS = {"train": (0.0, 0.8), "val": (0.8, 0.9), "test": (0.9, 1.0)}

Name = Annotated[str, Meta(pattern=r"\S")]  # not blank
Split = Annotated[str, Meta(pattern=rf"\A({'|'.join(SPLITS)})\Z")]
Count = Annotated[int, Meta(ge=0)]


@dataclass(frozen=True)
class Track:
    """A recording: its unique id, its audio file, and the MSD's `.h5` file that holds its timbre."""

    track_id: str
    audio: Path
    timbre: Path | None = None


@dataclass(frozen=True)
class Album:
    """An album: its genres (multi-label) and its recordings; its reviews and its cover if there are any.

    `split` is None until `assign_splits` decides.  `text` is the text of all reviews, `n_reviews` their number if it is
    known.  `cover` is an image file, `entities` a file with an entity linker's output for the text.
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
    """A genre: its name, and the name of its parent in the taxonomy (None at the top, or if it is unknown)."""

    name: Name
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

    A path below the manifest's folder is written relative to it, so that the folder can be moved as a whole.  All
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


def write_labels(path: Path, labels: Sequence[Label]) -> None:
    """Write `[{"name", "parent"}, …]` in column order, one label a line, whole or not at all."""
    lines = [_encode(asdict(label)).strip() for label in labels]
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(b"[\n" + b",\n".join(lines) + b"\n]\n")


def _track_line(track: Track, folder: Path) -> dict[str, str]:
    line = {"track_id": track.track_id, "audio": _stored(track.audio, folder)}
    return line | {"timbre": _stored(track.timbre, folder)} if track.timbre else line


def _stored(path: Path, folder: Path) -> str:
    path = Path(os.path.abspath(path))
    return (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()


def _encode(value: Any) -> bytes:
    # A file name that is not UTF-8 reaches Python as lone surrogates.  Written as `\udcXX` they are valid JSON, and
    # are read as the same file name; msgspec's own JSON has no such strings.
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


# --- reading ------------------------------------------------------------------------------------------------


def words(text: str) -> Meta:
    """Describe a key's value; an error quotes it."""
    return Meta(description=text)


class TrackLine(Struct, forbid_unknown_fields=True):
    """A track as the manifest file stores it."""

    track_id: Annotated[Name, words("a non-empty string")]
    audio: Annotated[Name, words("a path")]
    timbre: Annotated[str | None, words("a path or null")] = None


class AlbumLine(Struct, forbid_unknown_fields=True):
    """An album as the manifest file stores it."""

    album_id: Annotated[Name, words("a non-empty string")]
    genres: Annotated[list[Name], words("a list of non-empty strings")]
    tracks: Annotated[list[TrackLine], words('a list of {"track_id", "audio"}')]
    split: Annotated[Split | None, words("train, val, test or null")] = None
    text: Annotated[str | None, words("a string or null")] = None
    cover: Annotated[str | None, words("a path or null")] = None
    entities: Annotated[str | None, words("a path or null")] = None
    n_reviews: Annotated[Count | None, words("a number of reviews or null")] = None


def read_manifest(path: Path) -> list[Album]:
    """Return the albums of a manifest in its order; relative paths start at the manifest's folder.

    `album_id`, `genres` and `tracks` are required, every other key of `AlbumLine` may be null or missing.  A BOM, blank
    lines and CRLF are ignored.  Raises UserError, which names the line, on anything that is not such an album, and on
    an id that occurs twice.
    """
    albums: list[Album] = []
    album_places: dict[str, str] = {}
    track_places: dict[str, str] = {}
    for place, line in _numbered_lines(path):
        album = _parse_album(line, path.parent, place)
        _note_id("album_id", album.album_id, place, album_places)
        for track in album.tracks:
            _note_id("track_id", track.track_id, place, track_places)
        albums.append(album)
    return albums


def _note_id(key: str, value: str, place: str, places: dict[str, str]) -> None:
    if value in places:
        raise UserError(
            f"{place}: {key} {value!r} is already in {places[value]}; give every album and every track an id of its own"
        )
    places[value] = place


def read_labels(path: Path) -> list[Label]:
    """Return the labels in column order; raises UserError if `path` is not what `write_labels` writes."""
    try:
        labels = msgspec.convert(json.loads(path.read_bytes()), list[Label])
    except OSError as error:
        raise _unreadable(path, error) from error
    except (ValueError, msgspec.ValidationError) as error:
        raise UserError(f"{path}: expected JSON of labels, found: {error}; prepare the data again") from error
    for name, count in Counter(label.name for label in labels).items():
        if count > 1:
            raise UserError(f"{path}: the label {name!r} occurs {count} times; every column needs its own name")
    return labels


def _numbered_lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield (`file:line`, line) for every line that is not blank."""
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
                if line.strip():
                    yield f"{path}:{number}", line
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(f"cannot read {path}: {error.strerror}; give the path of a file that exists")


def _parse_album(line: bytes, folder: Path, place: str) -> Album:
    try:
        fields = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{place}: expected one album as JSON in UTF-8, found {error}; fix the line") from error
    if not isinstance(fields, dict):
        raise UserError(f"{place}: expected one album as a JSON object, found {reprlib.repr(fields)}; fix the line")
    try:
        album = msgspec.convert(fields, AlbumLine)
    except msgspec.ValidationError as error:
        whose = f" of album {reprlib.repr(fields['album_id'])}" if "album_id" in fields else ""
        raise UserError(f"{place}: {_explain(str(error), fields)}; fix the line{whose}") from error

    def path_of(stored: str | None) -> Path | None:
        return folder / stored if stored else None

    return Album(
        album_id=album.album_id,
        genres=tuple(dict.fromkeys(album.genres)),
        tracks=tuple(Track(track.track_id, folder / track.audio, path_of(track.timbre)) for track in album.tracks),
        split=album.split,
        text=album.text,
        cover=path_of(album.cover),
        entities=path_of(album.entities),
        n_reviews=album.n_reviews,
    )


# Each key's value in words.
EXPECTED = {
    key: hint.__metadata__[-1].description
    for line in (AlbumLine, TrackLine)
    for key, hint in get_type_hints(line, include_extras=True).items()
}


def _explain(complaint: str, fields: dict[str, Any]) -> str:
    """Return what msgspec says is wrong with `fields` in words that quote EXPECTED and the value.

    Its complaint is such as "Expected `str`, got `int` - at `$.tracks[0].audio`".
    """
    fault, _, path = complaint.partition(" - at ")
    path = path.strip("`$.")
    if unknown := re.search("unknown field `(.*)`", fault):
        keys = (TrackLine if path else AlbumLine).__struct_fields__
        near = nearest(unknown[1], keys)
        advice = f"did you mean {near!r}?" if near else f"the keys are {', '.join(keys)}"
        return f"unknown key {unknown[1]!r} ({advice})"
    if missing := re.search("missing required field `(.*)`", fault):
        keys = ", ".join(_value_at(path, fields)) or "(none)"
        return f"expected {missing[1]!r} to be {EXPECTED[missing[1]]}, found only the keys {keys}"
    path = re.sub(r"\[\d+\]$", "", path)  # an element of a list: show the whole list
    return f"expected {path!r} to be {EXPECTED[path.rpartition('.')[2]]}, found {reprlib.repr(_value_at(path, fields))}"


def _value_at(path: str, fields: Any) -> Any:
    for step in re.findall(r"\w+", path):  # tracks, 0, audio
        fields = fields[int(step) if isinstance(fields, list) else step]
    return fields


def albums_sha256(albums: Iterable[Album]) -> str:
    """Return a checksum of the albums' ids, splits and genres."""
    lines = (_encode([album.album_id, album.split, album.genres]) for album in albums)
    return hashlib.sha256(b"".join(lines)).hexdigest()


# --- labels and splits --------------------------------------------------------------------------------------


def labels_of(albums: Iterable[Album], parents: Mapping[str, str | None] = MappingProxyType({})) -> list[Label]:
    """Return every genre of the albums in code point order, with its parent if `parents` names one."""
    names = sorted({genre for album in albums for genre in album.genres})
    return [Label(name, parents.get(name)) for name in names]


def assign_splits(albums: Sequence[Album]) -> list[Album]:
    """Return the albums in their order, each with a split: 80 % train, 10 % val, 10 % test.

    An album that has a split keeps it.  The SHA-256 of its id decides for every other one, so that an album stays in
    its split when others are added or removed.  Tiny sets are an exception: see `_fill_empty_splits`.
    """
    splits = {album.album_id: album.split or _hashed_split(album.album_id) for album in albums}
    if len(albums) >= len(SPLITS):
        _fill_empty_splits(splits, [album.album_id for album in albums if album.split is None])
    return [replace(album, split=splits[album.album_id]) for album in albums]


def _fill_empty_splits(splits: dict[str, str], free: Sequence[str]) -> None:
    """Move one of the `free` albums into each empty split: the one whose hash is nearest to the split's interval.

    The last album of a split stays in it.
    """
    for empty in SPLITS:
        sizes = Counter(splits.values())
        movable = [album_id for album_id in free if sizes[splits[album_id]] > 1]
        if not sizes[empty] and movable:
            splits[min(movable, key=lambda album_id: (_distance(album_id, empty), album_id))] = empty


def _hashed_split(album_id: str) -> str:
    return next(split for split in SPLITS if _distance(album_id, split) == 0)


def _distance(album_id: str, split: str) -> float:
    """Return the distance of the album's hash from the split's interval; 0 inside it."""
    # surrogatepass: ids may come from file names that are not UTF-8
    digest = hashlib.sha256(album_id.encode("utf-8", "surrogatepass")).digest()
    position = int.from_bytes(digest[:6], "big") / 2**48  # exact in a float, and never 1
    low, high = INTERVALS[split]
    return max(low - position, position - high, 0.0)
