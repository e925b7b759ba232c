"""Releases of MusicBrainz, streamed from its JSON dump or from the tables of its database dump.

The JSON dump is `release.tar.xz`, or the file `mbdump/release` of it: a release a line.  The database dump is the
folder `mbdump` with TABLES, of PostgreSQL's COPY: fields between tabs, `\\N` for null, backslash escapes.  Columns are
those of `admin/sql/CreateTables.sql` in metabrainz/musicbrainz-server.
"""

import re
from collections import defaultdict
from collections.abc import Container, Iterator, Mapping
from itertools import islice
from pathlib import Path

import msgspec
from msgspec import Struct, field

from mumu_jax.data.matching.dumps import lines_of
from mumu_jax.data.matching.scoring import Named, named
from mumu_jax.errors import UserError

KINDS = ("Album", "EP", "Single")  # of release groups; of equal names the first is the album
TABLES = ("artist", "artist_credit_name", "release", "release_group", "medium", "track", "recording")
_OTHER_TABLES = ("recording_gid_redirect", "release_meta", "release_group_primary_type")  # may be missing


class Release(Struct, omit_defaults=True):
    """An edition of the album `group` (a release group): its names, its ASIN, and those recordings that are wanted.

    `names` are the credit as it is printed, then each artist's name and the one that it is sorted by, in Latin letters.
    """

    group: str
    title: str
    names: tuple[str, ...]
    artist: str = ""  # the first artist's MBID
    kind: str | None = None
    asin: str | None = None
    recordings: tuple[str, ...] = ()

    @property
    def named(self) -> Named:
        return named(self.title, self.names)


def is_tables(path: Path) -> bool:
    """Return True for a folder of the database dump."""
    return path.is_dir()


def read_releases(path: Path, wanted: Mapping[str, object], skip: int = 0) -> Iterator[Release | None]:
    """Yield the releases but for the first `skip`, with those of their recordings that `wanted` has.

    None stands for a line that is no release, or one without an artist.  Raises UserError if the dump cannot be read.
    """
    return islice(_of_tables(path, wanted), skip, None) if is_tables(path) else _of_json(path, wanted, skip)


# --- the JSON dump ------------------------------------------------------------------------------------------


class _Artist(Struct):
    id: str
    name: str
    sort_name: str = field(name="sort-name", default="")


class _Credit(Struct):
    name: str
    artist: _Artist
    joinphrase: str = ""


class _Id(Struct):
    id: str


class _Track(Struct):
    recording: _Id | None = None


class _Medium(Struct):
    tracks: list[_Track] = []
    pregap: _Track | None = None


class _Group(Struct):
    id: str
    kind: str | None = field(name="primary-type", default=None)


class _Line(Struct):
    title: str
    group: _Group = field(name="release-group")
    credit: list[_Credit] = field(name="artist-credit")
    media: list[_Medium] = []
    asin: str | None = None


def _of_json(path: Path, wanted: Container[str], skip: int) -> Iterator[Release | None]:
    decode = msgspec.json.Decoder(_Line).decode
    n_valid = 0
    lines = lines_of(path, "release")
    for number, line in enumerate(islice(lines, skip, None), skip + 1):
        try:
            release = _release(decode(line), wanted)
            n_valid += 1
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            if not n_valid and number > skip + 100:
                raise UserError(
                    f"{path}: expected a release of MusicBrainz in each line, as JSON with artist-credit and "
                    f"release-group, found: {error}; give release.tar.xz of the JSON dumps"
                ) from error
            release = None
        yield release


def _release(line: _Line, wanted: Container[str]) -> Release | None:
    if not line.credit:
        return None
    tracks = [track for one in line.media for track in (*([one.pregap] if one.pregap else ()), *one.tracks)]
    recordings = (track.recording.id for track in tracks if track.recording)
    printed = "".join(credit.name + credit.joinphrase for credit in line.credit)
    others = (name for credit in line.credit for name in (credit.name, credit.artist.name, credit.artist.sort_name))
    return Release(
        line.group.id,
        line.title,
        tuple(dict.fromkeys(name for name in (printed, *others) if name)),
        line.credit[0].artist.id,
        line.group.kind,
        line.asin,
        tuple(dict.fromkeys(one for one in recordings if one in wanted)),
    )


# --- the tables ---------------------------------------------------------------------------------------------

_KIND_NUMBERS = {"1": "Album", "2": "Single", "3": "EP"}  # where the table of their names is missing
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def rows_of(folder: Path, table: str, *columns: int) -> Iterator[tuple[str, ...]]:
    """Yield the values of a table's columns; null is an empty string.

    Raises UserError if the table is missing and not one that may be, or has fewer columns.
    """
    names = (table, f"{table}.gz", f"{table}.bz2", f"{table}.xz")
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        if table in _OTHER_TABLES:
            return
        raise UserError(
            f"expected the tables {', '.join(TABLES)} in {folder}, found no {table}; unpack mbdump.tar.bz2 there, or "
            "give release.tar.xz of the JSON dumps"
        )
    for number, line in enumerate(lines_of(path), 1):
        cells = line.decode("utf-8", "replace").rstrip("\n").split("\t")
        if len(cells) <= max(columns):
            raise UserError(
                f"{path}:{number}: expected {max(columns) + 1} columns, found {len(cells)}; unpack it again"
            )
        yield tuple(_cell(cells[column]) for column in columns)


def _cell(cell: str) -> str:
    if "\\" not in cell:
        return cell
    return "" if cell == r"\N" else _ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[1]), cell)


def _of_tables(folder: Path, wanted: Mapping[str, object]) -> Iterator[Release | None]:
    artists = {number: (gid, name, sort_name) for number, gid, name, sort_name in rows_of(folder, "artist", 0, 1, 2, 3)}
    credits_ = _credits(folder, artists)
    kinds = {row[0]: row[1] for row in rows_of(folder, "release_group_primary_type", 0, 1)} or _KIND_NUMBERS
    groups = {number: (gid, kinds.get(kind)) for number, gid, kind in rows_of(folder, "release_group", 0, 1, 4)}
    asins = {number: asin for number, asin in rows_of(folder, "release_meta", 0, 3) if asin}
    recordings = _recordings(folder, wanted)
    for number, name, credit, group in rows_of(folder, "release", 0, 2, 3, 4):
        if credit not in credits_ or group not in groups:
            yield None
            continue
        artist, names = credits_[credit]
        gid, kind = groups[group]
        yield Release(gid, name, names, artist, kind, asins.get(number), tuple(recordings.get(number, ())))


def _credits(folder: Path, artists: Mapping[str, tuple[str, str, str]]) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return the first artist's MBID and the names of each artist credit."""
    members: dict[str, list[tuple[int, str, str, str]]] = defaultdict(list)
    for credit, position, artist, name, join in rows_of(folder, "artist_credit_name", 0, 1, 2, 3, 4):
        if artist in artists:
            members[credit].append((int(position), artist, name, join))
    credits_ = {}
    for credit, rows in members.items():
        rows.sort()
        printed = "".join(name + join for _, _, name, join in rows)
        others = (one for _, artist, name, _ in rows for one in (name, *artists[artist][1:]))
        credits_[credit] = artists[rows[0][1]][0], tuple(dict.fromkeys(filter(None, (printed, *others))))
    return credits_


def _recordings(folder: Path, wanted: Mapping[str, object]) -> dict[str, dict[str, None]]:
    """Return the wanted recordings of each release; a recording that was merged is found by its former MBID, too.

    Tables are read one after the other, so that only rows of wanted recordings are held.
    """
    former: dict[str, list[str]] = defaultdict(list)
    for gid, recording in rows_of(folder, "recording_gid_redirect", 0, 1):
        if gid in wanted:
            former[recording].append(gid)
    for recording, gid in rows_of(folder, "recording", 0, 1):
        if gid in wanted:
            former[recording].append(gid)
    on_medium: dict[str, list[str]] = defaultdict(list)
    for recording, medium in rows_of(folder, "track", 2, 3):
        if recording in former:
            on_medium[medium].append(recording)
    of_release: dict[str, dict[str, None]] = defaultdict(dict)
    for medium, release in rows_of(folder, "medium", 0, 1):
        for recording in on_medium.get(medium, ()):
            of_release[release].update(dict.fromkeys(former[recording]))
    return of_release
