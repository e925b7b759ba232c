"""Every source yields the same kind of manifest, and says in one line what is wrong with its input."""

import errno
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mumu_jax.data.manifest import Album, Label, Track, labels_of, read_manifest, write_manifest
from mumu_jax.data.modalities.base import Read, Reader
from mumu_jax.data.preparation.job import Job, prepare
from mumu_jax.data.sources import SOURCES, Source, read_source, register
from mumu_jax.data.sources.base import Collection, Request
from mumu_jax.data.sources.files import files_below
from mumu_jax.errors import UserError
from mumu_jax.runs.stems import find_stems

SUPER = Path(__file__).parents[2] / "shared" / "data" / "super"
needs_super = pytest.mark.skipif(not SUPER.is_dir(), reason=f"the authors' nine songs are not at {SUPER}")


def read(name: str, path: Path | None) -> tuple[list[Album], list[Label]]:
    found = read_source(name, path, Request(Path("nowhere")))
    return found.albums, found.labels


def fails(name: str, path: Path | None, *fragments: str) -> None:
    """Reading raises a UserError of one line that has all the fragments and a remedy."""
    with pytest.raises(UserError) as caught:
        read(name, path)
    message = str(caught.value)
    assert [fragment for fragment in fragments if fragment not in message] == [], message
    assert "\n" not in message


def make(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def by_id(albums: list[Album]) -> dict[str, Album]:
    return {album.album_id: album for album in albums}


# --- the registry -------------------------------------------------------------------------------------------


def test_registry_describes_every_source() -> None:
    ours = ["synthetic", "synthetic_single", "tartarus", "mumu", "folder", "covers", "csv", "tags", "manifest"]
    public = ["jamendo", "magnatagatune", "fma", "gtzan", "music4all", "msd_lastfm", "msdi"]
    assert list(SOURCES) == [*ours, *public]
    assert all(source.name == name and source.layout for name, source in SOURCES.items())
    assert [name for name, source in SOURCES.items() if not source.needs_input] == ["synthetic", "synthetic_single"]
    assert [name for name, source in SOURCES.items() if source.folders] == ["mumu", *public]
    assert [name for name, source in SOURCES.items() if source.dataset] == public


def read_songs(path: Path, request: Request) -> Collection:
    """Read a made-up format: a line for each song, its genre and its words."""
    lines = [line.split(":") for line in path.read_text().splitlines()]
    albums = [Album(f"song {i}", (genre,), (), text=words) for i, (genre, words) in enumerate(lines)]
    return Collection(albums, labels_of(albums))


def test_a_source_from_outside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    songs = Source(name="songs", read=read_songs, layout="a text file with GENRE:WORDS on each line")
    monkeypatch.setitem(SOURCES, songs.name, songs)  # so that it is unregistered after the test
    del SOURCES[songs.name]
    register(songs)
    with pytest.raises(ValueError, match="'songs', which is registered"):
        register(songs)
    (tmp_path / "songs.txt").write_text("".join(f"{genre}:la la {genre}\n" for genre in ("Rock", "Pop") * 20))
    summary = prepare(Job("songs", tmp_path / "songs.txt", tmp_path / "data", workers=1))
    assert sum(split["records"] for split in summary.splits["text"].values()) == 40
    assert {album.split for album in read_manifest(tmp_path / "data" / "manifest.jsonl")} == {"train", "val", "test"}
    fails("songs", None, "--source=songs expects --input to be a text file with GENRE:WORDS", "add --input=PATH")
    with pytest.raises(UserError, match=r"--audio_dir is for --source=mumu, .*; songs names its own files: leave it"):
        read_source("songs", tmp_path / "songs.txt", Request(tmp_path, folders={"audio": tmp_path}))


def test_real_data_never_pays_for_the_renderer() -> None:
    code = "import mumu_jax.data.sources, sys; assert not any('synthetic' in name for name in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_input_that_no_source_can_read(tmp_path: Path) -> None:
    fails("tartaru", tmp_path, "no source 'tartaru'; did you mean 'tartarus'?")
    fails("spotify", tmp_path, "no source 'spotify'; choose one of synthetic, synthetic_single, tartarus,")
    for name in ("synthetic", "synthetic_single"):
        fails(name, tmp_path, f"the {name} source is made, not read: leave out --input")
    for name in set(SOURCES) - {"synthetic", "synthetic_single"}:
        fails(name, None, f"--source={name} expects", "found none: add --input=PATH")
        fails(name, tmp_path / "gone", f"--source={name} expects", f"found nothing at {tmp_path / 'gone'}")
    (tmp_path / "empty").touch()
    for name in ("folder", "covers"):
        fails(name, tmp_path, f"--source={name} expects --input to be a folder", "found no albums in")
        fails(name, tmp_path / "empty", "expected a folder of genres, found a file")
    fails("manifest", tmp_path / "empty", "found no albums in")
    fails("manifest", tmp_path, "Is a directory")
    fails("csv", tmp_path, "expected a CSV file, found a folder")
    write_manifest(tmp_path / "m.jsonl", [Album("a", (), ())])
    fails("manifest", tmp_path / "m.jsonl", "found no genres in", "give the albums at least one")


def test_input_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, request: Request) -> Collection:
        raise PermissionError(13, "Permission denied", str(path / "Rock"))

    monkeypatch.setitem(SOURCES, "folder", replace(SOURCES["folder"], read=refused))
    fails("folder", tmp_path, "--source=folder stopped at", "Rock: Permission denied", "fix that")


def test_manifest_source_assigns_missing_splits(tmp_path: Path) -> None:
    albums = [Album(f"a{i}", ("Rock", "Pop"), (), split="test" if i < 5 else None) for i in range(40)]
    write_manifest(tmp_path / "m.jsonl", albums)
    found, labels = read("manifest", tmp_path / "m.jsonl")
    assert labels == [Label("Pop"), Label("Rock")]
    assert [album.split for album in found[:5]] == ["test"] * 5
    assert {album.split for album in found} == {"train", "val", "test"}


# --- tartarus -----------------------------------------------------------------------------------------------


@needs_super
def test_super_as_it_stands() -> None:
    albums, labels = read("tartarus", SUPER)
    assert labels == [Label("Cumbia"), Label("Merengue"), Label("Reggaeton")]
    assert [(album.album_id, album.split, album.genres[0], album.tracks[0].audio.name) for album in albums] == [
        ("S1", "train", "Reggaeton", "a_vacilar.mp3"),
        ("S2", "train", "Cumbia", "berlina.mp3"),
        ("S3", "train", "Merengue", "canariedad.mp3"),
        ("S4", "val", "Cumbia", "el_zurron_del_gofio.mp3"),
        ("S5", "val", "Merengue", "llevando_prisa.mp3"),
        ("S6", "val", "Reggaeton", "me_voy_de_romeria.mp3"),
        ("S7", "test", "Reggaeton", "navidad_caliente.mp3"),
        ("S8", "test", "Merengue", "odisea_carnavalera.mp3"),
        ("S9", "test", "Cumbia", "soy_un_volcan.mp3"),
    ]
    for album in albums:
        (track,) = album.tracks
        assert (track.track_id, track.audio.parent) == (album.album_id, SUPER / "audio")
        assert track.audio.is_file()
        assert len(album.genres) == 1
    assert (albums[0].text or "").startswith("Vamos a pegarnos un viajito guapo")
    assert read("tartarus", SUPER / "splits" / "genre_labels_SUPER.tsv") == (albums, labels)


def tartarus(folder: Path, dataset: str = "MuMu-albums") -> Path:
    """Four items of three splits and two genres: one of two tracks, one without audio, two of one track."""
    rows = {"train": ("A\r\nB", [[1, 1], [0, 1]]), "val": ("Ç\n", [[1, 0]]), "test": ("D", [[0, 0]])}
    make(folder, {
        f"splits/genre_labels_{dataset}.tsv": "Rock\nTheatrical, Incidental & Program Music",
        f"index/index_audio_{dataset}.tsv": b"A\t1/x.mp3\nA\t2/x.mp3\nA\t1/x.mp3\n\xc3\x87\tc\xe9.mp3\nD\td.mp3",
        f"index/index_text_{dataset}.tsv": "A\ta.txt\nB\tgone.txt",
        "text/a.txt": b"\xef\xbb\xbfol\xe9!",
        **{f"splits/items_index_{split}_{dataset}.tsv": items for split, (items, _) in rows.items()},
    })  # fmt: skip
    for split, (_, y) in rows.items():
        np.save(folder / "splits" / f"y_{split}_class_2_{dataset}.npy", np.array(y, np.float64))
    return folder


def test_tartarus_albums(tmp_path: Path) -> None:
    albums, labels = read("tartarus", tartarus(tmp_path))
    audio = tmp_path / "audio"
    assert [label.name for label in labels] == ["Rock", "Theatrical, Incidental & Program Music"]
    a, b, c, d = albums
    assert a.tracks == (Track("A/1/x.mp3", audio / "1" / "x.mp3"), Track("A/2/x.mp3", audio / "2" / "x.mp3"))
    assert a.genres == ("Rock", "Theatrical, Incidental & Program Music")
    assert a.text == "ol\N{REPLACEMENT CHARACTER}!"
    assert (b.album_id, b.split, b.tracks, b.text) == ("B", "train", (), None)
    assert (c.album_id, c.split) == ("Ç", "val")
    assert os.fsencode(c.tracks[0].audio.name) == b"c\xe9.mp3"
    assert (d.split, d.genres) == ("test", ())
    write_manifest(tmp_path / "m.jsonl", albums)
    assert read_manifest(tmp_path / "m.jsonl") == albums


def test_tartarus_of_several_data_sets(tmp_path: Path) -> None:
    tartarus(tartarus(tmp_path), "MuMu-tracks")
    one = tmp_path / "splits" / "genre_labels_MuMu-albums.tsv"
    fails("tartarus", tmp_path, "expected one data set", "genre_labels_MuMu-tracks.tsv", f"--input={one}")
    assert len(read("tartarus", one)[0]) == 4


def test_tartarus_that_contradicts_itself(tmp_path: Path) -> None:
    fails("tartarus", tmp_path, f"expected {tmp_path / 'splits' / 'genre_labels_*.tsv'}, found none")
    root = tartarus(tmp_path / "good", "D")

    def broken(name: str, content: str | bytes | None, *fragments: str) -> None:
        shutil.rmtree(tmp_path / "bad", ignore_errors=True)
        bad = shutil.copytree(root, tmp_path / "bad")
        if content is None:
            (bad / name).unlink()
        else:
            make(bad, {name: content})
        fails("tartarus", bad, *fragments)

    index, items = "index/index_audio_D.tsv", "splits/items_index_train_D.tsv"
    broken(index, None, "expected", f"{index}, found none")
    broken(index, "A\ta.mp3\nB b.mp3\n", f"{index}:2: expected id<TAB>file, found 'B b.mp3'")
    broken(items, None, f"{items}, found none")
    broken(items, "A\nA", f"{items}:2: expected each line once, found 'A', which is already in line 1")
    broken(items, "A\nB\nC", "y_train_class_2_D.npy: expected 3 × 2 numbers", "found shape (2, 2)")
    y = "splits/y_val_class_2_D.npy"
    broken(y, None, f"{y} for the 2 genres", "y_test_class_2_D.npy")
    broken(y, b"", f"{y}: expected a NumPy array")
    genres = "splits/genre_labels_D.tsv"
    broken(genres, "Rock\nRock", f"{genres}:2: expected each line once, found 'Rock', which is already")
    broken(genres, "a\nb\nc", "y_train_class_3_D.npy for the 3 genres", "found y_test_class_2_D.npy")
    broken("splits/items_index_test_D.tsv", "A", "items_index_*_D.tsv", "'A' in train and test")
    np.save(root / "splits" / "y_train_class_2_D.npy", np.full((2, 2), np.nan))
    fails("tartarus", root, "y_train_class_2_D.npy", "expected only 0 and 1")


# --- folder -------------------------------------------------------------------------------------------------


def test_folder_of_genres(tmp_path: Path) -> None:
    root = make(tmp_path / "music", {
        "Rock/song.MP3": b"", "Rock/song.txt": "about song", "Rock/song.jpg": b"", "Rock/song.flac": b"",
        "Rock/b.side.m4a": b"", "Rock/readme.txt": "no track of this name", "Rock/cover.jpg": b"",
        "Rock/.hidden.mp3": b"", "Rock/.trash/x.mp3": b"",
        "Música/Álbum/CD2/01.ogg": b"", "Música/Álbum/CD1/01.ogg": b"", "Música/Álbum/CD1/notes.txt": "notes",
        "Música/Álbum/review.txt": "the review", "Música/Álbum/Folder.JPG": b"", "Música/Álbum/01.png": b"",
        "Jazz/kind/a.wav": b"", "Jazz/kind/liner.txt": b"caf\xe9", "Jazz/kind/back.png": b"",
        "Blues/lyrics/1.wav": b"", "Blues/lyrics/1.txt": "one", "Blues/lyrics/2.aiff": b"",
        "Blues/lyrics/2.txt": "two", "Blues/lyrics/extra.txt": "x", "Blues/lyrics/cover.png": b"",
        "No audio/a.txt": "", "top.txt": "",
    })  # fmt: skip
    albums, labels = read("folder", root)
    assert [label.name for label in labels] == ["Blues", "Jazz", "Música", "Rock"]
    found = by_id(albums)
    assert list(found) == ["Blues/lyrics", "Jazz/kind", "Música/Álbum", "Rock/b.side", "Rock/song"]

    song = found["Rock/song"]
    assert song.genres == ("Rock",)
    assert [track.track_id for track in song.tracks] == ["Rock/song.MP3", "Rock/song.flac"]
    assert song.tracks[1].audio == root / "Rock" / "song.flac"
    assert (song.text, song.cover) == ("about song", root / "Rock" / "song.jpg")
    assert (found["Rock/b.side"].text, found["Rock/b.side"].cover) == (None, None)
    album = found["Música/Álbum"]
    assert [track.track_id for track in album.tracks] == [
        "Música/Álbum/CD1/01.ogg",
        "Música/Álbum/CD2/01.ogg",
    ]
    assert (album.text, album.cover) == ("the review", root / "Música" / "Álbum" / "Folder.JPG")
    assert (found["Jazz/kind"].text, found["Jazz/kind"].cover) == ("café", None)
    lyrics = found["Blues/lyrics"]
    assert (lyrics.text, lyrics.cover) == ("one\ntwo", root / "Blues" / "lyrics" / "cover.png")
    assert {album.split for album in albums} == {"train", "val", "test"}


def test_folder_with_links_and_strange_names(tmp_path: Path) -> None:
    root = make(tmp_path / "music", {"Rock/Album/1.wav": b"", os.fsdecode(b"Rock/caf\xe9.wav"): b""})
    (root / "Rock" / "Album" / "circle").symlink_to(root / "Rock")
    (root / "Pop").symlink_to(make(tmp_path / "elsewhere", {"a.wav": b""}))
    (root / "Pop" / "gone.wav").symlink_to(tmp_path / "annexed")
    albums, _ = read("folder", root)
    assert list(by_id(albums)) == ["Pop/a", "Pop/gone", "Rock/Album", "Rock/caf\\xe9"]
    write_manifest(tmp_path / "m.jsonl", albums)
    assert read_manifest(tmp_path / "m.jsonl") == albums
    assert albums[3].tracks[0].audio.is_file()


def test_folder_with_audio_in_no_genre(tmp_path: Path) -> None:
    make(tmp_path, {"Rock/a.wav": b"", "b.wav": b""})
    fails("folder", tmp_path, "expected audio in folders named by genre", f"found {tmp_path / 'b.wav'} in none")


# --- covers -------------------------------------------------------------------------------------------------


def cover(seed: int, suffix: str = ".png", **how: int) -> bytes:
    """An image of 60 × 60 pixels, another for each seed."""
    blocks = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(blocks).resize((60, 60)).save(stream, {".png": "PNG", ".jpg": "JPEG"}[suffix], **how)
    return stream.getvalue()


def test_covers(tmp_path: Path) -> None:
    root = make(tmp_path / "covers", {
        "Rock/a.png": cover(0), "Rock/b.JPG": cover(1, ".jpg"), "Rock/deep/er/c.png": cover(2), "Rock/.d.png": cover(3),
        "Música/a.jpg": cover(4, ".jpg"), "Música/a.png": cover(5), "Música/a.jpg.png": cover(6), "Rock/notes.txt": "",
        "Jazz/404.jpg": "<html>", "Jazz/1 × 1.gif": b"", "No images/a.txt": "",
    })  # fmt: skip
    found = read_source("covers", root, Request(Path("nowhere"), workers=2))
    assert [label.name for label in found.labels] == ["Jazz", "Música", "Rock"]
    assert {album.album_id: album.cover for album in found.albums} == {
        **{name: root / name for name in ("Música/a.jpg", "Música/a.png", "Música/a.jpg.png")},
        **{name: root / f"{name}.png" for name in ("Rock/a", "Rock/deep/er/c")},
        "Rock/b": root / "Rock/b.JPG",
        **{"Jazz/404": root / "Jazz/404.jpg", "Jazz/1 × 1": root / "Jazz/1 × 1.gif"},
    }
    assert all(album.genres == (album.album_id.partition("/")[0],) and not album.tracks for album in found.albums)
    assert {album.split for album in found.albums} == {"train", "val", "test"}
    assert found.rejected == []
    write_manifest(tmp_path / "m.jsonl", found.albums)
    assert read_manifest(tmp_path / "m.jsonl") == found.albums
    make(root, {"top.jpg": b""})
    fails("covers", root, "expected covers in folders named by genre", f"found {root / 'top.jpg'} in none")


def test_covers_that_look_alike_are_taken_once(tmp_path: Path) -> None:
    root = make(tmp_path, {
        "A/1.png": cover(0), "A/2.png": cover(1), "A/3.png": cover(0),
        "B/1.jpg": cover(1, ".jpg", quality=60), "B/2.jpg": b"damaged", "B/3.jpg": b"damaged", "B/4.png": cover(2),
    })  # fmt: skip
    found = read_source("covers", root, Request(Path("nowhere")))
    assert [album.album_id for album in found.albums] == ["A/1", "A/2", "B/2", "B/3", "B/4"]
    assert found.rejected == [
        {"file": str(root / name), "reason": "duplicate", "detail": f"it looks like {root / like}"}
        for name, like in (("A/3.png", "A/1.png"), ("B/1.jpg", "A/2.png"))
    ]
    said = "duplicates: 2 covers look like an earlier one: "
    other = "1 of them have another genre than that one: B → A 1 (otherwise: --duplicates="
    assert found.notes == [f"{said}left out; {other}merge|keep)"]  # 50: not by the alphabet alone, silently

    merged = read_source("covers", root, Request(Path("nowhere"), duplicates="merge"))
    genres = {album.album_id: album.genres for album in merged.albums}
    assert genres == {"A/1": ("A",), "A/2": ("A", "B"), "B/2": ("B",), "B/3": ("B",), "B/4": ("B",)}
    assert merged.rejected == found.rejected
    kept = read_source("covers", root, Request(Path("nowhere"), duplicates="keep"))
    splits = {album.album_id: album.split for album in kept.albums}
    assert len(splits) == 7
    assert kept.rejected == []
    assert (splits["A/3"], splits["B/1"]) == (splits["A/1"], splits["A/2"])
    assert kept.notes == [f"{said}kept in one split with it; {other}drop|merge)"]


# --- csv ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_csv_as_spreadsheets_write_it(tmp_path: Path, delimiter: str, line_end: str, encoding: str) -> None:
    long_text = "no end. " * 20_000 + "fin"
    rows = [
        (" Path ", "GENRES", "Artist", "Album", "Text", "Cover", "Split"),
        ("1.mp3", '"Rock; Pop"', "x", "Ágætis", '"two\nlines, ""quoted""; \u2028 and more"', "", "Train"),
        ("sub/2.mp3", "Pop", "x", "Ágætis", "review.txt", "c.jpg", ""),
        ("", "", "", "", "", "", ""),
        ("3.mp3", ' " Blues ;;Rock;Blues"', "", "", long_text, "", "test"),
        ("/abs/4.mp3", "Jazz", "", "", "gone.txt", "", ""),
    ]
    text = "\n".join(delimiter.join(row) for row in rows).replace("\n", line_end) + line_end
    root = make(tmp_path, {"t.csv": text.encode(encoding), "review.txt": "a file"})
    albums, labels = read("csv", root / "t.csv")
    assert [label.name for label in labels] == ["Blues", "Jazz", "Pop", "Rock"]
    assert albums[0] == Album(
        "Ágætis",
        ("Rock", "Pop"),
        (Track("1.mp3", root / "1.mp3"), Track("sub/2.mp3", root / "sub" / "2.mp3")),
        "train",
        'two\nlines, "quoted"; \u2028 and more\na file',
        root / "c.jpg",
    )
    assert albums[1] == Album("3.mp3", ("Blues", "Rock"), (Track("3.mp3", root / "3.mp3"),), "test", long_text)
    assert (albums[2].tracks[0].audio, albums[2].text) == (Path("/abs/4.mp3"), None)  # a text that is not there


def test_csv_of_ids(tmp_path: Path) -> None:
    root = make(tmp_path, {
        "t.csv": "id,genres,path\nTR1,Rock,\nTR2,Pop,\nTR3,Pop,x/other.ogg\nTRÉ,Pop\n",
        "A/B/TR1.mp3": b"", "A/B/TR1.jpg": b"", "TRÉ.ogg": b"",
    })  # fmt: skip
    albums, _ = read("csv", root / "t.csv")
    assert {album.album_id: album.tracks for album in albums} == {
        "TR1": (Track("TR1", root / "A" / "B" / "TR1.mp3"),),
        "TR2": (Track("TR2", root / "TR2"),),
        "TR3": (Track("TR3", root / "x" / "other.ogg"),),
        "TRÉ": (Track("TRÉ", root / "TRÉ.ogg"),),
    }
    make(root, {"C/TR1.wav": b""})
    fails("csv", root / "t.csv", "t.csv:2: expected one audio file named 'TR1'", "TR1.mp3 and", "C/TR1.wav")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "1: expected the columns 'genres' and 'path', 'id' or 'album', found none"),
        (
            "file,genre\na.mp3,Rock\n",
            "1: expected the columns 'genres' and 'path', 'id' or 'album', found 'file', 'genre'",
        ),
        ("path,genres,Path \n", "1: expected each column once, found 'path' twice"),
        ("path,genres\na.mp3,Rock\n\nb.mp3, ;\n", "4: expected genres joined by ';', found an empty cell"),
        ("path;genres\na.mp3;Rock;Pop\n", "2: expected 2 cells as in the header, found 3; join genres"),
        ('path,genres\na.mp3,"Rock\nb.mp3,Pop\n', "2: expected CSV, found unexpected end of data"),
        ("path,id,genres\n,,Rock\n", "2: expected a path or an id, found neither"),
        ("path,genres\na.mp3,Rock\n./a.mp3,Pop\n", "3: '{folder}/a.mp3' is already in {folder}/t.csv:2"),
        ("path,id,genres\na.mp3,A,Rock\nb.mp3,A,Pop\n", "3: 'A' is already in {folder}/t.csv:2"),
        ("path,genres,split\na.mp3,Rock,dev\n", "2: expected split to be train, val or test, found 'dev'"),
        (
            "path,genres,album,split\na.mp3,Rock,X,val\nb.mp3,Rock,X,\nc.mp3,Rock,X,test\n",
            "4: expected album 'X' in 'val' as in {folder}/t.csv:2, found 'test'",
        ),
    ],
)
def test_csv_names_the_bad_row(tmp_path: Path, content: str, expected: str) -> None:
    path = make(tmp_path, {"t.csv": content}) / "t.csv"
    fails("csv", path, f"{path}:{expected.format(folder=tmp_path)}", "; ")


def test_csv_that_is_not_utf8(tmp_path: Path) -> None:
    path = make(tmp_path, {"t.csv": "path,genres\na.mp3,Música\n".encode("latin-1")}) / "t.csv"
    fails("csv", path, f"{path}: expected UTF-8", "'CSV UTF-8'")


def test_a_folder_that_may_not_be_read_is_left_out_with_a_warning(tmp_path, monkeypatch, capsys):  # 24
    for name in ("lost+found", "songs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.wav").touch()
    iterdir = Path.iterdir

    def refuse(path: Path):
        if path.name == "lost+found":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert list(files_below(tmp_path)) == [tmp_path / "songs" / "a.wav"]
    warning = f"warning: cannot list {tmp_path / 'lost+found'}: Permission denied; its files are left out\n"
    assert capsys.readouterr().err == warning
    with pytest.raises(PermissionError):  # the folder that the user named
        list(files_below(tmp_path / "lost+found"))


# --- headers are contracts, names compare as they look ------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "meant"),
    [("splits", "split"), ("album_id", "album"), ("cover_path", "cover"), ("review", "text"), ("artists", "artist")],
)
def test_a_column_that_is_nearly_known_is_refused(tmp_path, column, meant):  # 5
    make(tmp_path, {"t.csv": f"path,genres,{column}\na.wav,Rock,test\n"})
    fails("csv", tmp_path / "t.csv", f"t.csv:1: unknown column {column!r}; did you mean {meant!r}?", "Rename it")


def test_other_columns_are_named(tmp_path):  # 5
    make(tmp_path, {"t.csv": "path,genres,seconds,error,run,year,bpm\na.wav,Rock,1,,x,1999,120\n"})
    notes = ["columns that are not read: seconds, error, run, year, bpm"]
    assert read_source("csv", tmp_path / "t.csv", Request(tmp_path)).notes == notes


def test_tags_are_no_labels(tmp_path):  # (a) of a newcomer: every row lists the best five of five genres
    make(tmp_path, {"t.csv": "path,seconds,genres,scores,error,run\n/a.wav,1,Rock;Pop,0.5;0.4,,x\n"})
    fails("csv", tmp_path / "t.csv", "t.csv:1: the genres are a model's guesses", "take out the column 'scores'")


@pytest.mark.parametrize("line", ["sep=,", '"sep=;"', "SEP=;"])
def test_excels_own_line_may_go(tmp_path, line):  # 37
    make(tmp_path, {"t.csv": f"{line}\npath,genres\na.wav,Rock\n"})
    fails("csv", tmp_path / "t.csv", f"t.csv:1: expected the columns' names, found {line!r}, which only Excel reads")


@pytest.mark.parametrize("row", ["a.wav,Rock,Pop", "a.wav,Rock,Pop,Jazz"])
def test_genres_joined_by_the_columns_separator_take_one_round(tmp_path, row):  # 36
    make(tmp_path, {"t.csv": f"path,genres\n{row}\n"})
    fails("csv", tmp_path / "t.csv", "t.csv:2: expected 2 cells as in the header", "; join genres by ';', and put any")


def test_all_other_separators_are_named_at_once(tmp_path):  # 36
    make(tmp_path, {"t.csv": 'path,genres\na,Rock/Pop\nb,"Rock, Pop"\nc,Rock\nd,"Pop,Rock"\ne,Pop\n'})
    says = "found them joined by ',' in 2 rows: 'Rock, Pop', by '/' in 1 rows: 'Rock/Pop'; replace what joins"
    fails("csv", tmp_path / "t.csv", "t.csv:2: expected genres joined by ';', ", says)


def test_genres_that_seem_to_be_several_are_named(tmp_path):  # 36
    make(tmp_path, {"t.csv": 'path,genres\na,Rock;Pop\nb,"Rock, Pop"\nc,R&B/Soul\n'})
    (note,) = read_source("csv", tmp_path / "t.csv", Request(tmp_path)).notes
    assert note == "1 genres seem to be several, not joined by ';' (first: 'Rock, Pop')"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("C:\\Music\\a.mp3", "a path of Windows"),
        ("d:/Music/a.mp3", "a path of Windows"),
        ("\\\\server\\music\\a.mp3", "a path of Windows"),
        ("file:///music/a.mp3", "an address"),
        ("~/Music/a.mp3", "a path whose '~' only a shell reads"),
        ("~ann/a.mp3", "a path whose '~' only a shell reads"),
    ],
)
def test_paths_of_elsewhere_are_named(tmp_path, path, kind):  # 40
    make(tmp_path, {"t.csv": f"path,genres\na.mp3,Rock\n{path},Rock\n"})
    fails("csv", tmp_path / "t.csv", f"expected paths of this machine, found {kind}: ", "a.mp3', one of 1; write /")
    track = {"track_id": "t", "audio": path}
    make(tmp_path, {"m.jsonl": json.dumps({"album_id": "a", "genres": ["Rock"], "tracks": [track]})})
    fails("manifest", tmp_path / "m.jsonl", f"found {kind}: ")


def test_paths_that_exist_are_this_machines(tmp_path):  # 40
    make(tmp_path, {"C:\\a.mp3": b"x", "~/a.mp3": b"x"})
    make(tmp_path, {"t.csv": "path,genres\nC:\\a.mp3,Rock\n~/a.mp3,Rock\nb~/c.mp3,Rock\nb:c/d.mp3,Pop\n"})
    albums, _ = read("csv", tmp_path / "t.csv")
    assert [album.tracks[0].audio.exists() for album in albums] == [True, True, False, False]


def test_a_folder_may_be_called_as_elsewhere(tmp_path):  # 40
    make(tmp_path, {"~backup/there.wav": b"", "t.csv": "path,genres\n~backup/there.wav,Pop\n~backup/missing.wav,Pop"})
    albums, _ = read("csv", tmp_path / "t.csv")
    assert [track.audio.name for album in albums for track in album.tracks] == ["there.wav", "missing.wav"]


def test_a_name_that_no_file_can_have_is_missing(tmp_path):  # 17
    track = {"track_id": "t", "audio": "x\ud83d.wav"}
    make(tmp_path, {"m.jsonl": json.dumps({"album_id": "a", "genres": ["Pop"], "tracks": [track]})})
    (album,), _ = read("manifest", tmp_path / "m.jsonl")
    assert album.tracks[0].audio.name == "x\ud83d.wav"


def test_ids_that_lost_their_zeros_are_named(tmp_path):  # 40
    make(tmp_path, {"007.mp3": b"x", "70.mp3": b"x", "t.csv": "id,genres\n70,Rock\n7,Rock\n"})
    says = "t.csv:3: expected an audio file named '7', found "
    fails("csv", tmp_path / "t.csv", says, "007.mp3; a spreadsheet takes zeros", "format the column 'id' as text")


@pytest.mark.parametrize("suffix", ["mp4", "webm", "3gp", "ogx", "MP4"])
def test_songs_of_rare_suffixes_are_songs(tmp_path, suffix):  # 39
    make(tmp_path, {f"Rock/a.{suffix}": b"x", "Rock/b.pdf": b"x", "Rock/c.pdf": b"x", "Pop/d.xyz": b"x"})
    collection = read_source("folder", tmp_path, Request(tmp_path))
    assert [track.audio.name for album in collection.albums for track in album.tracks] == [f"a.{suffix}"]
    assert collection.notes == ["3 files are of no kind that is read, and passed over: 2 .pdf, 1 .xyz"]


def test_two_artists_albums_of_one_title_are_two(tmp_path):  # 6
    make(tmp_path, {"t.csv": "path,genres,artist,album\na,Pop,A,Hits\nb,Metal,B,Hits\nc,Pop,A,Hits\nd,Pop,A,Other\n"})
    albums, _ = read("csv", tmp_path / "t.csv")
    assert {album.album_id: (album.genres, len(album.tracks)) for album in albums} == {
        "A / Hits": (("Pop",), 2),
        "B / Hits": (("Metal",), 1),
        "Other": (("Pop",), 1),
    }


def test_an_album_of_rows_that_share_no_genre_is_named(tmp_path):  # 6
    make(tmp_path, {"t.csv": "path,genres,album\na,Pop,Hits\nb,Metal,Hits\nc,Pop,X\nd,Pop;Rock,X\n"})
    (note,) = read_source("csv", tmp_path / "t.csv", Request(tmp_path)).notes
    assert note.startswith("1 albums join rows without a common genre (first: 'Hits' in ")
    assert note.endswith("name them apart in a column 'artist'")


@pytest.mark.parametrize("separator", [",", "|", "/"])
def test_genres_joined_by_something_else_are_refused(tmp_path, separator):  # 36, 49
    cells = [separator.join(genres) for genres in (("Rock", "Blues"), ("Blues", "Jazz"), ("Rock",), ("Jazz", "Rock"))]
    lines = [f'{i}.wav,"{cell}"' for i, cell in enumerate(cells)]
    make(tmp_path, {"t.csv": "\n".join(["path,genres", *lines])})
    says = f"t.csv:2: expected genres joined by ';', found them joined by {separator!r} in 3 rows: '{cells[0]}'"
    fails("csv", tmp_path / "t.csv", says, "; replace what joins genres by ';'")


def test_names_with_commas_are_names(tmp_path):
    make(tmp_path, {"t.csv": 'path,genres\na,"Theatrical, Incidental & Program Music"\nb,"Hip-Hop, Rap"\nc,Pop\n'})
    _, labels = read("csv", tmp_path / "t.csv")
    assert [label.name for label in labels] == ["Hip-Hop, Rap", "Pop", "Theatrical, Incidental & Program Music"]


@pytest.mark.parametrize("genre", ["Rock\nPop", " Rock  Pop ", "Rock\tPop", "Rock\u2028Pop", "Rock\x1bPop"])
def test_a_genre_prints_as_one_line_whatever_the_source(tmp_path, genre):  # 12
    line = {"album_id": "a", "genres": [genre, "Rock Pop"], "tracks": []}
    make(tmp_path, {"m.jsonl": json.dumps(line)})
    albums, labels = read("manifest", tmp_path / "m.jsonl")
    assert albums[0].genres == ("Rock Pop",)
    assert labels == [Label("Rock Pop")]


def test_names_compare_as_they_look(tmp_path):  # 11
    nfc, nfd = "Música", "Mu\u0301sica"
    rows = [f"1.wav,{nfc},{nfc}", f"2.wav,{nfd},{nfd}", f"{nfc}.wav,Pop,"]
    root = make(tmp_path, {"t.csv": "\n".join(["path,genres,album", *rows]), f"{nfd}.wav": b""})
    albums, labels = read("csv", root / "t.csv")
    assert [label.name for label in labels] == [nfc, "Pop"]
    assert [(album.album_id, len(album.tracks)) for album in albums] == [(nfc, 2), (f"{nfc}.wav", 1)]
    assert albums[1].tracks[0].audio == root / f"{nfd}.wav"
    lines = [{"album_id": name, "genres": ["Pop"], "tracks": []} for name in (nfc, nfd)]
    make(tmp_path, {"m.jsonl": "\n".join(map(json.dumps, lines))})
    fails("manifest", tmp_path / "m.jsonl", f"2 albums are named '{nfc}', in several forms of Unicode", "rename all")


def test_a_manifests_files_are_found_in_any_form(tmp_path):  # 11
    nfc, nfd = "Café", "Cafe\u0301"
    root = make(tmp_path, {f"{nfd}.wav": b"", f"{nfd}.jpg": b""})
    tracks = [{"track_id": "t", "audio": f"{nfc}.wav"}, {"track_id": "u", "audio": "missing.wav"}]
    line = {"album_id": "a", "genres": ["Pop"], "tracks": tracks, "cover": f"{nfc}.jpg"}
    make(tmp_path, {"m.jsonl": json.dumps(line)})
    (album,), _ = read("manifest", tmp_path / "m.jsonl")
    assert [track.audio for track in album.tracks] == [root / f"{nfd}.wav", root / "missing.wav"]
    assert album.cover == root / f"{nfd}.jpg"


def test_files_of_one_stem_belong_together_in_any_form(tmp_path):  # 11
    for name in ("Caf\u00e9.wav", "Cafe\u0301.txt"):
        (tmp_path / name).touch()
    readers = {
        name: Reader(
            suffix,
            lambda path, suffix=suffix: path.suffix == suffix,
            lambda path: Read(path, []),
            True,
            lambda path: False,
        )
        for name, suffix in (("audio", ".wav"), ("text", ".txt"))
    }
    (stem,) = find_stems([tmp_path], readers)
    assert stem.files.keys() == {"audio", "text"}
    (stem,) = find_stems([tmp_path / "Caf\u00e9.wav"], readers)
    assert stem.files.keys() == {"audio", "text"}
