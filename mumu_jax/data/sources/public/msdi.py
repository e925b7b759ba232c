"""MSD-I: albums of the Million Song Dataset with one of 15 genres and the address of a cover.

`MSD-I_dataset.tsv` has a row for each track.  Some albums are in two sets or have two genres: of such an album the
rows that agree with most of its rows stay, so that no cover is in two splits.  Covers are not downloaded.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

from mumu_jax.data.sources.dataset import Choice, Dataset, Entry, File, Listing, Subset
from mumu_jax.data.sources.finding import Report, rejecter
from mumu_jax.data.sources.public.reading import source_of
from mumu_jax.data.sources.public.tables import read_tsv

COLUMNS = ("msd_track_id", "genre", "album_index", "set", "msd_artist_id")
SETS = ("train", "val", "test")


def list_tracks(files: Mapping[str, Path], choice: Choice, report: Report) -> Listing:
    """Return the tracks, whose album has one genre and one split; a row that says otherwise is rejected."""
    path = files["tracks"]
    at, rows = read_tsv(path, COLUMNS, report)
    reject = rejecter(report, path, "nothing to do: the row is left out")
    albums = defaultdict(list)
    for line, cells in rows:
        track, genre, album, split, artist = (cells[at[name]] for name in COLUMNS)
        if split in SETS:
            albums[album].append((line, track, genre, split, artist))
        else:
            reject(line, "malformed", " or ".join(SETS), repr(split))
    entries = []
    for album, members in albums.items():
        ((genre, split), _) = Counter((genre, split) for _, _, genre, split, _ in members).most_common(1)[0]
        for line, track, *own, artist in members:
            if own == [genre, split]:
                name = (f"{track[2:3]}/{track[3:4]}/{track[4:5]}/{track}.mp3",)
                entries.append(Entry(track, (genre,), name, split, artist, f"album {album}", (track, album)))
            else:
                reject(line, "conflict", f"{genre!r} in {split} as most rows of album {album}", " in ".join(own))
    return Listing(entries)


def _files(choice: Choice) -> dict[str, File]:
    return {"tracks": File("the tracks with genre, album and set, separated by TAB", ("MSD-I_dataset.tsv",))}


SOURCE = source_of(
    "msdi",
    Dataset(
        title="MSD-I",
        citation="Oramas et al., Multimodal Deep Learning for Music Genre Classification, TISMIR 1(1), 2018",
        licence="see Zenodo; covers and songs are their owners'",
        home="https://zenodo.org/record/1240485",
        n_tracks=30_713,
        subsets={"all": Subset("genres, one a track", 15)},
        files=_files,
        list_tracks=list_tracks,
        audio="songs are not part of it: use your own, named by MSD track id",
    ),
    folders=("audio", "covers", "msd"),
)
