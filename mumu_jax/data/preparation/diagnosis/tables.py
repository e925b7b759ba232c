"""The tables and the metadata: albums, tracks and labels, and whether they agree."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from mumu_jax.data.preparation.diagnosis.fault import MUMU, NOTHING_TO_DO, Fault, of_error, of_rejected, some
from mumu_jax.data.sources.mumu import taxonomy
from mumu_jax.data.sources.mumu.csv_files import Listed, read_csv, read_rows
from mumu_jax.data.sources.mumu.first_bytes import other_than_data
from mumu_jax.data.sources.mumu.labels import from_taxonomy, read_labels
from mumu_jax.data.sources.mumu.metadata import Entry, read_metadata
from mumu_jax.data.sources.mumu.rejections import Rejections
from mumu_jax.data.sources.mumu.release import GENRE_LABELS, METADATA, Release
from mumu_jax.errors import UserError

# The released files: albums and tracks of the multi-label and of the single-label file, and labels.
PUBLISHED = {False: (31_471, 147_295), True: (2_321, 12_087)}
N_LABELS = 250


def read_tables(release: Release) -> tuple[dict[str, Listed], list[Fault]]:
    """The albums as the source has them, none where it cannot; and what is wrong with the files that name them."""
    labels, faults = _read_labels(release.genre_labels) if release.genre_labels else ([], [_no_labels(release)])
    entries, of_metadata = _read_metadata(release.metadata) if release.metadata else ({}, [_no_metadata(release)])
    faults += of_metadata
    if release.csv:
        listed, of_csv = _read_csv(release.csv, release.single_label)
        faults += of_csv
        if listed and entries and not of_metadata:
            faults += _compare(release, listed, entries)
    else:
        listed = from_taxonomy(entries, labels, lambda *_: None)
        faults.append(_no_csv(release.root))
    if listed and release.genre_labels and labels:
        faults += _check_labels(release.genre_labels, labels, listed, release.single_label)
    if listed:
        faults += _check_counts(release, listed)
    return listed, faults


def _no_labels(release: Release) -> Fault:
    remedy = f"nothing: the labels are the genres that occur, in ASCII order too; {MUMU}"
    return Fault("note", release.root / GENRE_LABELS, "the names of all genres", "no file", remedy)


def _no_metadata(release: Release) -> Fault:
    remedy = f"fetch it, or do without the tree of genres; {MUMU}"
    return Fault("note", release.root / METADATA, "the albums' paths in the taxonomy", "no file", remedy)


def _no_csv(root: Path) -> Fault:
    found = "only the metadata, which names genres but no tracks"
    return Fault("warning", root, "a CSV file", found, f"fetch it, or do without audio and timbre; {MUMU}")


def _read_labels(path: Path) -> tuple[list[str], list[Fault]]:
    remedy = f"copy the file again, or remove it; {MUMU}"
    try:
        labels = read_labels(path)
    except UserError as error:
        return [], [of_error(path, "a genre a line, each once", error)]
    faults = []
    if labels != sorted(labels):
        at = next(i for i, (one, other) in enumerate(zip(labels, sorted(labels), strict=True)) if one != other)
        found = f"{labels[at]!r} in line {at + 1}, where {sorted(labels)[at]!r} belongs"
        faults.append(Fault("warning", path, "genres in ASCII order, as in the columns of y_*.npy", found, remedy))
    if len(labels) != N_LABELS:
        faults.append(Fault("note", path, f"{N_LABELS} genres, as published", f"{len(labels):,}", NOTHING_TO_DO))
    return labels, faults


def _read_metadata(path: Path) -> tuple[dict[str, Entry], list[Fault]]:
    if other := other_than_data(path):
        return {}, [Fault("error", path, "JSON", other, f"copy the file again; {MUMU}")]
    rejections = Rejections()
    try:
        entries = read_metadata(path, rejections.of(path))
    except UserError as error:
        return {}, [of_error(path, "JSON", error)]
    return entries, of_rejected(rejections.lines, "each album once")


def _read_csv(path: Path, single_label: bool) -> tuple[dict[str, Listed], list[Fault]]:
    if other := other_than_data(path):
        return {}, [Fault("error", path, "a CSV file", other, f"copy the file again; {MUMU}")]
    rejections = Rejections()
    try:
        listed = read_csv(path, single_label, rejections.of(path))
    except UserError as error:
        return {}, [of_error(path, "a CSV file", error)]
    conflict = "each track on one album" + (", of one genre" if single_label else "")
    faults = of_rejected(rejections.lines, conflict)
    if not listed:
        faults.append(Fault("error", path, "a row a track", "no row that can be read", f"copy the file again; {MUMU}"))
    seen = Counter((row.track_id, row.amazon_id) for row in read_rows(path, lambda *_: None))
    again = [track_id for (track_id, _), count in seen.items() if count > 1]
    if again:
        found = f"{len(again):,} listed again: {some(again)}"
        faults.append(Fault("note", path, "each track once", found, "nothing: each counts once"))
    return listed, faults


def _check_labels(path: Path, labels: list[str], listed: dict[str, Listed], single_label: bool) -> Iterator[Fault]:
    occurring = {genre for album in listed.values() for genre in album.genres}
    if unknown := sorted(occurring.difference(labels)):
        found = f"{len(unknown):,} that the file lacks: {some(unknown)}"
        remedy = f"take both files from one release: these labels come last; {MUMU}"
        yield Fault("warning", path, "the names of all genres", found, remedy)
    absent = [label for label in labels if label not in occurring]
    if absent and not single_label:
        found = f"{len(absent):,} that are on none: {some(absent)}"
        yield Fault("note", path, "genres that are on an album", found, "nothing: they are never learned")


def _check_counts(release: Release, listed: dict[str, Listed]) -> Iterator[Fault]:
    albums, tracks = PUBLISHED[release.single_label]
    n_tracks = sum(len(album.track_ids) for album in listed.values())
    if release.csv and (len(listed) < albums or n_tracks < tracks):
        expected = f"{albums:,} albums and {tracks:,} tracks, as published"
        found = f"{len(listed):,} albums and {n_tracks:,} tracks"
        yield Fault("note", release.csv, expected, found, f"{NOTHING_TO_DO}; else copy the file again")
    counts = Counter(genre for album in listed.values() for genre in album.genres)
    if rare := sorted(genre for genre, count in counts.items() if count < taxonomy.MIN_ALBUMS):
        found = f"{len(rare):,} on fewer: {some(rare)}"
        path = release.csv or release.metadata or release.root
        yield Fault("note", path, f"each genre on {taxonomy.MIN_ALBUMS} albums or more", found, NOTHING_TO_DO)


def _compare(release: Release, listed: dict[str, Listed], entries: dict[str, Entry]) -> Iterator[Fault]:
    """Whether the metadata know the albums of the CSV file, and by the same genres."""
    assert release.csv
    assert release.metadata
    if lacking := [album_id for album_id in listed if album_id not in entries]:
        found = f"none for {len(lacking):,} of {len(listed):,} albums: {some(lacking)}"
        remedy = f"take both files from one release; {MUMU}"
        yield Fault("warning", release.metadata, "the metadata of all albums", found, remedy)
    known = (
        (album_id, entries[album_id].paths, album.genres) for album_id, album in listed.items() if album_id in entries
    )
    others = [album_id for album_id, paths, genres in known if not {*genres}.issubset(taxonomy.genres_of(paths))]
    if others and not release.single_label:
        found = f"others than {release.csv.name} for {len(others):,} of {len(listed):,} albums: {some(others)}"
        yield Fault(
            "note", release.metadata, "paths with the genres of all albums", found, "nothing: the CSV file counts"
        )
