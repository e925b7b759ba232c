"""The same recording or picture in several albums: found among the files, and settled before the albums are split."""

import contextlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mumu_jax.data.manifest import Album, Track, hashed_split
from mumu_jax.errors import UserError
from mumu_jax.system.files import open_regular, sha256_of

WAYS = {
    "drop": "left out",
    "merge": "joined with its album, which has the genres of both",
    "keep": "kept in one split with it",
}
PAIRS_SHOWN = 8
_PART = 4096  # bytes from the middle of a file, compared before the whole: previews of one length have one size


@dataclass(frozen=True)
class Copy:
    """A file of an album, by its number, that is the same as one of an earlier album."""

    album: int
    file: Path
    first: int
    first_file: Path


# --- the same recording -------------------------------------------------------------------------------------


def byte_copies(albums: Sequence[Album]) -> list[Copy]:
    """Return the songs that are an earlier album's, byte for byte; only of files of one size are bytes read."""
    groups: list[list[tuple[int, Track]]] = [[(i, track) for i, album in enumerate(albums) for track in album.tracks]]
    for key in (_size, _part, sha256_of):
        groups = [group for members in groups for group in _grouped(members, key)]
    return [
        Copy(i, track.audio, first, first_track.audio)
        for (first, first_track), *others in groups
        for i, track in others
        if i != first
    ]


def _grouped(
    members: Iterable[tuple[int, Track]], key: Callable[[Path], Hashable]
) -> Iterable[list[tuple[int, Track]]]:
    """Return the members of several albums that have a key in common; files that cannot be read have none."""
    groups = defaultdict(list)
    for i, track in members:
        with contextlib.suppress(OSError, ValueError):  # `prepare` lists it as missing or rejected
            groups[key(track.audio)].append((i, track))
    return (group for value, group in groups.items() if value and len({i for i, _ in group}) > 1)


def _size(path: Path) -> int:
    return path.stat().st_size


def _part(path: Path) -> bytes:
    with open_regular(path) as file:
        file.seek(max(0, _size(path) // 2 - _PART // 2))
        return file.read(_PART)


def check_recordings(albums: Sequence[Album]) -> list[str]:
    """Raise UserError if two splits have the same file, by whatever paths; return a note on two albums that have it."""
    groups = defaultdict(list)
    for album in albums:
        for track in album.tracks:
            with contextlib.suppress(OSError, ValueError):  # `prepare` lists it as missing or rejected
                groups[_identity(track.audio)].append((album, track))
    shared = [group for group in groups.values() if len({album.album_id for album, _ in group}) > 1]
    leaks = [group for group in shared if len({album.split for album, _ in group}) > 1]
    if leaks:
        (album, track), *others = leaks[0]
        other, other_track = next(member for member in others if member[0].split != album.split)
        more = f", and {len(leaks) - 1:,} more such files" if len(leaks) > 1 else ""
        raise UserError(
            f"expected each recording in one split, found {track.audio} as track {track.track_id!r} of album "
            f"{album.album_id!r} in {album.split} and, as {other_track.audio}, track {other_track.track_id!r} of album "
            f"{other.album_id!r} in {other.split}{more}; give both albums one split, take one out, or add "
            f"--duplicates={'|'.join(WAYS)}"
        )
    if not shared:
        return []
    (album, track), *others = shared[0]
    other = next(other for other, _ in others if other.album_id != album.album_id)
    return [
        f"{len(shared):,} recordings are in two albums of one split (first: {track.audio} in {album.album_id!r} and "
        f"{other.album_id!r})"
    ]


def _identity(path: Path) -> Hashable:
    """Return what two paths of one file have in common: links and `..` do not count."""
    stat = path.stat()
    return (stat.st_dev, stat.st_ino, stat.st_size) if stat.st_ino else os.path.realpath(path)


# --- settling -----------------------------------------------------------------------------------------------


def settle(albums: Sequence[Album], copies: Sequence[Copy], way: str, alike: str) -> tuple[list[Album], list[Any]]:
    """Return the albums with their copies settled in one of WAYS, and lines for `rejected.jsonl`.

    `drop` takes a file out of its album, and the album out if it has nothing else.  `merge` also joins the albums into
    the first of them.  `keep` leaves all and gives them one split: that of the first that has one.  `alike` says in the
    lines how a file is the same as another.
    """
    if way == "keep":
        groups = [[albums[i] for i in group] for group in _groups(len(albums), copies)]
        split_of = {album.album_id: _split_of(group) for group in groups for album in group if len(group) > 1}
        return [msgspec.structs.replace(a, split=split_of.get(a.album_id, a.split)) for a in albums], []
    copied = {(copy.album, copy.file): copy for copy in reversed(copies)}
    lines = [
        {"file": str(copy.file), "reason": "duplicate", "detail": f"{alike} {copy.first_file}"}
        for copy in dict.fromkeys(copied[copy.album, copy.file] for copy in copies)
    ]
    files = defaultdict(set)
    for i, file in copied:
        files[i].add(file)
    left = [_without(album, files[i]) if i in files else album for i, album in enumerate(albums)]
    if way == "merge":
        return [_joined([left[i] for i in group]) for group in _groups(len(albums), copies)], lines
    return [a for i, a in enumerate(left) if i not in files or a.tracks or a.cover or a.text], lines


def _without(album: Album, files: set[Path]) -> Album:
    tracks = tuple(track for track in album.tracks if track.audio not in files)
    return msgspec.structs.replace(album, tracks=tracks, cover=None if album.cover in files else album.cover)


def _groups(n: int, copies: Sequence[Copy]) -> list[list[int]]:
    """Return the numbers of the albums that copies connect, directly or not, in the order of the first of each."""
    ends = np.array([(copy.album, copy.first) for copy in copies], int).reshape(-1, 2).T
    _, groups = connected_components(coo_array((np.ones(ends.shape[1]), (ends[0], ends[1])), shape=(n, n)), False)
    members = defaultdict(list)
    for i, group in enumerate(groups.tolist()):
        members[group].append(i)
    return list(members.values())


def _split_of(albums: Sequence[Album]) -> str:
    return next((album.split for album in albums if album.split), hashed_split(albums[0].album_id))


def _joined(albums: Sequence[Album]) -> Album:
    """Return the first album with the genres, tracks and texts of all."""
    if len(albums) == 1:
        return albums[0]
    counts = [album.n_reviews for album in albums if album.n_reviews is not None]
    return msgspec.structs.replace(
        albums[0],
        genres=tuple(dict.fromkeys(genre for album in albums for genre in album.genres)),
        tracks=tuple(track for album in albums for track in album.tracks),
        split=_split_of(albums),
        text="\n".join(dict.fromkeys(album.text for album in albums if album.text)) or None,
        cover=next((album.cover for album in albums if album.cover), None),
        entities=next((album.entities for album in albums if album.entities), None),
        n_reviews=sum(counts) if counts else None,
    )


def note_of(albums: Sequence[Album], copies: Sequence[Copy], way: str, alike: str) -> list[str]:
    """Return a line for the summary: the copies, and the pairs of genres that they are of."""
    first_of = {(copy.album, copy.file): copy.first for copy in reversed(copies)}
    if not first_of:
        return []
    genres = [(albums[i].genres, albums[first].genres) for (i, _), first in first_of.items()]
    pairs = Counter(f"{'+'.join(own)} → {'+'.join(other)}" for own, other in genres if {*own} != {*other})
    note = f"duplicates: {len(first_of):,} {alike} an earlier one: {WAYS[way]}"
    if not pairs:
        return [note]
    shown = "; ".join(f"{pair} {n:,}" for pair, n in pairs.most_common(PAIRS_SHOWN))
    more = "; …" if len(pairs) > PAIRS_SHOWN else ""
    others = "|".join(other for other in WAYS if other != way)
    return [
        f"{note}; {pairs.total():,} of them have another genre than that one: {shown}{more} "
        f"(otherwise: --duplicates={others})"
    ]
