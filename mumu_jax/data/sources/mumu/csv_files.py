"""The two CSV files: the tracks and genres of every album."""

import codecs
import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from mumu_jax.data.sources.mumu.rejections import Reject
from mumu_jax.data.sources.mumu.release import FROM_HOME
from mumu_jax.errors import UserError

HEADER = ("amazon_id", "album_mbid", "MSD_track_id", "recording_mbid", "artist_mbid", "genres")
TRACK_ID = re.compile(r"TR[A-Z0-9]{16}")


class Row(NamedTuple):
    """A track: its line in the file, its album, its id in the MSD and its album's genres."""

    line: int
    amazon_id: str
    track_id: str
    genres: tuple[str, ...]


@dataclass
class Listed:
    """An album as the file has it."""

    genres: tuple[str, ...]
    track_ids: list[str] = field(default_factory=list)


def albums_by_id(listed: Mapping[str, Listed]) -> dict[str, str]:
    """The album of every track, and of every album."""
    tracks = {track_id: album_id for album_id, album in listed.items() for track_id in album.track_ids}
    return tracks | {album_id: album_id for album_id in listed}


def read_csv(path: Path, single_label: bool, reject: Reject) -> dict[str, Listed]:
    """The albums by amazon_id, in the file's order.

    A track that is listed again on its album counts once; one that is on two albums belongs to the first, and the other
    row is rejected.  Where an album's rows name different genres it has them all; with `single_label` it has the
    first, and rows that name another are rejected.  Raises UserError where the file is not one of MuMu's.
    """
    albums: dict[str, Listed] = {}
    album_of: dict[str, str] = {}
    for row in read_rows(path, reject):
        album = albums.get(row.amazon_id)
        if single_label and (len(row.genres) > 1 or (album and album.genres != row.genres)):
            expected = f"the one genre {album.genres[0]!r}" if album else "one genre"
            reject(row.line, "conflict", f"expected {expected} of {row.amazon_id}, found {', '.join(row.genres)!r}")
            continue
        if album is None:
            album = albums[row.amazon_id] = Listed(row.genres)
        elif album.genres != row.genres:
            album.genres = tuple(dict.fromkeys(album.genres + row.genres))
        if row.track_id not in album_of:
            album_of[row.track_id] = row.amazon_id
            album.track_ids.append(row.track_id)
        elif album_of[row.track_id] != row.amazon_id:
            detail = f"{row.track_id} is already on album {album_of[row.track_id]}, and stays there"
            reject(row.line, "conflict", detail)
    return albums


def read_rows(path: Path, reject: Reject) -> Iterator[Row]:
    """The rows that are as they must be.  No cell holds a line break, so a quote left open ends with its line."""
    genres_of: dict[str, tuple[str, ...]] = {}
    with path.open("rb") as lines:
        _check_header(path, next(lines, b""))
        for number, line in enumerate(lines, 2):
            try:
                cells = _cells(line)
            except UnicodeDecodeError as error:
                reject(number, "not_utf8", f"{error}: {line[:60]!r}")
                continue
            except csv.Error as error:
                reject(number, "malformed", f"{error}: {line[:60]!r}")
                continue
            if not any(cells):
                continue
            genres = genres_of.get(cells[-1]) or genres_of.setdefault(cells[-1], split_genres(cells[-1]))
            if len(cells) == len(HEADER) and cells[0] and TRACK_ID.fullmatch(cells[2]) and genres:
                yield Row(number, cells[0], cells[2], genres)
            else:
                reject(number, "malformed", f"{_fault(cells)}: {line[:60]!r}")


def split_genres(cell: str) -> tuple[str, ...]:
    """The genres of a cell, each once.  Only a comma that no space follows stands between two."""
    return tuple(dict.fromkeys(filter(None, (genre.strip() for genre in re.split(",(?! )", cell)))))


def _cells(line: bytes) -> list[str]:
    # strict: an open quote is an error
    return next(csv.reader((line.decode("utf-8").rstrip("\r\n"),), strict=True), [])


def _fault(cells: list[str]) -> str:
    if len(cells) != len(HEADER):
        return f"expected {len(HEADER)} cells, found {len(cells)}"
    if not cells[0]:
        return "expected an amazon_id, found an empty cell"
    return "expected genres, found an empty cell" if not cells[-1] else f"expected an MSD track id, found {cells[2]!r}"


def _check_header(path: Path, line: bytes) -> None:
    try:
        header = tuple(name.strip() for name in _cells(line.removeprefix(codecs.BOM_UTF8)))
    except (UnicodeDecodeError, csv.Error):
        header = ()
    if header != HEADER:
        saved = "a spreadsheet program saved it anew: " if line.startswith(codecs.BOM_UTF16_LE) or b";" in line else ""
        raise UserError(
            f"{path}:1: expected the header {','.join(HEADER)} in UTF-8, found {line[:60]!r}; "
            f"{saved}use the file as it was released: {FROM_HOME}"
        )
