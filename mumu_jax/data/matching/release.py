"""From matches to a data set: tracks of one album alone, genres that are frequent, in the files of MuMu's release."""

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from mumu_jax.data.manifest import SPLITS, Album, assign_splits
from mumu_jax.data.matching.amazon import Product
from mumu_jax.data.matching.match import Match
from mumu_jax.data.matching.msd import Tracks
from mumu_jax.data.matching.musicbrainz import Release
from mumu_jax.data.matching.parts import read_parts
from mumu_jax.data.sources.mumu import taxonomy
from mumu_jax.data.sources.mumu.release import GENRE_LABELS, METADATA, MULTI_LABEL_CSV, SPLITS_FOLDER
from mumu_jax.data.sources.mumu.tables import DATASETS, HEADER
from mumu_jax.data.sources.tartarus import items_index
from mumu_jax.system.files import replacing


@dataclass
class Kept:
    """An album of the data set: its release group, artist, and tracks with a recording each."""

    album_mbid: str
    artist_mbid: str = ""
    tracks: dict[str, str] = field(default_factory=dict)
    genres: tuple[str, ...] = ()


def choose_editions(matches: Iterable[Match], threshold: float) -> dict[str, str]:
    """Return the Amazon id by release group: of several editions that match one, the likest, then the first."""
    best: dict[str, tuple[float, str]] = {}
    for match in matches:
        if match.best and match.decide(threshold) == "matched":
            score, _ = best.get(match.best.album_mbid, (0.0, ""))
            if match.best.score > score:
                best[match.best.album_mbid] = match.best.score, match.amazon_id
    return {group: amazon_id for group, (_, amazon_id) in best.items()}


@dataclass(frozen=True)
class Found:
    """The MSD's tracks on the matched albums.

    `n_of_one_album` counts the tracks that are on one album alone; `asins` are the release groups by Amazon id that
    MusicBrainz itself names.
    """

    albums: dict[str, Kept]
    n_recordings: int
    n_tracks: int
    n_of_one_album: int
    asins: dict[str, set[str]]


def find_tracks(releases: Iterable[Release], amazon_of: Mapping[str, str], tracks_of: Tracks) -> Found:
    """Return the matched albums by Amazon id with the tracks that are on none of the others.

    A track of the MSD may be several recordings; it is on an album if one of them is.
    """
    kept = {group: Kept(group) for group in amazon_of}
    albums_of: dict[str, set[str]] = defaultdict(set)
    recording_of: dict[str, str] = {}
    recordings: set[str] = set()
    asins: dict[str, set[str]] = defaultdict(set)
    for release in releases:
        if release.asin:
            asins[release.asin].add(release.group)
        if release.group not in kept:
            continue
        kept[release.group].artist_mbid = kept[release.group].artist_mbid or release.artist
        recordings.update(release.recordings)
        for recording in release.recordings:
            for track in tracks_of[recording]:
                albums_of[track].add(release.group)
                recording_of[track] = min(recording, recording_of.get(track, recording))
    single = {track: next(iter(groups)) for track, groups in albums_of.items() if len(groups) == 1}
    for track, group in sorted(single.items()):
        kept[group].tracks[track] = recording_of[track]
    albums = {amazon_of[group]: one for group, one in kept.items() if one.tracks}
    return Found(albums, len(recordings), len(albums_of), len(single), asins)


def choose_genres(albums: dict[str, Kept], paths_of: Mapping[str, taxonomy.Paths], minimum: int) -> list[str]:
    """Give each album those of its branches' genres that are on `minimum` albums; leave out albums without one.

    Returns the genres in the order of their columns.
    """
    genres = {amazon_id: taxonomy.genres_of(paths_of[amazon_id]) for amazon_id in albums}
    labels = taxonomy.frequent(genres.values(), minimum)
    known = frozenset(labels)
    for amazon_id, names in genres.items():
        albums[amazon_id].genres = tuple(name for name in names if name in known)
        if not albums[amazon_id].genres:
            del albums[amazon_id]
    return labels


# --- the files ----------------------------------------------------------------------------------------------


def write_files(out: Path, albums: Mapping[str, Kept], labels: list[str], amazon: Path) -> dict[str, int]:
    """Write the files of MuMu's release, which `--source=mumu` reads; return the number of albums by split."""
    rows = [
        (amazon_id, album.album_mbid, track, recording, album.artist_mbid, ",".join(album.genres))
        for amazon_id, album in albums.items()
        for track, recording in album.tracks.items()
    ]
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([HEADER, *rows])
    _write(out / MULTI_LABEL_CSV, text.getvalue())
    _write(out / GENRE_LABELS, _lines(labels))
    write_records(out / METADATA, (bytes(one.record) for one in read_parts(amazon, Product) if one.amazon_id in albums))
    split_of = {
        album.album_id: album.split
        for album in assign_splits([Album(amazon_id, one.genres, ()) for amazon_id, one in albums.items()])
    }
    (out / SPLITS_FOLDER).mkdir(exist_ok=True)
    for split in SPLITS:
        ids = [amazon_id for amazon_id in albums if split_of[amazon_id] == split]
        _write(items_index(out / SPLITS_FOLDER, split, DATASETS[0]), _lines(ids))
    counts = Counter(split_of.values())
    return {split: counts[split] for split in SPLITS}


def write_records(path: Path, records: Iterator[bytes]) -> int:
    """Write JSON records as an array, one a line; return their number."""
    n = 0
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(b"[")
        for n, record in enumerate(records, 1):
            file.write((b"\n" if n == 1 else b",\n") + record)
        file.write(b"\n]\n")
    return n


def write_matches(path: Path, matches: Iterable[Match], threshold: float) -> Counter[str]:
    """Write every match with its threshold and decision, an album a line; return the number of each decision."""
    counts: Counter[str] = Counter()
    with replacing(path) as temporary, temporary.open("wb") as file:
        for match in matches:
            decision = match.decide(threshold)
            counts[decision] += 1
            line = {**msgspec.to_builtins(match), "threshold": threshold, "decision": decision}
            file.write(msgspec.json.encode(line) + b"\n")
    return counts


def _lines(names: Iterable[str]) -> str:
    return "".join(f"{name}\n" for name in names)


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
