"""MuMu's tables: the tracks and genres of every album (CSV), the names of the genres, and the published splits."""

import codecs
import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mumu_jax.data.manifest import SPLITS
from mumu_jax.data.sources.downloads import other_than_data
from mumu_jax.data.sources.files import read_list
from mumu_jax.data.sources.finding import Finding, Reject, Report, rejecter, some
from mumu_jax.data.sources.mumu import taxonomy
from mumu_jax.data.sources.mumu.amazon import Entry
from mumu_jax.data.sources.mumu.release import COPY_AGAIN, FROM_HOME, SPLITS_FOLDER, Release, is_data
from mumu_jax.data.sources.tartarus import items_index

HEADER = ("amazon_id", "album_mbid", "MSD_track_id", "recording_mbid", "artist_mbid", "genres")
TRACK_ID = re.compile(r"TR[A-Z0-9]{16}")

# Data sets that the published splits may be of.  The first that is there counts: albums before tracks.
DATASETS = ("MuMu-albums", "MuMu", "MuMu-tracks")
TARTARUS = "the lists are in the authors' code, https://github.com/sergiooramas/tartarus"


@dataclass
class Listed:
    """An album as the CSV file has it."""

    genres: tuple[str, ...]
    track_ids: list[str] = field(default_factory=list)


# --- the CSV file -------------------------------------------------------------------------------------------


def read_csv(path: Path, single_label: bool, report: Report) -> dict[str, Listed]:
    """Return the albums by amazon_id, in the file's order.

    A track that is listed again on its album counts once; one that is on two albums belongs to the first, and the other
    row is rejected.  If an album's rows name different genres it has them all; with `single_label` it has the first,
    and rows that name another are rejected.  It is an error if the file is not one of MuMu's.
    """
    albums: dict[str, Listed] = {}
    album_of: dict[str, str] = {}
    repeated = set()
    reject = rejecter(report, path, COPY_AGAIN)
    with path.open("rb") as lines:
        if not _has_header(path, next(lines, b""), report):
            return {}
        for line, album_id, track_id, genres in _rows(lines, reject):
            album = albums.get(album_id)
            if single_label and (len(genres) > 1 or (album and album.genres != genres)):
                expected = f"the one genre {album.genres[0]!r}" if album else "one genre"
                reject(line, "conflict", f"{expected} for {album_id}", ", ".join(genres))
                continue
            if album is None:
                album = albums[album_id] = Listed(genres)
            elif album.genres != genres:
                album.genres = tuple(dict.fromkeys(album.genres + genres))
            first_album = album_of.setdefault(track_id, album_id)
            if first_album != album_id:
                found = f"{track_id} on {album_id}, though it is on {first_album}, where it stays"
                reject(line, "conflict", "each track on one album", found)
            elif track_id in album.track_ids:
                repeated.add(track_id)
            else:
                album.track_ids.append(track_id)
    if repeated:
        found = f"{len(repeated):,} listed again: {some(sorted(repeated))}"
        report(Finding("note", path, "each track once", found, "nothing to do: each counts once"))
    if not albums:
        report(Finding("error", path, "a row for each track", "no row that can be read", COPY_AGAIN))
    return albums


def _has_header(path: Path, line: bytes, report: Report) -> bool:
    try:
        header = tuple(name.strip() for name in _cells(line.removeprefix(codecs.BOM_UTF8)))
    except (UnicodeDecodeError, csv.Error):
        header = ()
    if header != HEADER:
        remedy = f"use the file as it was released: {FROM_HOME}"
        if line.startswith(codecs.BOM_UTF16_LE) or b";" in line:
            remedy = f"a spreadsheet program saved it in another format: {remedy}"
        found = other_than_data(path) or repr(line[:60])
        report(Finding("error", path, f"the header {','.join(HEADER)} in UTF-8", found, remedy, line=1))
    return header == HEADER


def _rows(lines: Iterable[bytes], reject: Reject) -> Iterator[tuple[int, str, str, tuple[str, ...]]]:
    """Yield line number, amazon_id, MSD track id and genres of each valid row below the header.

    No cell holds a line break, so a quote left open ends with its line.
    """
    genres_of: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(lines, 2):
        try:
            cells = _cells(line)
        except (UnicodeDecodeError, csv.Error) as error:
            kind = ("not_utf8", "UTF-8") if isinstance(error, UnicodeDecodeError) else ("malformed", "CSV")
            reject(number, *kind, f"{error} in {line[:60]!r}")
            continue
        if not any(cells):
            continue
        genres = genres_of.get(cells[-1]) or genres_of.setdefault(cells[-1], split_genres(cells[-1]))
        if fault := _fault(cells, genres):
            expected, found = fault
            reject(number, "malformed", expected, f"{found} in {line[:60]!r}")
        else:
            yield number, cells[0], cells[2], genres


def split_genres(cell: str) -> tuple[str, ...]:
    """Return the genres of a cell, each once.  Only a comma that no space follows separates two."""
    return tuple(dict.fromkeys(filter(None, (genre.strip() for genre in re.split(",(?! )", cell)))))


def _cells(line: bytes) -> list[str]:
    # strict: an open quote is an error
    return next(csv.reader((line.decode("utf-8").rstrip("\r\n"),), strict=True), [])


def _fault(cells: list[str], genres: tuple[str, ...]) -> tuple[str, str] | None:
    """Return what was expected of an invalid row, and what was found."""
    if len(cells) != len(HEADER):
        return f"{len(HEADER)} cells", str(len(cells))
    if not cells[0]:
        return "an amazon_id", "an empty cell"
    if not genres:
        return "genres", "an empty cell"
    return None if TRACK_ID.fullmatch(cells[2]) else ("an MSD track id", repr(cells[2]))


# --- the names of the genres --------------------------------------------------------------------------------


def read_labels(path: Path, report: Report) -> list[str]:
    """Return the published names of the genres.  It is an error if one is repeated, or the file is something else."""
    if not is_data(path, "one genre per line", report):
        return []
    labels = read_list(path, report)
    for number, (label, other) in enumerate(zip(labels, sorted(labels), strict=True), 1):
        if label != other:
            expected = "genres in ASCII order, as in the columns of y_*.npy"
            found = f"{label!r} in line {number}, where {other!r} belongs"
            report(Finding("warning", path, expected, found, COPY_AGAIN))
            break
    return labels


def name_labels(listed: Mapping[str, Listed], published: list[str], release: Release, report: Report) -> list[str]:
    """Return the published labels, of the single-label file those that occur; then the others that occur."""
    occurring = {genre for album in listed.values() for genre in album.genres}
    others = sorted(occurring.difference(published))
    if published and others and release.genre_labels:
        found = f"{len(others):,} missing, which come last as labels: {some(others)}"
        reject = rejecter(report, release.genre_labels, f"take both files from one release: {FROM_HOME}")
        reject(len(published), "conflict", "the names of all genres", found)
    return [name for name in published if name in occurring or not release.single_label] + others


def list_by_taxonomy(
    entries: Mapping[str, Entry], published: list[str], path: Path, report: Report
) -> dict[str, Listed]:
    """Return the metadata's albums with those of their paths' genres that are published, or else frequent enough."""
    reject = rejecter(report, path, "nothing to do: the album is left out")
    genres = {album_id: taxonomy.genres_of(entry.paths) for album_id, entry in entries.items()}
    labels = frozenset(published or taxonomy.frequent(genres.values()))
    listed = {}
    for album_id, names in genres.items():
        known = tuple(genre for genre in names if genre in labels)
        if known:
            listed[album_id] = Listed(known)
        else:
            found = f"{', '.join(names) or 'no genre'} for {album_id}"
            reject(entries[album_id].line, "no_genre", "a genre that is a label", found)
    return listed


# --- the published splits -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Splits:
    """The split of every album that the published lists name, and the lists of the data set `dataset` by split."""

    dataset: str | None = None
    of_album: Mapping[str, str] = field(default_factory=dict)
    lists: Mapping[str, list[str]] = field(default_factory=dict)


def read_splits(root: Path, listed: Mapping[str, Listed], report: Report) -> Splits:
    """Read the published lists, of albums or of tracks; none counts if one of the three is missing.

    Ids that are not listed do not count.  An album that is in several lists, itself or by its tracks, belongs to the
    first of train, val and test.
    """
    folder = root / SPLITS_FOLDER
    dataset = next((name for name in DATASETS if any(path.is_file() for path in _lists(folder, name).values())), None)
    if dataset is None:
        return Splits()
    paths = _lists(folder, dataset)
    missing = [path for path in paths.values() if not path.is_file()]
    for path in missing:
        found = "no file, so that none of the lists counts"
        remedy = f"copy all three; {TARTARUS}"
        report(Finding("warning", path, "a list for each split", found, remedy, reason="missing"))
    if missing:
        return Splits(dataset)
    lists = {split: read_list(path, report) for split, path in paths.items()}
    album_of = albums_by_id(listed)
    splits: dict[str, str] = {}
    for split, path in paths.items():
        reject = rejecter(report, path, f"take it out of one list; {TARTARUS}")
        for number, item in enumerate(lists[split], 1):
            album_id = album_of.get(item)
            first_split = album_id and splits.setdefault(album_id, split)
            if first_split and first_split != split:
                found = f"{item}, though album {album_id} is in {first_split}, where it stays"
                reject(number, "conflict", "each album in one split", found)
    return Splits(dataset, splits, lists)


def _lists(folder: Path, dataset: str) -> dict[str, Path]:
    return {split: items_index(folder, split, dataset) for split in SPLITS}


def albums_by_id(listed: Mapping[str, Listed]) -> dict[str, str]:
    """Return the album of every track, and of every album."""
    tracks = {track_id: album_id for album_id, album in listed.items() for track_id in album.track_ids}
    return tracks | {album_id: album_id for album_id in listed}
