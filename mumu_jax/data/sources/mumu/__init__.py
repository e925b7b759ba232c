"""MuMu as its owner has it: the released files, and beside them folders of audio, covers and MSD's `.h5` files.

Oramas et al. 2017.  The files are named in `release.py`; only a CSV file or the metadata must be there, everything else
may be missing or incomplete.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mumu_jax.data.manifest import Album, Label, Track
from mumu_jax.data.modalities.suffixes import AUDIO_SUFFIXES, IMAGE_SUFFIXES
from mumu_jax.data.sources.base import Collection, Request, Source
from mumu_jax.data.sources.finding import Finding, Report, stop_at_errors
from mumu_jax.data.sources.folders import FOLDERS, H5_SUFFIXES, find_folder, index_files
from mumu_jax.data.sources.mumu import taxonomy
from mumu_jax.data.sources.mumu.amazon import Entry, Reviews, read_metadata, read_reviews
from mumu_jax.data.sources.mumu.release import Release, find_release
from mumu_jax.data.sources.mumu.tables import (
    Listed,
    Splits,
    list_by_taxonomy,
    name_labels,
    read_csv,
    read_labels,
    read_splits,
)


@dataclass(frozen=True)
class Contents:
    """The contents of the released files.

    `published` are the names of `genre_labels_MuMu.tsv`, `labels` those of the data set's columns; `listed` are the
    albums that count, `entries` the metadata of any album.
    """

    release: Release
    published: list[str]
    entries: Mapping[str, Entry]
    listed: Mapping[str, Listed]
    labels: list[str] = field(default_factory=list)
    splits: Splits = field(default_factory=Splits)
    reviews: Reviews = field(default_factory=Reviews)


def read(path: Path, request: Request) -> Collection:
    """Return the albums of the CSV file, or if there is none those of the metadata, which then have no tracks.

    `path` is the folder, or one of the two CSV files in it.  The labels are in the order of `genre_labels_MuMu.tsv`, or
    else in code point order; their parents are those of the metadata's paths.  A track without an audio file has a path
    that does not exist.  Rows and records that cannot be read are listed as rejected.  Raises UserError if
    there is neither a CSV file nor metadata, and if a file is not what its name says.
    """
    findings: list[Finding] = []

    def report(finding: Finding) -> None:
        stop_at_errors(finding)
        findings.append(finding)

    contents = read_files(path, request.max_chars, report)
    albums = _albums(contents, request)
    paths = (contents.entries[album_id].paths for album_id in contents.listed if album_id in contents.entries)
    parents = taxonomy.parents_of(contents.labels, paths)
    return Collection(
        albums,
        labels=[Label(name, parents[name]) for name in contents.labels],
        rejected=[finding.rejected_line() for finding in findings if finding.reason],
        notes=_notes(albums, contents),
    )


def read_files(path: Path, max_chars: int, report: Report) -> Contents:
    """Read the released files, and go on after an error if `report` returns from it."""
    release = find_release(path, report)
    published = read_labels(release.genre_labels, report) if release.genre_labels else []
    entries = read_metadata(release.metadata, report) if release.metadata else {}
    if release.csv:
        listed = read_csv(release.csv, release.single_label, report)
    else:
        listed = list_by_taxonomy(entries, published, release.album_list, report)
    if not listed:
        return Contents(release, published, entries, listed)
    return Contents(
        release,
        published,
        entries,
        listed,
        labels=name_labels(listed, published, release, report),
        splits=read_splits(release.root, listed, report),
        reviews=read_reviews(release.reviews, listed, max_chars, report) if release.reviews else Reviews(),
    )


def _notes(albums: list[Album], contents: Contents) -> list[str]:
    """Return notes on the origin of it all: a file that is missing may have been meant to count."""
    n_published = sum(album.split is not None for album in albums)
    no_tracks = "" if contents.release.csv else ", which names no tracks: no audio and no timbre without a CSV file"
    notes = [
        f"albums and genres are those of {contents.release.album_list.name}{no_tracks}",
        f"splits: {n_published:,} of {len(albums):,} albums by the published lists, the others by a hash",
    ]
    if contents.reviews.n_of_others:
        notes.append(f"{contents.reviews.n_of_others:,} reviews are of albums that are not listed")
    return notes


def _albums(contents: Contents, request: Request) -> list[Album]:
    """Return the listed albums with all that belongs to them."""
    folders = {kind: find_folder(kind, contents.release.root, request.folders) for kind in FOLDERS}
    audio = index_files(folders["audio"], AUDIO_SUFFIXES)
    covers = index_files(folders["covers"], IMAGE_SUFFIXES)
    timbre = index_files(folders["msd"], H5_SUFFIXES)
    reviews = contents.reviews
    return [
        Album(
            album_id,
            album.genres,
            tuple(
                Track(track_id, audio.get(track_id) or folders["audio"] / f"{track_id}.mp3", timbre.get(track_id))
                for track_id in album.track_ids
            ),
            split=contents.splits.of_album.get(album_id),
            text=reviews.texts.get(album_id),
            cover=covers.get(album_id),
            n_reviews=reviews.counts[album_id] if contents.release.reviews else None,
        )
        for album_id, album in contents.listed.items()
    ]


SOURCE = Source(
    name="mumu",
    read=read,
    layout="the folder with MuMu's released files and audio/, covers/ and msd/, or one of its CSV files",
    folders=tuple(FOLDERS),
)
