"""Albums, artists and genres from the songs' own tags: the formats, albums, splits by artist, and songs left out."""

import os
import random
import struct
import sys
from pathlib import Path

import mutagen
import numpy as np
import pytest
import soundfile
from mutagen import id3

from mumu_jax.data.manifest import Rejected, hashed_split, read_manifest
from mumu_jax.data.preparation.job import Job, prepare
from mumu_jax.data.sources import read_source
from mumu_jax.data.sources.base import Collection, Request
from mumu_jax.data.sources.tags import normal, read_tags
from mumu_jax.errors import UserError

NAMES = {  # Vorbis comments
    "artist": "artist",
    "album_artist": "albumartist",
    "album": "album",
    "genres": "genre",
}
FRAMES = {"artist": id3.TPE1, "album_artist": id3.TPE2, "album": id3.TALB, "genres": id3.TCON}
ATOMS = {"artist": "\xa9ART", "album_artist": "aART", "album": "\xa9alb", "genres": "\xa9gen"}


def song(path: Path, **fields: str | list[str]) -> Path:
    """Write a song of half a second with tags of its suffix's format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".m4a":
        path.write_bytes(mp4())
    else:
        noise = np.random.default_rng(len(str(path))).normal(0, 0.1, 24000)
        soundfile.write(path, noise, 48000)
    content = mutagen.File(path)
    if content.tags is None:
        content.add_tags()
    for field, given in fields.items():
        values = [given] if isinstance(given, str) else given
        if isinstance(content.tags, id3.ID3):
            content.tags.add(FRAMES[field](3, values))
        else:
            content[(ATOMS if path.suffix == ".m4a" else NAMES)[field]] = values
    content.save()
    return path


def box(name: bytes, *contents: bytes) -> bytes:
    return struct.pack(">I4s", 8 + sum(map(len, contents)), name) + b"".join(contents)


def mp4(tags: bytes = b"") -> bytes:
    """Return the smallest file that is an MP4 with a sound track."""
    track = box(b"mdia", box(b"mdhd", bytes(12), struct.pack(">II", 44100, 22050), bytes(4)),
                box(b"hdlr", bytes(8), b"soun", bytes(13)), box(b"minf", box(b"stbl")))  # fmt: skip
    meta = box(b"meta", bytes(4), box(b"hdlr", bytes(8), b"mdirappl", bytes(9)), box(b"ilst", tags))
    return box(b"ftyp", b"M4A \0\0\0\0M4A ") + box(b"moov", box(b"trak", track), box(b"udta", meta))


def read(root: Path) -> Collection:
    return read_source("tags", root, Request(Path("nowhere")))


@pytest.mark.parametrize("suffix", ["mp3", "wav", "aiff", "flac", "ogg", "m4a"])
def test_every_format_says_the_same(tmp_path, suffix):
    path = song(
        tmp_path / f"a.{suffix}", artist=["Ann", "Bob"], album_artist="The Duo", album="One", genres=["Jazz", "Be  bop"]
    )
    found = read_tags(path, tmp_path)
    assert (found.track_id, found.artist, found.album) == (f"a.{suffix}", "The Duo", "One")
    assert found.genres == ("Jazz", "Be bop")


@pytest.mark.parametrize(
    ("text", "genres"),
    [
        ("(17)", ("Rock",)),
        ("17", ("Rock",)),
        ("(17)(8)Cool Jazz", ("Rock", "Jazz", "Cool Jazz")),
        ("Rock\0Pop", ("Rock", "Pop")),
        ("Rock; Pop;", ("Rock", "Pop")),
        ("(12)", ()),  # Other
        ("(255)", ()),  # Unknown
        ("R&B/Soul", ("R&B/Soul",)),
        ("", ()),
    ],
)
def test_genres_of_id3(tmp_path, text, genres):
    path = song(tmp_path / "a.mp3", genres=text)
    assert read_tags(path, tmp_path).genres == genres


def test_mp4_s_number_of_a_genre(tmp_path):
    number = box(b"gnre", box(b"data", bytes(8), struct.pack(">H", 9)))  # 1 + the number of ID3
    (tmp_path / "a.m4a").write_bytes(mp4(number))
    assert read_tags(tmp_path / "a.m4a", tmp_path).genres == ("Jazz",)


def test_albums_of_tags(tmp_path):
    song(tmp_path / "1.flac", artist="The Who", album="Tommy", genres="Rock")
    song(tmp_path / "x" / "2.flac", artist="the who", album=" TOMMY", genres=["Rock", "Opera"])
    song(tmp_path / "3.flac", artist="The Who feat. Ann", album_artist="The Who", album="Tommy", genres="Live")
    song(tmp_path / "4.flac", artist="Bob", album="Tommy", genres="Folk")
    song(tmp_path / "5.flac", artist="Bob", genres="Folk")
    song(tmp_path / "6.flac", artist="Bob", genres="Pop")
    song(tmp_path / "7.flac", album="Tommy", genres="Pop")
    found = read(tmp_path)
    assert [(album.album_id, album.genres, [track.track_id for track in album.tracks]) for album in found.albums] == [
        ("The Who / Tommy", ("Rock", "Live", "Opera"), ["1.flac", "3.flac", "x/2.flac"]),
        ("Bob / Tommy", ("Folk",), ["4.flac"]),
        ("5.flac", ("Folk",), ["5.flac"]),
        ("6.flac", ("Pop",), ["6.flac"]),
        ("Tommy", ("Pop",), ["7.flac"]),
    ]
    assert [label.name for label in found.labels] == ["Folk", "Live", "Opera", "Pop", "Rock"]
    assert found.albums[0].tracks[2].audio == tmp_path / "x" / "2.flac"


@pytest.mark.parametrize(
    ("name", "other"),
    [("The Beatles", "beatles"), ("Björk", "BJÖRK"), ("Ann  Bee", "Ann Bee (feat. Cy)"), ("Ann", "Ann ft. Bob & Cy")],
)
def test_spellings_of_one_artist(name, other):
    assert normal(name) == normal(other)
    assert normal(name) != normal(name + " Featherstone")
    assert normal("Little Feat") == "little feat"


def test_all_albums_of_an_artist_are_in_one_split(tmp_path):
    artists = [f"Artist {i}" for i in range(12)]
    for i, artist in enumerate(artists):
        for j, name in enumerate((artist, artist.upper(), f"{artist} feat. Guest {i}")):
            song(tmp_path / f"{i} {j}.wav", artist=name, album=f"Album {j}", genres="Pop")
    for j in range(12):
        song(tmp_path / f"va {j}.wav", album_artist="Various Artists", album=f"Hits {j}", genres="Pop")
    found = read(tmp_path)
    splits = {artist: {a.split for a in found.albums if normal(a.album_id).startswith(normal(artist) + " /")}
              for artist in artists}  # fmt: skip
    assert [len(of_artist) for of_artist in splits.values()] == [1] * 12
    assert {split for of_artist in splits.values() for split in of_artist} == {
        hashed_split(normal(artist)) for artist in artists
    }
    compilations = {a.album_id: a.split for a in found.albums if a.album_id.startswith("Various")}
    assert compilations == {f"Various Artists / Hits {j}": hashed_split(f"hits {j}") for j in range(12)}
    assert len({*compilations.values()}) > 1
    (note,) = [note for note in found.notes if "splits" in note]
    assert "all albums of each of 12 artists are in one; 12 albums of various artists, or of none" in note


def test_few_artists_fill_every_split(tmp_path):
    for artist in "abc":
        for album in "xyz":
            song(tmp_path / f"{artist}{album}.wav", artist=artist, album=album, genres="Pop")
    found = read(tmp_path)
    by_artist = {artist: {album.split for album in found.albums if album.album_id[0] == artist} for artist in "abc"}
    assert sorted(map(tuple, by_artist.values())) == [("test",), ("train",), ("val",)]


def test_marks_that_join_genres(tmp_path):
    """A genre is parted at `/` and `,` if all its parts are genres of other songs."""
    for i, genre in enumerate(
        ("Rap", "Rock", "Rap/Rock", "Rock, Rap", "Folk, World, & Country", "R&B/Soul", "Rap / X")
    ):
        song(tmp_path / f"{i}.wav", genres=genre)
    found = read(tmp_path)
    assert [album.genres for album in found.albums] == [
        ("Rap",), ("Rock",), ("Rap", "Rock"), ("Rock", "Rap"), ("Folk, World, & Country",), ("R&B/Soul",), ("Rap / X",)
    ]  # fmt: skip
    assert any(
        "3 genres have ',' or '|' or '/' in their names and stay whole (first: 'Folk, World, & Country')" in note
        for note in found.notes
    )


def test_songs_without_genres_or_tags_are_told(tmp_path):
    song(tmp_path / "a.flac", artist="A", genres="Rock")
    bare = song(tmp_path / "b.flac", artist="A")
    song(tmp_path / "c.wav", genres="Unknown")
    (tmp_path / "d.mp3").write_bytes(b"<html>")
    damaged = song(tmp_path / "e.flac", genres="Rock").read_bytes()
    (tmp_path / "e.flac").write_bytes(damaged[:100])
    (tmp_path / "f.caf").write_bytes(b"caff" + bytes(200))
    os.mkfifo(tmp_path / "g.mp3")
    (tmp_path / "h.mp3").symlink_to(tmp_path / "gone.mp3")
    found = read(tmp_path)
    assert [album.album_id for album in found.albums] == ["a.flac"]
    assert [(Path(str(line["file"])).name, line["reason"]) for line in found.rejected] == [
        ("d.mp3", "unreadable"), ("e.flac", "unreadable"), ("f.caf", "not_audio"), ("h.mp3", "missing")
    ]  # fmt: skip
    assert "its tags cannot be read: HeaderNotFoundError" in str(found.rejected[0]["detail"])
    assert any(
        f"2 songs have no genre in their tags and are left out (first: {bare}); give them one and call again" == note
        for note in found.notes
    )


def test_damaged_tags_never_end_the_call(tmp_path):
    """Whatever a changed byte makes mutagen raise (here IndexError, too), the song is read or rejected."""
    whole, rng, reasons = song(tmp_path / "a.ogg", artist="A", genres="Rock").read_bytes(), random.Random(0), set()
    for _ in range(300):
        changed = bytearray(whole)
        for _ in range(8):
            changed[rng.randrange(300)] = rng.choice([0, 255, rng.randrange(256)])
        (tmp_path / "a.ogg").write_bytes(changed)
        try:
            assert read_tags(tmp_path / "a.ogg", tmp_path).track_id == "a.ogg"
        except Rejected as why:
            reasons |= {why.detail.removeprefix("its tags cannot be read: ").partition(":")[0]}
    assert {"OggVorbisHeaderError", "VorbisUnsetFrameError"} <= reasons


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "expected songs with genres in their tags, found 0 songs without one in"),
        ({"a.mp3": b"no"}, "and 1 whose tags cannot be read; tag them, or say --source=folder or --source=csv"),
    ],
)
def test_a_folder_without_genres(tmp_path, files, says):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=says):
        read(tmp_path)


def test_a_file_is_no_folder_of_songs(tmp_path):
    with pytest.raises(UserError, match="expected a folder of songs, found a file"):
        read(song(tmp_path / "a.wav", genres="Pop"))


def test_mutagen_is_an_extra(tmp_path, monkeypatch):
    song(tmp_path / "a.wav", genres="Pop")
    monkeypatch.setitem(sys.modules, "mutagen", None)
    with pytest.raises(UserError, match=r"songs' tags needs mutagen; pip install 'mumu_jax\[write\]'"):
        read(tmp_path)


def test_tagged_songs_are_prepared(tmp_path):
    for artist in "abcd":
        for i in range(2):
            song(tmp_path / "songs" / f"{artist}{i}.flac", artist=artist, album="X", genres=["Pop", "Rock"][i])
    song(tmp_path / "songs" / "bare.flac", artist="a")
    summary = prepare(Job("tags", tmp_path / "songs", tmp_path / "data", workers=1, modalities=("audio",)))
    assert "1 songs have no genre" in str(summary)
    assert "splits are by artist: all albums of each of 4 artists are in one" in str(summary)
    assert sum(split["records"] for split in summary.splits["audio"].values()) == 8
    albums = read_manifest(tmp_path / "data" / "manifest.jsonl")
    assert {album.album_id: album.genres for album in albums} == {f"{a} / X": ("Pop", "Rock") for a in "abcd"}
