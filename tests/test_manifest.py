"""The manifest: what is written comes back, what is wrong is named with its line, and splits stay put."""

import codecs
import hashlib
import json
import os
from collections import Counter
from pathlib import Path

import pytest

from mumu_jax.data.manifest import (
    SPLITS,
    Album,
    Label,
    Track,
    assign_splits,
    labels_of,
    read_labels,
    read_manifest,
    write_labels,
    write_manifest,
)
from mumu_jax.errors import UserError

LINE = {"album_id": "a", "genres": ["Rock"], "tracks": [{"track_id": "a1", "audio": "a1.mp3"}]}


def empty_albums(n: int, prefix: str = "album") -> list[Album]:
    return [Album(f"{prefix}{i}", ("Rock",), ()) for i in range(n)]


def write_lines(path: Path, *values: object) -> Path:
    path.write_text("".join((v if isinstance(v, str) else json.dumps(v)) + "\n" for v in values))
    return path


def test_manifest_round_trip(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    folder = tmp_path / "out"
    undecodable = Path(os.fsdecode(b"caf\xe9.mp3"))
    albums = [
        Album(
            "Sigur Rós/( )",
            ("Post-Rock", "Íslenskt"),
            (Track("日本/1", folder / "audio" / "日本.ogg"), Track("2", elsewhere / undecodable)),
            "train",
            'two\nlines, a "quote", \u2028 and \x85',
            folder / "covers" / "ö.jpg",
        ),
        Album("silent", (), (), None, None, None),
    ]
    path = folder / "manifest.jsonl"
    write_manifest(path, albums)
    first = path.read_bytes()
    write_manifest(path, iter(albums))
    assert path.read_bytes() == first
    assert os.listdir(folder) == ["manifest.jsonl"]
    assert read_manifest(path) == albums

    stored = [json.loads(line) for line in first.split(b"\n")[:-1]]
    assert list(stored[0]) == ["album_id", "split", "genres", "tracks", "text", "cover", "entities", "n_reviews"]
    assert stored[0]["tracks"][0] == {"track_id": "日本/1", "audio": "audio/日本.ogg"}
    assert stored[0]["tracks"][1]["audio"] == str(elsewhere / undecodable)
    assert "日本" in first.decode("utf-8")

    moved = folder.rename(tmp_path / "moved") / "manifest.jsonl"
    assert read_manifest(moved)[0].cover == tmp_path / "moved" / "covers" / "ö.jpg"


def test_manifest_below_a_relative_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_manifest(Path("out/manifest.jsonl"), [Album("a", ("x",), (Track("t", Path("out/t.wav")),))])
    assert read_manifest(tmp_path / "out" / "manifest.jsonl")[0].tracks[0].audio == tmp_path / "out" / "t.wav"


def test_manifest_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    write_manifest(path, empty_albums(2))

    def breaks():
        yield from empty_albums(1)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_manifest(path, breaks())
    assert read_manifest(path) == empty_albums(2)
    assert os.listdir(tmp_path) == ["manifest.jsonl"]


def test_manifest_with_bom_crlf_blank_lines_and_little_else(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    other = {"album_id": "b", "genres": ["Pop", "Pop"], "tracks": [], "cover": ""}
    text = f"{json.dumps(LINE)}\r\n\r\n  \r\n{json.dumps(other)}"
    path.write_bytes(codecs.BOM_UTF8 + text.encode())
    assert read_manifest(path) == [
        Album("a", ("Rock",), (Track("a1", tmp_path / "a1.mp3"),)),
        Album("b", ("Pop",), ()),
    ]


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ("{'album_id': 'b'}", "expected one album as JSON in UTF-8"),
        ("[" * 100_000, "expected one album as JSON in UTF-8"),
        ([1, 2], "Expected `object`, got `array`; fix the line (keys: album_id, genres, tracks, split, text"),
        (
            {"album_id": "b", "tracks": []},
            "Object missing required field `genres`; fix the line of album 'b'",
        ),
        ({**LINE, "album_id": 7}, "Expected `str`, got `int` - at `$.album_id`; fix the line of album 7 (keys"),
        ({**LINE, "genres": "Rock"}, "Expected `array`, got `str` - at `$.genres`"),
        ({**LINE, "genres": ["Rock", " "]}, "Expected text that is not blank - at `$.genres[1]`"),
        ({**LINE, "album_id": " "}, "Object missing required field `album_id`; fix the line (keys"),
        ({**LINE, "split": ""}, "Expected train, val, test - at `$.split`"),
        ({**LINE, "tracks": ["b.mp3"]}, "Expected `object`, got `str` - at `$.tracks[0]`"),
        (
            {**LINE, "tracks": [{"track_id": "b"}]},
            "Object missing required field `audio` - at `$.tracks[0]`",
        ),
        (
            {**LINE, "tracks": [{"track_id": "b", "audio": "b.mp3"}, {"track_id": "c", "audio": 7}]},
            "Expected a path, got 7 - at `$.tracks[1].audio`; fix the line of album 'a' (keys: ",
        ),
        ({**LINE, "n_reviews": -1}, "Expected `int` >= 0 - at `$.n_reviews`"),
        ({**LINE, "n_reviews": True}, "Expected `int | null`, got `bool` - at `$.n_reviews`"),
        (
            {**LINE, "splits": "test"},
            "Object contains unknown field `splits` (did you mean 'split'?); fix the line of album 'a' (keys: ",
        ),
        (
            {**LINE, "tracks": [{"track_id": "b", "audio": "b.mp3", "timber": "b.h5"}]},
            "Object contains unknown field `timber` - at `$.tracks[0]` (did you mean 'timbre'?); fix the line",
        ),
        ({**LINE, "text": 3}, "Expected `str | null`, got `int` - at `$.text`"),
        ({**LINE, "cover": []}, "Expected a path, got [] - at `$.cover`"),
        ({**LINE, "split": "dev"}, "Expected train, val, test - at `$.split`; fix the line of album 'a'"),
        ({**LINE, "tracks": []}, "album_id 'a' is already in"),
        ({**LINE, "album_id": "b"}, "track_id 'a1' is already in"),
        (
            {"album_id": "b", "genres": [], "tracks": [{"track_id": "t", "audio": "t.mp3"}] * 2},
            "track_id 't' is already in",
        ),
    ],
)
def test_manifest_names_the_bad_line(tmp_path: Path, second: object, expected: str) -> None:
    path = write_lines(tmp_path / "manifest.jsonl", LINE, "", second)
    with pytest.raises(UserError) as caught:
        read_manifest(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:3: {expected}")
    assert "; " in message
    assert "\n" not in message
    assert len(message) < 400


def test_manifest_that_is_not_utf8_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    path.write_bytes(json.dumps(LINE).encode("utf-16"))
    with pytest.raises(UserError, match=r"manifest\.jsonl:1: expected one album as JSON in UTF-8"):
        read_manifest(path)
    with pytest.raises(UserError, match=r"cannot read .*nowhere: No such file"):
        read_manifest(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"cannot read .*: Is a directory"):
        read_manifest(tmp_path)


def test_labels_round_trip_in_column_order(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    labels = [Label("Rock"), Label("Bossa Nova", "Latin"), Label("Íslenskt")]
    write_labels(path, labels)
    assert read_labels(path) == labels
    assert json.loads(path.read_text("utf-8"))[1] == {"name": "Bossa Nova", "parent": "Latin"}
    write_labels(path, [])
    assert read_labels(path) == []


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[", "expected JSON"),
        ('{"name": "Rock"}', "Expected `array`, got `object`"),
        ('[{"name": "Rock"}, {"parent": null}]', r"missing required field `name` - at `\$\[1\]`"),
        ('[{"name": "Rock"}, {"name": " "}]', r"Expected `str` matching .* at `\$\[1\]\.name`"),
        ('[{"name": "Rock", "parent": 3}]', r"got `int` - at `\$\[0\]\.parent`"),
        ('[{"name": "Rock"}, {"name": "Rock"}]', "the label 'Rock' occurs 2 times"),
    ],
)
def test_labels_that_are_wrong(tmp_path: Path, content: str, expected: str) -> None:
    path = tmp_path / "labels.json"
    path.write_text(content)
    with pytest.raises(UserError, match=expected):
        read_labels(path)


def test_labels_of_albums_are_in_code_point_order() -> None:
    albums = [Album("1", ("rock", "Rock"), ()), Album("2", ("Ópera", "Jazz", "Rock"), ())]
    assert [label.name for label in labels_of(albums)] == ["Jazz", "Rock", "rock", "Ópera"]
    assert labels_of(albums, {"rock": "Rock"})[2] == Label("rock", "Rock")


def test_splits_are_80_10_10_and_stay_when_albums_are_added() -> None:
    few, more = empty_albums(500), empty_albums(5000)
    before = {album.album_id: album.split for album in assign_splits(few)}
    after = {album.album_id: album.split for album in assign_splits(more[::-1])}
    assert before.items() <= after.items()
    counts = Counter(after.values())
    assert [counts[split] / 5000 for split in SPLITS] == pytest.approx([0.8, 0.1, 0.1], abs=0.02)
    # the very assignment, so that no change of code moves anyone's albums
    assert [i for i in range(30) if before[f"album{i}"] == "val"] == [6, 24]
    assert [i for i in range(30) if before[f"album{i}"] == "test"] == [5, 7, 15]


def test_given_splits_are_kept() -> None:
    albums = [Album(f"album{i}", (), (), split="test") for i in range(50)]
    assert assign_splits(albums) == albums
    mixed = assign_splits([*albums, *empty_albums(50, "free")])
    assert mixed[:50] == albums
    assert {album.split for album in mixed[50:]} == set(SPLITS)


@pytest.mark.parametrize("n", range(3, 12))
def test_tiny_sets_fill_every_split(n: int) -> None:
    for prefix in "abcdefghij":
        albums = empty_albums(n, prefix)
        assigned = assign_splits(albums)
        assert {album.split for album in assigned} == set(SPLITS)
        assert [album.album_id for album in assigned] == [album.album_id for album in albums]
        assert sorted(assign_splits(albums[::-1]), key=lambda a: a.album_id) == sorted(
            assigned, key=lambda a: a.album_id
        )


def test_the_album_nearest_to_an_empty_split_moves() -> None:
    def position(album: Album) -> float:
        return int(hashlib.sha256(album.album_id.encode()).hexdigest(), 16) / 2**256

    far, near, nearest = sorted((a for a in empty_albums(30) if position(a) < 0.8), key=position)[:3]
    splits = {album.album_id: album.split for album in assign_splits([nearest, far, near])}
    assert splits == {far.album_id: "train", near.album_id: "test", nearest.album_id: "val"}


def test_too_few_albums_to_fill_every_split() -> None:
    assert assign_splits([]) == []
    assert all(album.split in SPLITS for album in assign_splits(empty_albums(2)))
    fixed = [Album(f"f{i}", (), (), split="train") for i in range(2)]
    assert Counter(album.split for album in assign_splits([*fixed, *empty_albums(1)]))["train"] >= 2
