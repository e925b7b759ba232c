"""The registry of sources: each reads one kind of collection into the same manifest.

To add one, write a file that ends with `SOURCE = Source(...)` and list it below; outside the package, `register` it.
"""

import dataclasses
import os
from collections import Counter
from pathlib import Path

import msgspec

from mumu_jax.data.manifest import Album, Label, assign_splits, labels_of, read_manifest
from mumu_jax.data.sources import covers, folder, mumu, public, same, table, tags, tartarus
from mumu_jax.data.sources.base import Collection, Request, Source
from mumu_jax.data.sources.files import check_paths, clean_name, composed, in_any_form
from mumu_jax.data.sources.genre_map import map_genres
from mumu_jax.errors import UserError, nearest


def _make_synthetic(path: Path | None, request: Request) -> Collection:
    from mumu_jax.data.sources.synthetic import read  # here, so that real data never pays for the renderer

    return read(path, request)


def _make_synthetic_single(path: Path | None, request: Request) -> Collection:
    from mumu_jax.data.sources.synthetic import read_single

    return read_single(path, request)


def _read_own_manifest(path: Path, request: Request) -> Collection:
    albums = [_with_found_files(album) for album in read_manifest(path)]
    return Collection(albums, labels_of(albums))


def _with_found_files(album: Album) -> Album:
    """Return the album with its paths in the form in which they exist."""

    def find(path: Path | None) -> Path | None:
        return path if path is None or os.path.exists(path) else in_any_form(path)

    tracks = tuple(
        msgspec.structs.replace(track, audio=find(track.audio), timbre=find(track.timbre), lyrics=find(track.lyrics))
        for track in album.tracks
    )
    return msgspec.structs.replace(album, tracks=tracks, cover=find(album.cover), entities=find(album.entities))


SYNTHETIC = Source(
    name="synthetic",
    read=_make_synthetic,
    layout="nothing: the mini dataset is made, not read",
    needs_input=False,
)
SYNTHETIC_SINGLE = Source(
    name="synthetic_single",
    read=_make_synthetic_single,
    layout="nothing: long songs of one genre each are made, not read",
    needs_input=False,
)
MANIFEST = Source(
    name="manifest",
    read=_read_own_manifest,
    layout='a file of JSON lines {"album_id", "genres": […], "tracks": [{"track_id", "audio"}]}, '
    "and optional split, text, cover, entities, n_reviews, and timbre and lyrics of a track",
)

SOURCES: dict[str, Source] = {}


def register(source: Source) -> None:
    """Make a source known under its name.  Raises ValueError if the name is taken."""
    if source.name in SOURCES:
        raise ValueError(f"expected a new source's name, found {source.name!r}, which is registered; choose another")
    SOURCES[source.name] = source


for _source in (
    SYNTHETIC,
    SYNTHETIC_SINGLE,
    tartarus.SOURCE,
    mumu.SOURCE,
    folder.SOURCE,
    covers.SOURCE,
    table.SOURCE,
    tags.SOURCE,
    MANIFEST,
    *public.SOURCES,
):
    register(_source)


def read_source(name: str, path: Path | None, request: Request) -> Collection:
    """Return the albums of a source, every one with a split, and the labels in column order.

    Audio files need not exist: preparing the data counts the missing ones.  Raises UserError on an unknown name, on a
    path that is missing or not what the source reads, if there are no albums or no genres, and if two splits have the
    same recording.
    """
    source = _find_source(name)
    expected = f"--source={name} expects --input to be {source.layout}"
    if path is None and source.needs_input:
        raise UserError(f"{expected}; found none: add --input=PATH")
    if path is not None and not os.path.exists(path):  # unlike Path.exists, False also if we have no permission
        raise UserError(f"{expected}; found nothing at {path}: correct the path")
    check_options(source, request)
    try:
        collection = source.read(path, request)
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        raise UserError(f"--source={name} stopped at {reason}; fix that and call again") from error
    collection = _with_clean_names(collection)
    if request.genre_map or request.taxonomy:
        collection = map_genres(collection, request.genre_map, request.taxonomy)
    if not collection.albums:
        raise UserError(f"{expected}; found no albums in {path}: correct the path or the files")
    if not collection.labels:
        raise UserError(f"{expected}; found no genres in {path}: give the albums at least one")
    tracks = [track for album in collection.albums for track in album.tracks]
    files = [*(path for track in tracks for path in (track.audio, track.lyrics)), *(a.cover for a in collection.albums)]
    check_paths([path for path in files if path])
    if request.duplicates:
        collection = _with_settled_songs(collection, request.duplicates)
    albums = assign_splits(collection.albums)
    return dataclasses.replace(collection, albums=albums, notes=[*collection.notes, *same.check_recordings(albums)])


def _with_settled_songs(collection: Collection, way: str) -> Collection:
    """Return the collection with the songs settled that several albums have, byte for byte."""
    copies = same.byte_copies(collection.albums)
    albums, lines = same.settle(collection.albums, copies, way, "it is the same, byte for byte, as")
    notes = same.note_of(collection.albums, copies, way, "songs are, byte for byte,")
    before = {album.album_id: album.split for album in collection.albums}
    n_moved = sum(before[album.album_id] not in (None, album.split) for album in albums)
    if n_moved:
        notes.append(f"--duplicates={way}: {n_moved:,} albums are in another split than the source says")
    genres = {genre for album in albums for genre in album.genres}
    return dataclasses.replace(
        collection,
        albums=albums,
        labels=[label for label in collection.labels if label.name in genres],
        rejected=[*collection.rejected, *lines],
        notes=[*collection.notes, *notes],
    )


def _with_clean_names(collection: Collection) -> Collection:
    """Return the collection with genres that print as one line, and compare as they look: the same for all sources.

    White space and control characters become single spaces, and Unicode its composed form (NFC), of album ids, too.
    """
    albums = [
        msgspec.structs.replace(
            album,
            album_id=composed(album.album_id),
            genres=tuple(dict.fromkeys(filter(None, map(clean_name, album.genres)))),
        )
        for album in collection.albums
    ]
    for album_id, n in Counter(album.album_id for album in albums).items():
        if n > 1:
            raise UserError(f"{n} albums are named {album_id!r}, in several forms of Unicode; rename all but one")
    labels = {}
    for label in collection.labels:
        name, parent = clean_name(label.name), label.parent and clean_name(label.parent)
        labels.setdefault(name, Label(name, parent))
    return dataclasses.replace(collection, albums=albums, labels=list(labels.values()))


def _find_source(name: str) -> Source:
    if name not in SOURCES:
        near = nearest(name, SOURCES)
        hint = f"did you mean {near!r}?" if near else f"choose one of {', '.join(SOURCES)}"
        raise UserError(f"no source {name!r}; {hint}")
    return SOURCES[name]


def check_options(source: Source, request: Request) -> None:
    """Raise UserError if the request names something that the source does not have."""
    for kind in request.folders:
        if kind not in source.folders:
            users = ", ".join(other.name for other in SOURCES.values() if kind in other.folders)
            raise UserError(f"--{kind}_dir is for --source={users}; {source.name} names its own files: leave it out")
    if source.dataset:
        source.dataset.choose(request.subset, request.fold)
        return
    for option in ("subset", "fold"):
        if getattr(request, option) is not None:
            users = ", ".join(other.name for other in SOURCES.values() if other.dataset)
            raise UserError(f"--{option} is for --source={users}; {source.name} has no such parts: leave it out")
