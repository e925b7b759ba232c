"""Reading of any public data set: files by name, tracks checked against what is published, songs found by name."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from mumu_jax.data.manifest import SPLITS, Album, Track, labels_of, split_groups
from mumu_jax.data.modalities.suffixes import AUDIO_SUFFIXES, IMAGE_SUFFIXES
from mumu_jax.data.sources.base import Collection, Request, Source
from mumu_jax.data.sources.dataset import Choice, Dataset, Entry, File, Listing
from mumu_jax.data.sources.downloads import ARCHIVES, other_than_data
from mumu_jax.data.sources.files import Texts
from mumu_jax.data.sources.finding import Finding, Report, some, stop_at_errors
from mumu_jax.data.sources.folders import H5_SUFFIXES, find_folder, index_files

SUFFIXES = {"audio": AUDIO_SUFFIXES, "covers": IMAGE_SUFFIXES, "msd": H5_SUFFIXES}


def source_of(name: str, dataset: Dataset, folders: tuple[str, ...] = ("audio",)) -> Source:
    """Return the registry entry of a public data set, whose `folders` may be stored elsewhere."""
    files = dataset.files(dataset.choose(None, None)).values()
    names = ", ".join(file.names[0] for file in files if not file.optional)
    layout = f"the folder of {dataset.title} with {names}"
    return Source(name, partial(read, dataset, folders), layout, folders=folders, dataset=dataset)


def read(dataset: Dataset, kinds: Sequence[str], root: Path, request: Request) -> Collection:
    """Return an album for every track, or for every album where the data set has them.

    A song that is not there has a path that does not exist.  Rows that cannot be read are rejected; notes say which
    splits these are, how many songs are there, where the others are to be had, and what is not as published.  Raises
    UserError if a needed file is missing or of another kind.
    """
    findings: list[Finding] = []

    def report(finding: Finding) -> None:
        stop_at_errors(finding)
        findings.append(finding)

    choice = dataset.choose(request.subset, request.fold)
    listing = examine(dataset, root, choice, report)
    places = {kind: place_of(kind, dataset, root, choice, request.folders) for kind in kinds}
    texts = Texts(request.max_chars)
    albums = albums_of(listing.entries, places, texts)
    return Collection(
        albums,
        labels_of(albums, listing.parents),
        rejected=[finding.rejected_line() for finding in findings if finding.reason] + texts.rejected,
        notes=[
            f"{dataset.title}, {choice.subset}; licence: {dataset.licence}; cite {dataset.citation}; {dataset.home}",
            _note_of_splits(dataset, choice, albums),
            *(str(finding) for finding in findings if finding.severity == "warning" and not finding.reason),
            _note_of_songs(dataset, albums, places["audio"]),
        ],
    )


def _note_of_splits(dataset: Dataset, choice: Choice, albums: Sequence[Album]) -> str:
    counts = Counter(album.split for album in albums for _ in album.tracks)
    found = ", ".join(f"{counts[split]:,} {split}" for split in SPLITS)
    if not dataset.sizes(choice):
        return f"splits: {found} tracks, by a hash of the artist, or of the track where none is known"
    fold = f", fold {choice.fold}" if dataset.n_folds > 1 else ""
    return f"splits: {found} tracks, by the published lists{fold}"


def _note_of_songs(dataset: Dataset, albums: Sequence[Album], folder: Path) -> str:
    tracks = [track for album in albums for track in album.tracks]
    n_there = sum(os.path.exists(track.audio) for track in tracks)
    note = f"audio: {n_there:,} of {len(tracks):,} songs are in {folder}"
    return note if n_there == len(tracks) else f"{note}; {dataset.audio}, or name their folder by --audio_dir"


# --- the released files -------------------------------------------------------------------------------------


def examine(dataset: Dataset, root: Path, choice: Choice, report: Report) -> Listing:
    """List the tracks, each once, and report what is not as published; no tracks if a needed file is missing."""
    if not root.is_dir():
        report(Finding("error", root, f"the folder of {dataset.title}", "a file", "give the folder above it"))
        return Listing([])
    wanted = dataset.files(choice)
    files = dict(_find_files(dataset, root, wanted, report))
    if any(key not in files and not file.optional for key, file in wanted.items()):
        return Listing([])
    listing = dataset.list_tracks(files, choice, report)
    entries = _without_repeated(listing.entries, root, report)
    _check_counts(dataset, choice, {key: files.get(key, root) for key in (*SPLITS, "")}, entries, report)
    _check_artists(entries, root, report)
    if not dataset.keeps_unlabelled:
        labelled = [entry for entry in entries if entry.genres]
        if len(labelled) < len(entries):
            found = f"{len(entries) - len(labelled):,} of {len(entries):,} without one, which are left out"
            report(Finding("warning", root, "a label for each track", found, "nothing to do"))
        entries = labelled
    return replace(listing, entries=entries)


def _find_files(dataset: Dataset, root: Path, wanted: Mapping[str, File], report: Report) -> Iterator[tuple[str, Path]]:
    """Yield (key, path) of the files that are there and may be data; report the others."""
    places = [root, *sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))]
    for key, file in wanted.items():
        paths = (place / name for name in file.names for place in places)
        path = next((path for path in paths if path.is_file()), None)
        origin = f"download it: {file.origin or dataset.home}"
        other = other_than_data(path) if path else None
        if path and not other:
            yield key, path
        elif path:
            report(Finding("error", path, file.content, str(other), origin))
        else:
            packed = [name.name for name in sorted(root.iterdir()) if name.suffix.lower() in ARCHIVES]
            remedy = f"unpack {some(packed)}, which is there, or {origin}" if packed else origin
            severity = "note" if file.optional else "error"
            report(Finding(severity, root / file.names[0], file.content, "no file", remedy))


def _without_repeated(entries: Sequence[Entry], root: Path, report: Report) -> list[Entry]:
    """Return the tracks, each once: of several rows the first counts."""
    first = {}
    repeated, moved = {}, {}
    for entry in entries:
        known = first.setdefault(entry.track_id, entry)
        if known is not entry:
            (repeated if known.split == entry.split else moved)[entry.track_id] = None
    for names, expected, remedy in (
        (repeated, "each track once", "nothing to do: the first row counts"),
        (moved, "each track in one split", "the first split counts; take all lists from one release"),
    ):
        if names:
            report(Finding("warning", root, expected, f"{len(names):,} again: {some(names)}", remedy))
    return list(first.values())


def _check_counts(
    dataset: Dataset, choice: Choice, files: Mapping[str, Path], entries: Sequence[Entry], report: Report
) -> None:
    """Compare the numbers of tracks and labels with the published ones; `files` has the list of each split."""
    subset, counts = dataset.subsets[choice.subset], Counter(entry.split for entry in entries)
    n_labels = len({genre for entry in entries for genre in entry.genres})
    expected = [
        *((split, f"tracks in {split}", n, counts[split]) for split, n in dataset.sizes(choice).items()),
        ("", "tracks", subset.n_tracks, len(entries)),
        ("", "labels", subset.n_labels, n_labels),
    ]
    for key, unit, n_published, n in expected:
        if n_published not in (None, n):
            remedy = "nothing to do, if that is meant so; else copy the files of one release again"
            report(Finding("warning", files[key], f"{n_published:,} {unit}, as published", f"{n:,}", remedy))


def _check_artists(entries: Sequence[Entry], root: Path, report: Report) -> None:
    """Find artists that published splits share, and tracks to split whose artist is not known."""
    splits = defaultdict(set)
    for entry in entries:
        if entry.artist and entry.split:
            splits[entry.artist].add(entry.split)
    shared = [artist for artist, of_artist in splits.items() if len(of_artist) > 1]
    if shared:
        found = f"{len(shared):,} of {len(splits):,} in several: {some(shared)}"
        remedy = "nothing to do: the published splits are so, and scores on them are too good"
        report(Finding("note", root, "each artist in one split", found, remedy))
    unknown = [entry.track_id for entry in entries if not (entry.artist or entry.split)]
    if unknown:
        found = f"no artist of {len(unknown):,}: {some(unknown)}"
        remedy = "an artist, and a repeated song, may be in several splits: choose a --subset with published ones"
        report(Finding("warning", root, "the artists of tracks without a published split", found, remedy))


# --- the owner's folders ------------------------------------------------------------------------------------


def place_of(kind: str, dataset: Dataset, root: Path, choice: Choice, named: Mapping[str, Path]) -> Path:
    """Return the folder with files of a kind: the one that the user names, else the usual one, else `root`."""
    own = root / dataset.audio_folders.get(choice.subset, "audio")
    if kind == "audio" and kind not in named:
        return own if own.is_dir() else root
    return find_folder(kind, root, named)


def albums_of(entries: Sequence[Entry], places: Mapping[str, Path], texts: Texts) -> list[Album]:
    """Return the albums with the files that are in the `places`, and splits by artist where there are none.

    Each folder is gone through once: asking for every file would take longer.
    """
    files = {kind: index_files(folder, SUFFIXES[kind]) for kind, folder in places.items()}
    owners = {entry.track_id: entry.artist or entry.album or entry.track_id for entry in entries if not entry.split}
    splits = split_groups(owners.values())
    members = defaultdict(list)
    for entry in entries:
        members[entry.album or entry.track_id].append(entry)
    return [
        Album(
            album_id,
            tuple(dict.fromkeys(genre for entry in of_album for genre in entry.genres)),
            tuple(_track(entry, places, files) for entry in of_album),
            split=of_album[0].split or splits[owners[of_album[0].track_id]],
            text="\n".join(texts.read(entry.text) or "" for entry in of_album if entry.text) or None,
            cover=_first([name for entry in of_album for name in entry.covers], files.get("covers", {})),
        )
        for album_id, of_album in members.items()
    ]


def _track(entry: Entry, places: Mapping[str, Path], files: Mapping[str, Mapping[str, Path]]) -> Track:
    stems = [name.rpartition("/")[2].rpartition(".")[0] for name in entry.audio]
    audio = _first(stems, files["audio"]) or places["audio"] / entry.audio[0]
    return Track(entry.track_id, audio, files.get("msd", {}).get(entry.track_id), entry.text)


def _first(names: Sequence[str], files: Mapping[str, Path]) -> Path | None:
    return next((files[name] for name in names if name in files), None)
