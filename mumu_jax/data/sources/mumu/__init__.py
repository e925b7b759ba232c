"""MuMu as its owner has it: the released files, and beside them folders of audio, covers and MSD's `.h5` files.

Oramas et al. 2017.  The files and their formats are named in `release.py`; only a CSV file or the metadata must be
there, everything else may be missing or incomplete.
"""

from pathlib import Path

from mumu_jax.data.manifest import Album, Label, Track
from mumu_jax.data.modalities.suffixes import AUDIO_SUFFIXES, IMAGE_SUFFIXES
from mumu_jax.data.sources.mumu import taxonomy
from mumu_jax.data.sources.mumu.csv_files import Listed, albums_by_id, read_csv
from mumu_jax.data.sources.mumu.folders import find_folder, index_files
from mumu_jax.data.sources.mumu.labels import from_taxonomy, read_labels
from mumu_jax.data.sources.mumu.metadata import read_metadata
from mumu_jax.data.sources.mumu.rejections import Rejections
from mumu_jax.data.sources.mumu.release import Release, find_release
from mumu_jax.data.sources.mumu.reviews import Reviews, read_reviews
from mumu_jax.data.sources.mumu.splits import read_splits
from mumu_jax.data.sources.request import Collection, Request

H5_SUFFIXES = frozenset({".h5"})


def read(input: Path, request: Request) -> Collection:
    """The albums of the CSV file, or where there is none those of the metadata, which then have no tracks.

    `input` is the folder, or one of the two CSV files in it.  The labels are in the order of `genre_labels_MuMu.tsv`,
    or else in code point order; their parents are those of the metadata's paths.  A track without an audio file has a
    path where none is.  Rows and records that cannot be read are in the answer's `rejected`.  Raises UserError where
    there is neither a CSV file nor metadata, and where a file is not what its name says.
    """
    release, rejections = find_release(input), Rejections()
    entries = read_metadata(release.metadata, rejections.of(release.metadata)) if release.metadata else {}
    published = read_labels(release.genre_labels) if release.genre_labels else []
    if release.csv:
        listed = read_csv(release.csv, release.single_label, rejections.of(release.csv))
    else:
        assert release.metadata
        listed = from_taxonomy(entries, published, rejections.of(release.metadata))
    names = _label_names(listed, published, release, rejections)
    parents = taxonomy.parents_of(names, (entries[id].paths for id in listed if id in entries))
    reviews = Reviews()
    if release.reviews:
        reviews = read_reviews(release.reviews, listed, request.max_chars, rejections.of(release.reviews))
    albums = _albums(listed, reviews, release, request, rejections)
    notes = _notes(albums, reviews, release)
    return Collection(albums, [Label(name, parents[name]) for name in names], rejections.lines, notes)


def _notes(albums: list[Album], reviews: Reviews, release: Release) -> list[str]:
    """Where it all comes from: a file that is not there may have been meant."""
    n_published = sum(album.split is not None for album in albums)
    listed_in = release.csv or release.metadata
    assert listed_in
    without = "" if release.csv else ", which names no tracks: no audio and no timbre without a CSV file"
    notes = [
        f"albums and genres are those of {listed_in.name}{without}",
        f"splits: {n_published:,} of {len(albums):,} albums by the published lists, the others by a hash",
    ]
    if reviews.n_of_others:
        notes.append(f"{reviews.n_of_others:,} reviews are of albums that are not listed")
    return notes


def _label_names(
    listed: dict[str, Listed], published: list[str], release: Release, rejections: Rejections
) -> list[str]:
    """The published labels, of the single-label file those that occur; then the others that occur."""
    occurring = {genre for album in listed.values() for genre in album.genres}
    others = sorted(occurring.difference(published))
    if published and others:
        assert release.genre_labels
        detail = f"expected the names of all genres, found none of {', '.join(others[:5])}; they come last"
        rejections.of(release.genre_labels)(len(published), "conflict", detail)
    return [name for name in published if name in occurring or not release.single_label] + others


def _albums(
    listed: dict[str, Listed], reviews: Reviews, release: Release, request: Request, rejections: Rejections
) -> list[Album]:
    """The albums with all that belongs to them."""
    folders = {kind: find_folder(kind, release.root, request.folders) for kind in ("audio", "covers", "msd")}
    audio = index_files(folders["audio"], AUDIO_SUFFIXES)
    covers = index_files(folders["covers"], IMAGE_SUFFIXES)
    timbre = index_files(folders["msd"], H5_SUFFIXES)
    splits = read_splits(release.root, albums_by_id(listed), rejections)
    return [
        Album(
            album_id,
            album.genres,
            tuple(
                Track(track_id, audio.get(track_id) or folders["audio"] / f"{track_id}.mp3", timbre.get(track_id))
                for track_id in album.track_ids
            ),
            split=splits.get(album_id),
            text=reviews.texts.get(album_id),
            cover=covers.get(album_id),
            n_reviews=reviews.counts[album_id] if release.reviews else None,
        )
        for album_id, album in listed.items()
    ]
