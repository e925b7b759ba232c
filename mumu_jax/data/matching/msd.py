"""The Million Song Dataset's tracks, and their recordings in MusicBrainz.

Two mappings are public, both of AcousticBrainz Labs.  `msd-mbid-2016-01-results-ab.csv` has track id, recording MBID,
title and artist of 250,000 tracks.  `millionsongdataset_echonest.tar.bz2`, which the paper used, has Echo Nest's answer
for each song as a JSON file, whose tracks of the catalogue `musicbrainz` are recordings; with it the MSD's own list of
songs and tracks is needed.  Either may be packed or not.
"""

import csv
import os
import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

from mumu_jax.data.matching.dumps import files_of, is_archive, lines_of
from mumu_jax.data.sources.mumu.tables import TRACK_ID
from mumu_jax.errors import UserError

MBID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_RECORDING = re.compile(rb'"musicbrainz:track:([0-9a-f-]{36})"')
_SONG = re.compile(r"(SO[A-Z0-9]{16})\.json")
_SEPARATOR = b"<SEP>"

Tracks = dict[str, tuple[str, ...]]  # MSD track ids of each recording, by its MBID


def read_songs(path: Path) -> dict[str, tuple[str, ...]]:
    """Return the MSD's track ids of each song id, from `unique_tracks.txt` or `track_metadata.db`.

    Raises UserError on another file.
    """
    songs: dict[str, list[str]] = defaultdict(list)
    rows = _rows_of_database(path) if path.suffix == ".db" else _rows_of_list(path)
    for track_id, song_id in rows:
        songs[song_id].append(track_id)
    if not songs:
        raise UserError(f"expected the MSD's unique_tracks.txt or track_metadata.db, found no track in {path}")
    return {song: tuple(tracks) for song, tracks in songs.items()}


def _rows_of_list(path: Path) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(lines_of(path), 1):
        cells = line.split(_SEPARATOR)
        if len(cells) != 4:
            raise UserError(
                f"{path}:{number}: expected track, song, artist and title joined by <SEP>, found {line[:40]!r}; give "
                "the MSD's unique_tracks.txt or track_metadata.db"
            )
        yield cells[0].decode(), cells[1].decode()


def _rows_of_database(path: Path) -> Iterator[tuple[str, str]]:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            yield from database.execute("SELECT track_id, song_id FROM songs ORDER BY track_id")
    except sqlite3.Error as error:
        raise UserError(f"{path} is not the MSD's track_metadata.db ({error}); download it again") from error


def read_mapping(path: Path, songs: Mapping[str, tuple[str, ...]] | None) -> Tracks:
    """Return the MSD's tracks of each recording; with `songs`, only tracks that the MSD has.

    Raises UserError if the file is no such mapping, and if it is by songs and `songs` is None.
    """
    by_song = path.is_dir() or is_archive(path)
    if by_song and songs is None:
        raise UserError(
            f"{path} maps the MSD's songs, not its tracks; add --msd=unique_tracks.txt or --msd=track_metadata.db"
        )
    tracks: dict[str, dict[str, None]] = defaultdict(dict)
    known = None if songs is None else {track for of_song in songs.values() for track in of_song}
    for track_id, mbid in _pairs_by_song(path, songs or {}) if by_song else _pairs(path):
        if known is None or track_id in known:
            tracks[mbid][track_id] = None
    if not tracks:
        raise UserError(f"{path} maps no track of the MSD to MusicBrainz; check --mapping and --msd")
    return {mbid: tuple(of_recording) for mbid, of_recording in tracks.items()}


def _pairs(path: Path) -> Iterator[tuple[str, str]]:
    lines = (line.decode("utf-8", "replace") for line in lines_of(path))
    for number, row in enumerate(csv.reader(lines), 1):
        if len(row) >= 2 and TRACK_ID.fullmatch(row[0]) and MBID.fullmatch(row[1]):
            yield row[0], row[1]
        elif number > 1:  # a header may be there
            raise UserError(
                f"{path}:{number}: expected an MSD track id and a recording's MBID, found {','.join(row)[:60]!r}; give "
                "msd-mbid-2016-01-results-ab.csv, or the archive of Echo Nest's answers"
            )


def _pairs_by_song(path: Path, songs: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, str]]:
    for name, content in _answers(path):
        song = _SONG.search(name)
        tracks = songs.get(song[1], ()) if song else ()
        for mbid in dict.fromkeys(_RECORDING.findall(content)) if tracks else ():
            yield from ((track_id, mbid.decode()) for track_id in tracks)


def _answers(path: Path) -> Iterator[tuple[str, bytes]]:
    if not path.is_dir():
        yield from ((name, content.read()) for name, content in files_of(path))
        return
    for folder, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            yield name, Path(folder, name).read_bytes()
