"""Manifest of a collection: one album a line as JSON, what every source gives and `prepare` writes."""

import codecs
import hashlib
import json
import os
import re
import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args

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


class Track(Struct, frozen=True, forbid_unknown_fields=True):
    """A recording: its unique id, its audio file, the MSD's `.h5` file that holds its timbre, and its lyrics.

    These are in a text file, or in the tags of the song itself.
    """

    track_id: str
    audio: Path
    timbre: Path | None = None
    lyrics: Path | None = None


class Album(Struct, frozen=True, forbid_unknown_fields=True):
    """An album: its genres (multi-label) and its recordings; its reviews and its cover if there are any.

    `split` is None until `assign_splits` decides.  `text` is the text of all reviews, `n_reviews` their number if it is
    known.  `cover` is an image file, `entities` a file with an entity linker's output for the text.
    """

    album_id: str
    genres: tuple[Name, ...]
    tracks: tuple[Track, ...]
    split: Split | None = None
    text: str | None = None
    cover: Path | None = None
    entities: Path | None = None
    n_reviews: Count | None = None


@dataclass(frozen=True)
class Label:
    """A genre: its name, and the name of its parent in the taxonomy (None at the top, or if it is unknown)."""

    name: Name
    parent: str | None = None


_KEYS = f"keys: {', '.join(Album.__struct_fields__)}; of a track: {', '.join(Track.__struct_fields__)}"

Reason = Literal[
    "missing",
    "unreadable",
    "empty",
    "short",
    "not_audio",
    "not_text",
    "protected",
    "truncated",
    "chained",
    "cancelled",
    "silent",
    "nan",
    "malformed",
    "crashed",
    "placeholder",
    "duplicate",
]
REASONS = get_args(Reason)


class Rejected(Exception):
    """A file that cannot be used: `reason` is one of REASONS, `detail` explains it to a person."""

    def __init__(self, reason: Reason, detail: str):
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
    files = {"audio": track.audio, "timbre": track.timbre, "lyrics": track.lyrics}
    return {"track_id": track.track_id} | {name: _stored(path, folder) for name, path in files.items() if path}


def _stored(path: Path, folder: Path) -> str:
    path = Path(os.path.abspath(path))
    return (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()


def _encode(value: Any) -> bytes:
    # A file name that is not UTF-8 reaches Python as lone surrogates.  Written as `\udcXX` they are valid JSON, and
    # are read as the same file name; msgspec's own JSON has no such strings.
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


# --- reading ------------------------------------------------------------------------------------------------


def read_manifest(path: Path) -> list[Album]:
    """Return the albums of a manifest in its order; relative paths start at the manifest's folder.

    `album_id`, `genres` and `tracks` are required, every other field of `Album` may be null or missing.  A BOM, blank
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
        fields = json.loads(line.decode("utf-8"), object_hook=_without_blank)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{place}: expected one album as JSON in UTF-8, found {error}; fix the line") from error

    def as_path(kind: type, value: Any) -> Path:
        if not isinstance(value, str):
            raise TypeError(f"Expected a path, got {value!r:.60}")
        return folder / value

    try:
        album = msgspec.convert(fields, Album, dec_hook=as_path)
    except msgspec.ValidationError as error:
        named = isinstance(fields, dict) and "album_id" in fields
        whose = f" of album {reprlib.repr(fields['album_id'])}" if named else ""
        raise UserError(f"{place}: {_in_words(error)}; fix the line{whose} ({_KEYS})") from error
    return msgspec.structs.replace(album, genres=tuple(dict.fromkeys(album.genres)))


def _in_words(error: msgspec.ValidationError) -> str:
    """Return msgspec's message without regular expressions, and with the known key that is most like an unknown one."""
    message = str(error)
    for pattern, words in ((r"\S", "text that is not blank"), (rf"\A({'|'.join(SPLITS)})\Z", ", ".join(SPLITS))):
        message = message.replace(f"`str` matching regex {pattern!r}", words)
    unknown = re.search(r"unknown field `(.*?)`", message)
    near = nearest(unknown[1], (*Album.__struct_fields__, *Track.__struct_fields__)) if unknown else None
    return f"{message} (did you mean {near!r}?)" if near else message


def _without_blank(fields: dict[str, Any]) -> dict[str, Any]:
    """Leave out ids and paths that are blank: they count as missing."""
    ids_and_paths = ("album_id", "cover", "entities", "track_id", "audio", "timbre", "lyrics")
    blank = [key for key in ids_and_paths if isinstance(fields.get(key), str) and not fields[key].strip()]
    return {key: value for key, value in fields.items() if key not in blank}


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
    splits = {album.album_id: album.split or hashed_split(album.album_id) for album in albums}
    if len(albums) >= len(SPLITS):
        _fill_empty_splits(splits, [album.album_id for album in albums if album.split is None])
    return [msgspec.structs.replace(album, split=splits[album.album_id]) for album in albums]


def split_groups(names: Iterable[str]) -> dict[str, str]:
    """Return a split for each group of albums, such as an artist's, as if it were an album of that name."""
    groups = assign_splits([Album(name, (), ()) for name in dict.fromkeys(names)])
    return {group.album_id: str(group.split) for group in groups}


def _fill_empty_splits(splits: dict[str, str], free: Sequence[str]) -> None:
    """Move one of the `free` albums into each empty split: the one whose hash is nearest to the split's interval.

    The last album of a split stays in it.
    """
    for empty in SPLITS:
        sizes = Counter(splits.values())
        movable = [album_id for album_id in free if sizes[splits[album_id]] > 1]
        if not sizes[empty] and movable:
            splits[min(movable, key=lambda album_id: (_distance(album_id, empty), album_id))] = empty


def hashed_split(album_id: str) -> str:
    """Return the split of an album that has none of its own."""
    return next(split for split in SPLITS if _distance(album_id, split) == 0)


def _distance(album_id: str, split: str) -> float:
    """Return the distance of the album's hash from the split's interval; 0 inside it."""
    # surrogatepass: ids may come from file names that are not UTF-8
    digest = hashlib.sha256(album_id.encode("utf-8", "surrogatepass")).digest()
    position = int.from_bytes(digest[:6], "big") / 2**48  # exact in a float, and never 1
    low, high = INTERVALS[split]
    return max(low - position, position - high, 0.0)
