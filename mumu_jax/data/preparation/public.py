"""Diagnosis of a public data set: what its reader finds, which of its files are there, and if training can start."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from mumu_jax.data.manifest import Album
from mumu_jax.data.preparation.diagnosis import KINDS, Coverage, Diagnosis, Kind, can_start, look_into, merged
from mumu_jax.data.sources.base import Source
from mumu_jax.data.sources.dataset import Choice, Dataset
from mumu_jax.data.sources.files import Texts
from mumu_jax.data.sources.finding import Finding, Report, Severity, some
from mumu_jax.data.sources.folders import index_files
from mumu_jax.data.sources.public.reading import albums_of, examine, place_of
from mumu_jax.errors import UserError


def diagnose(source: Source, dataset: Dataset, root: Path, choice: Choice, folders: Mapping[str, Path]) -> Diagnosis:
    """Examine a public data set in `root`, and of the owner's `folders` some files.

    Raises UserError if a path that the user names is missing.
    """
    if not root.exists():
        raise UserError(f"expected {source.layout}, found nothing at {root}; correct the path")
    findings: list[Finding] = []
    listing = examine(dataset, root, choice, findings.append)
    findings, coverage = merged(findings), []
    if dataset.faults:
        known = some([f"{track_id} ({fault})" for track_id, fault in dataset.faults.items()])
        remedy = "nothing to do: preparing leaves out what cannot be decoded"
        findings.append(Finding("note", root, "songs without faults", f"known ones: {known}", remedy))
    if listing.entries:
        places = {kind: place_of(kind, dataset, root, choice, folders) for kind in source.folders}
        albums = albums_of(listing.entries, places, Texts(max_chars=1))
        split_of = {album.album_id: album.split for album in albums}
        texts = [album.album_id for album in albums if album.text]
        if texts:
            coverage.append(Coverage("text", "albums", len(texts), len(albums), can_start(texts, split_of)))
        for kind in KINDS:
            if kind.name in places:
                coverage.append(_check_files(kind, places[kind.name], albums, dataset, split_of, findings.append))
        if not any(one.can_start for one in coverage):
            expected = f"{' or '.join(one.modality for one in coverage)} of albums in train and val"
            findings.append(Finding("error", root, expected, "not both", dataset.audio))
    return Diagnosis(findings, coverage)


def _check_files(
    kind: Kind,
    place: Path,
    albums: Sequence[Album],
    dataset: Dataset,
    split_of: Mapping[str, str | None],
    report: Report,
) -> Coverage:
    """Compare the files of a kind with the data set, and look into some of them."""
    remedy = f"{dataset.audio}; or name their folder by --audio_dir" if kind.name == "audio" else kind.origin

    def add(severity: Severity, expected: str, found: str, remedy: str) -> None:
        report(Finding(severity, place, expected, found, remedy))

    wanted = _wanted(kind, albums)
    files = {name: path for name, (_, path) in wanted.items() if path and os.path.exists(path)}
    missing = [name for name in wanted if name not in files]
    if missing:
        found = f"none for {len(missing):,} of {len(wanted):,}: {some(missing)}"
        add("note" if files else "warning", f"{kind.content} for each of the {kind.unit}", found, remedy)
        others = {*index_files(place, kind.suffixes).values()} - {*files.values()}
        if others:
            found = f"{len(others):,} others: {some(sorted(path.name for path in others))}"
            add("note", "files that are named as released", found, "rename them, if they are the missing ones")
    ids, n_opened = look_into(kind, place, files, add)
    starts = can_start({wanted[name][0] for name in ids}, split_of)
    return Coverage(kind.modality, kind.unit, len(ids), len(wanted), starts, f"{n_opened:,} files looked into")


def _wanted(kind: Kind, albums: Sequence[Album]) -> dict[str, tuple[str, Path | None]]:
    """Return the album and the file, None if none is named, of each track or album that may have one."""
    if kind.unit == "albums":
        return {album.album_id: (album.album_id, album.cover) for album in albums}
    tracks = [(album.album_id, track) for album in albums for track in album.tracks]
    return {track.track_id: (album, track.audio if kind.name == "audio" else track.timbre) for album, track in tracks}
