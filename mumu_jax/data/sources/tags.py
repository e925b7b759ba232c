"""A folder of songs whose own tags name artist, album and genres: ID3, MP4, Vorbis, APE and ASF, read by mutagen."""

import dataclasses
import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mumu_jax.data.manifest import Album, Rejected, Track, labels_of, split_groups
from mumu_jax.data.modalities.song_tags import find_in_tags, lyrics_in, values_of
from mumu_jax.data.modalities.suffixes import is_audio
from mumu_jax.data.sources.base import Collection, Request, Source
from mumu_jax.data.sources.files import as_id, files_below
from mumu_jax.data.sources.joined import OTHER_MARKS, find_joined, parts
from mumu_jax.errors import UserError
from mumu_jax.system.terminal import progress_bar

FIELDS = {  # their names, as `values_of` takes them
    "genres": ("TCON", "\xa9gen", "WM/Genre", "Genre", "genre"),
    "album_artist": ("TPE2", "aART", "WM/AlbumArtist", "Album Artist", "albumartist"),
    "artist": ("TPE1", "\xa9ART", "Author", "Artist", "artist"),
    "album": ("TALB", "\xa9alb", "WM/AlbumTitle", "Album", "album"),
}
NO_GENRES = {"none", "other", "unknown"}  # programs write these into songs that nobody gave a genre
MANY_ARTISTS = {"various artists", "various", "va"}
_GENRE_SEPARATORS = "[;\0]"
_GUESTS = re.compile(r"\s[(\[]?(?:feat|featuring|ft)(?:\.\s*|\s)\S.*")  # not Little Feat


@dataclass(frozen=True)
class Song:
    """A song's path below the folder, its file, and its tags: the first artist and the album ("" without), genres.

    `has_lyrics` tells if the tags hold the lyrics, too.
    """

    track_id: str
    path: Path
    artist: str
    album: str
    genres: tuple[str, ...]
    has_lyrics: bool


def read(root: Path, request: Request) -> Collection:
    """Return an album for every (artist, album) in the tags of the songs below `root`; a song without album is one.

    The artist is the album's, or else the song's.  An album has the genres of all its songs; songs without a genre are
    left out and counted, those whose tags cannot be read are listed as rejected.  All albums of an artist are in one
    split, whose hash is the artist's; a compilation is in that of its own name.  Raises UserError if mutagen is not
    installed, and if no song has a genre.
    """
    songs, rejected = _read_songs(root)
    tagged = [song for song in songs if song.genres]
    if not tagged:
        raise UserError(
            f"expected songs with genres in their tags, found {len(songs)} songs without one in {root}, and "
            f"{len(rejected)} whose tags cannot be read; tag them, or say --source=folder or --source=csv"
        )
    tagged, joined = _with_single_genres(tagged)
    members: dict[tuple[str, str], list[Song]] = defaultdict(list)
    for song in tagged:
        members[normal(song.artist), normal(song.album) or song.track_id].append(song)
    owners = {key: _owner(*key) for key in members}
    splits = split_groups(owners.values())
    albums = [_album(of_album, splits[owners[key]]) for key, of_album in members.items()]
    return Collection(albums, labels_of(albums), rejected, [*_notes(songs, joined), _note_of_splits(owners)])


def _read_songs(root: Path) -> tuple[list[Song], list[dict[str, str | int]]]:
    """Return the songs below `root`, and lines of `rejected.jsonl` for those whose tags cannot be read."""
    if not root.is_dir():
        raise UserError(f"expected a folder of songs, found a file: {root}; give the folder above it")
    paths = [path for path in files_below(root) if is_audio(path)]
    songs, rejected = [], []
    with progress_bar(len(paths), "reading tags") as progress:
        for path in paths:
            try:
                songs.append(read_tags(path, root))
            except Rejected as why:
                rejected.append({"file": str(path), "reason": why.reason, "detail": why.detail})
            progress.advance()
    return songs, rejected


def read_tags(path: Path, root: Path) -> Song:
    """Return a song below `root` with its tags.

    Raises Rejected if they cannot be read, and UserError if mutagen is not installed.
    """

    def find(tags: Any) -> tuple[dict[str, list[str]], bool]:
        return {field: _values(tags, field) for field in FIELDS}, bool(lyrics_in(tags))

    values, has_lyrics = find_in_tags(path, find)
    artist, *_ = *values["album_artist"], *values["artist"], ""
    album, *_ = *values["album"], ""
    genres = (genre for value in values["genres"] for genre in parts(value, _GENRE_SEPARATORS))
    given = tuple(genre for genre in genres if genre.lower() not in NO_GENRES)
    return Song(as_id(path.relative_to(root).as_posix()), path, artist, album, given, has_lyrics)


def _values(tags: Any, field: str) -> list[str]:
    """Return the values of a field that are not blank, each as one line."""
    lines = (" ".join(value.strip("\0").split()) for value in values_of(tags, FIELDS[field]))
    return [line for line in lines if line]


def _with_single_genres(songs: Sequence[Song]) -> tuple[list[Song], list[str]]:
    """Return the songs with joined genres parted where that is safe, and the genres that may still be joined."""
    joined = find_joined({genre for song in songs for genre in song.genres})
    single = [
        dataclasses.replace(song, genres=tuple(one for genre in song.genres for one in joined.get(genre, (genre,))))
        for song in songs
    ]
    left = {genre for song in single for genre in song.genres if any(mark in genre for mark in OTHER_MARKS)}
    return single, sorted(left)


# --- artists and albums -------------------------------------------------------------------------------------


def normal(name: str) -> str:
    """Return a name in the form in which artists and albums are compared: without case, spaces at will, and guests."""
    text = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
    return _GUESTS.sub("", text).removeprefix("the ")


def _owner(artist: str, album: str) -> str:
    """Return what decides an album's split: its artist, or the album if it has none or many."""
    return album if not artist or artist in MANY_ARTISTS else artist


def _album(songs: Sequence[Song], split: str) -> Album:
    artist, title = songs[0].artist, songs[0].album
    return Album(
        album_id=" / ".join(filter(None, (artist, title))) if title else songs[0].track_id,
        genres=tuple(dict.fromkeys(genre for song in songs for genre in song.genres)),
        tracks=tuple(Track(song.track_id, song.path, lyrics=song.path if song.has_lyrics else None) for song in songs),
        split=split,
    )


# --- notes --------------------------------------------------------------------------------------------------


def _notes(songs: Sequence[Song], joined: Sequence[str]) -> list[str]:
    notes, bare = [], [song.path for song in songs if not song.genres]
    if bare:
        notes.append(
            f"{len(bare):,} songs have no genre in their tags and are left out (first: {bare[0]}); give them one and "
            "call again"
        )
    if joined:
        marks = " or ".join(map(repr, OTHER_MARKS))
        notes.append(f"{len(joined):,} genres have {marks} in their names and stay whole (first: {joined[0]!r})")
    return notes


def _note_of_splits(owners: Mapping[tuple[str, str], str]) -> str:
    of_artists = {owner for (artist, _), owner in owners.items() if owner == artist}
    n_others = sum(owner not in of_artists for owner in owners.values())
    note = f"splits are by artist: all albums of each of {len(of_artists):,} artists are in one"
    others = f"; {n_others:,} albums of various artists, or of none, are split by their own names"
    return note + (others if n_others else "")


SOURCE = Source(
    name="tags",
    read=read,
    layout="a folder of songs, whose own tags name artist, album and genres",
)
