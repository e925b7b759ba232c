"""The same recording in several albums: refused, listed, or settled as the user says."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from conftest import complain, succeed

from mumu_jax.config import AudioSettings
from mumu_jax.data.manifest import SPLITS
from mumu_jax.data.modalities import audio
from mumu_jax.data.modalities.audio import decode, duplicates
from mumu_jax.data.modalities.audio.duplicates import alike, likeness
from mumu_jax.data.modalities.audio.patches import n_frames_of_excerpt
from mumu_jax.data.preparation import duplicates as found_duplicates
from mumu_jax.data.preparation.job import Job, prepare
from mumu_jax.data.sources import read_source
from mumu_jax.data.sources.base import Request
from mumu_jax.data.sources.synthetic.sound import SR_HZ, STYLES, render_track
from mumu_jax.data.store import records, shards
from mumu_jax.errors import UserError

SETTINGS = AudioSettings()


@pytest.fixture
def in_this_process(monkeypatch):
    monkeypatch.setattr(shards, "map_in_order", lambda call, items, workers, on_death: (call(item) for item in items))


def noise(path: Path, seed: int, seconds: float = 1.5) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * SR_HZ)), SR_HZ)
    return path


def manifest_of(path: Path, *rows: tuple[str, str | None, str]) -> Path:
    """Write rows of (album, split, file); the rows of an album are its tracks."""
    albums = {}
    for number, (album_id, split, file) in enumerate(rows):
        album = {"album_id": album_id, "split": split, "genres": ["Jazz"], "tracks": []}
        albums.setdefault(album_id, album)["tracks"].append({"track_id": f"T{number}", "audio": file})
    path.write_text("".join(json.dumps(album) + "\n" for album in albums.values()))
    return path


def lines_of(data_dir: Path) -> list[dict[str, str]]:
    path = data_dir / "duplicates.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


# --- one file in two splits ---------------------------------------------------------------------------------


@pytest.mark.parametrize("other", ["b.wav", "sub/../b.wav", "sub/link.wav", "sub/hard.wav"])
def test_one_file_in_two_splits_is_refused(tmp_path, other):  # 7: by whatever paths
    noise(tmp_path / "b.wav", 0)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "link.wav").symlink_to("../b.wav")
    os.link(tmp_path / "b.wav", tmp_path / "sub" / "hard.wav")
    manifest = manifest_of(tmp_path / "m.jsonl", ("A", "train", "b.wav"), ("B", "test", other), ("C", "val", "no.wav"))
    says = (
        f"^expected each recording in one split, found {tmp_path}/b.wav as track 'T0' of album 'A' in train and, as "
        f"{tmp_path}/{other}, track 'T1' of album 'B' in test; give both albums one split, take one out, or add "
        r"--duplicates=drop\|merge\|keep$"
    )
    with pytest.raises(UserError, match=says):
        prepare(Job("manifest", manifest, tmp_path / "out", 1))
    assert not (tmp_path / "out" / "audio").exists()


def test_one_file_in_two_rows_of_a_spreadsheet_is_refused(tmp_path):  # 7: from the command line
    noise(tmp_path / "b.wav", 0)
    (tmp_path / "sub").mkdir()
    table = tmp_path / "songs.csv"
    table.write_text("path,genres,split\nb.wav,Rock,train\nsub/../b.wav,Rock,test\n")
    command = ("mumu_jax.prepare", "--source=csv", f"--input={table}", f"--data_dir={tmp_path / 'out'}")
    complain(*command, says=["album 'b.wav' in train", "album 'sub/../b.wav' in test"])
    done = succeed(*command, "--duplicates=drop", "--modalities=audio").stdout
    assert "1 songs are, byte for byte, an earlier one: left out" in done


def test_one_file_in_one_split_is_named_and_in_one_album_is_not(tmp_path):  # 7: neither is a leak
    noise(tmp_path / "b.wav", 0)
    rows = (("A", "train", "b.wav"), ("A", "train", "./b.wav"), ("B", "test", "c.wav"), ("B", "test", "c.wav"))
    noise(tmp_path / "c.wav", 1)
    manifest = manifest_of(tmp_path / "m.jsonl", *rows)
    assert read_source("manifest", manifest, Request(tmp_path)).notes == []
    manifest_of(manifest, *rows, ("C", "train", "b.wav"))
    note = f"1 recordings are in two albums of one split (first: {tmp_path}/b.wav in 'A' and 'C')"
    assert read_source("manifest", manifest, Request(tmp_path)).notes == [note]


# --- copies and near-copies in two splits -------------------------------------------------------------------


def test_copies_are_listed_and_counted(tmp_path, in_this_process):  # 7: as covers have it
    for number in range(6):
        noise(tmp_path / f"{number}.wav", number)
    (tmp_path / "copy.wav").write_bytes((tmp_path / "0.wav").read_bytes())
    (tmp_path / "again.wav").write_bytes((tmp_path / "0.wav").read_bytes())
    samples, _ = soundfile.read(tmp_path / "1.wav")
    soundfile.write(tmp_path / "soft.flac", 0.3 * samples, SR_HZ)
    for name in ("silence", "more silence"):
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(SR_HZ), SR_HZ)
    soundfile.write(tmp_path / "long silence.wav", np.zeros(2 * SR_HZ), SR_HZ)
    rows = [(f"A{i}", ("train", "train", "val", "val", "test", "test")[i], f"{i}.wav") for i in range(6)]
    rows += [("A0", "train", "again.wav"), ("B", "test", "copy.wav"), ("C", "val", "soft.flac")]
    rows += [("D", "train", "silence.wav"), ("E", "test", "more silence.wav"), ("F", "val", "long silence.wav")]
    manifest, out = manifest_of(tmp_path / "m.jsonl", *rows), tmp_path / "out"
    job = Job("manifest", manifest, out, 1, modalities=("audio",), shard_records=2)
    said = str(prepare(job))
    note = (
        "3 songs of val and test sound like one of another split (alike: 1 of val in train; same bytes: 2 of test in "
        f"train); each is listed in {out / 'duplicates.jsonl'}"
    )
    assert note in said
    keys = ("album_id", "track_id", "split", "like", "like_track_id", "like_split", "kind")
    wanted = [
        ("C", "T8", "val", "A1", "T1", "train", "alike"),
        ("B", "T7", "test", "A0", "T0", "train", "same bytes"),
        ("E", "T10", "test", "D", "T9", "train", "same bytes"),
    ]
    assert lines_of(out) == [{"modality": "audio"} | dict(zip(keys, row, strict=True)) for row in wanted]
    assert note in str(prepare(job))  # from the sidecars
    assert note in " ".join(succeed("mumu_jax.doctor", f"--statistics={out}").stdout.split("\n"))
    (out / "duplicates.jsonl").write_text('{"modality": ')
    complain("mumu_jax.doctor", f"--statistics={out}", says=["duplicates.jsonl is damaged", "run prepare again"])
    (out / "duplicates.jsonl").unlink()
    manifest_of(manifest, *rows[:6])
    assert "another split" not in str(prepare(job))
    assert not (out / "duplicates.jsonl").exists()


def test_data_from_before_there_were_likenesses(tmp_path, in_this_process, monkeypatch):  # 7: nothing is decoded again
    for number in range(6):
        noise(tmp_path / f"{number}.wav", number)
    (tmp_path / "copy.wav").write_bytes((tmp_path / "0.wav").read_bytes())
    rows = [(f"A{i}", SPLITS[i % 3], f"{i}.wav") for i in range(6)]
    rows += [("B", "test", "copy.wav")]
    manifest = manifest_of(tmp_path / "m.jsonl", *rows)
    job = Job("manifest", manifest, tmp_path / "out", 1, modalities=("audio",), shard_records=2)
    folder = tmp_path / "out" / "audio"

    def files() -> dict[str, bytes]:
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    monkeypatch.setattr(audio.Audio, "has_likeness", False)
    prepare(job)
    assert not lines_of(tmp_path / "out")
    before = files()
    monkeypatch.setattr(audio.Audio, "has_likeness", True)
    monkeypatch.setattr(audio, "track_cqt", lambda *_: pytest.fail("a song was decoded again"))
    assert prepare(job).n_new == 0
    assert [line["kind"] for line in lines_of(tmp_path / "out")] == ["same bytes"]
    changed = {name for name, content in files().items() if before.get(name) != content}
    assert changed == {"sha256.json"} | {name for name in before if name.startswith("sidecars/")}
    records.open_prepared(tmp_path / "out", SETTINGS, verify=True)
    after = files()
    prepare(job)
    assert files() == after

    for name in before:  # old records that are copied into new shards
        (folder / name).write_bytes(before[name])
    assert prepare(replace(job, shard_records=3)).n_new == 0
    assert [line["kind"] for line in lines_of(tmp_path / "out")] == ["same bytes"]


# --- near-identical sound -----------------------------------------------------------------------------------


def of(path: Path) -> bytes:
    return likeness(decode.track_cqt(path, SETTINGS).frames, n_frames_of_excerpt(SETTINGS))


@pytest.fixture(scope="module")
def songs() -> list[np.ndarray]:
    """Two of each of eight genres, and the same voice three times more."""
    drawn = [([*STYLES][i], i) for i in range(0, 24, 3) for _ in range(2)] + [("Techno", 0)] * 3
    return [render_track((genre,), np.random.default_rng((1, n))) for n, (genre, _) in enumerate(drawn)]


def as_mp3(path: Path, samples: np.ndarray) -> None:
    """Write stereo at 44.1 kHz, as people have it: of mono at half the rate, 128 kbit/s would leave more."""
    stereo = soxr.resample(np.stack([samples, 0.8 * samples], 1), SR_HZ, 44_100)
    soundfile.write(path, stereo, 44_100, format="MP3", bitrate_mode="CONSTANT", compression_level=0.65)
    assert 8 * path.stat().st_size / (len(samples) / SR_HZ) == pytest.approx(128_000, rel=0.02)


CHANGES = {
    "mp3": as_mp3,
    "ogg": lambda path, samples: soundfile.write(path, samples, SR_HZ, format="OGG"),
    "gain": lambda path, samples: soundfile.write(path, 0.25 * samples, SR_HZ, format="FLAC"),
    "3 ms cut off": lambda path, samples: soundfile.write(path, samples[66:], SR_HZ, format="FLAC"),
    "8 ms of silence": lambda path, samples: soundfile.write(path, np.pad(samples, (176, 0)), SR_HZ, format="FLAC"),
    "stereo": lambda path, samples: soundfile.write(path, np.stack([samples, samples], 1), SR_HZ, format="FLAC"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_same_recording_is_found_and_no_other(songs, tmp_path, change):  # 7: however it was saved
    changed, originals = [], []
    for samples in songs:
        change(tmp_path / "changed", samples)
        soundfile.write(tmp_path / "song.flac", samples, SR_HZ)
        changed.append(of(tmp_path / "changed"))
        originals.append(of(tmp_path / "song.flac"))
    found = list(alike(changed, originals))
    assert all(i == j for i, j in found)
    assert len(found) >= 0.9 * len(songs)  # an offset leaves less of Death Metal, which is noise


def test_what_has_no_course_is_like_nothing(tmp_path):  # 7: silence, hiss and tones are no recordings to compare
    rng, t = np.random.default_rng(0), np.arange(20 * SR_HZ) / SR_HZ
    plain = [np.zeros_like(t), np.zeros_like(t), *(1e-4 * rng.standard_normal((3, len(t))))]
    plain += [0.3 * np.sin(2 * np.pi * f * t) for f in (220, 221, 440)]
    plain += [0.1 * rng.standard_normal(len(t)) for _ in range(3)]
    found = []
    for samples in plain:
        soundfile.write(tmp_path / "song.flac", samples, SR_HZ)
        found.append(of(tmp_path / "song.flac"))
    assert [(i, j) for i, j in alike(found, found) if i != j] == []


def test_pairs_are_those_of_one_comparison_after_the_other(monkeypatch):
    pool = np.random.default_rng(0).integers(0, 256, (20, duplicates.N_BYTES), np.uint8)
    rng = np.random.default_rng(1)
    a, b = ([pool[i].tobytes() for i in rng.integers(0, 20, n)] for n in (70, 50))
    wanted = [(i, j) for i in range(70) for j in range(50) if a[i] == b[j]]
    assert list(alike(a, b)) == wanted
    monkeypatch.setattr(duplicates, "_BLOCK", 130)
    assert list(alike(a, b)) == wanted
    assert list(alike([], b)) == list(alike(a, [])) == []


def made_up(rng: np.random.Generator, n: int) -> np.ndarray:
    """Courses of `n` recordings, and of the same ones in another encoding: off by up to half the difference allowed."""
    one = rng.uniform(0, 255, (n, duplicates.N_BYTES))
    noise = rng.normal(size=one.shape) * rng.uniform(0, 0.25, (n, 1)) * one.std(1, keepdims=True)
    return np.clip([one, one + noise], 0, 255).astype(np.uint8)


def as_likenesses(courses: np.ndarray) -> list[bytes]:
    return [course.tobytes() for course in courses]


def test_many_are_compared_in_buckets(monkeypatch):
    """The same pairs as by comparing all, and as many comparisons for each recording, however many there are."""
    n_compared = []
    compare = duplicates._compare

    def counting(a, b, rows_a, rows_b):
        n_compared.append(len(rows_a) * len(rows_b))
        return compare(a, b, rows_a, rows_b)

    monkeypatch.setattr(duplicates, "_compare", counting)
    rng, for_each = np.random.default_rng(0), {}
    for n in (1_000, 2_000, 4_000):
        one, other = (as_likenesses(courses) for courses in made_up(rng, n))
        wanted = list(alike(one, other))
        assert n_compared.pop() == n * n
        with monkeypatch.context() as patch:
            patch.setattr(duplicates, "ALL", 500)
            patch.setattr(duplicates, "BUCKET", 8)
            assert list(alike(one, other)) == wanted
        for_each[n] = sum(n_compared) / n
        n_compared.clear()
    assert len(wanted) > 0.9 * 4_000
    assert for_each[4_000] < 1.3 * for_each[1_000]
    assert for_each[4_000] < 4_000 / 8


def test_what_is_too_plain_is_in_no_bucket(monkeypatch):
    monkeypatch.setattr(duplicates, "ALL", 4)
    monkeypatch.setattr(duplicates, "BUCKET", 2)
    (song,), _ = made_up(np.random.default_rng(0), 1)
    silence = bytes(duplicates.N_BYTES)
    assert list(alike([silence] * 9, [silence] * 9)) == []
    assert list(alike([silence, song.tobytes()], [*[silence] * 9, song.tobytes()])) == [(1, 9)]


def test_every_silent_song_is_read_once(tmp_path, in_this_process, monkeypatch):
    """Songs without a course are compared by their bytes, not pair by pair."""
    rows = []
    for number in range(30):
        soundfile.write(tmp_path / f"{number}.wav", np.zeros(SR_HZ // 2 + number // 2), SR_HZ)
        rows.append((f"A{number}", SPLITS[number % 3], f"{number}.wav"))
    sha256_of, n_read = found_duplicates.sha256_of, []
    monkeypatch.setattr(found_duplicates, "sha256_of", lambda path: n_read.append(path) or sha256_of(path))
    manifest = manifest_of(tmp_path / "m.jsonl", *rows)
    prepare(Job("manifest", manifest, tmp_path / "out", 1, modalities=("audio",)))
    assert len(n_read) == 30
    lines = lines_of(tmp_path / "out")
    assert {line["kind"] for line in lines} == {"same bytes"}
    pairs = {frozenset((2 * i, 2 * i + 1)) for i in range(15)}
    found = {frozenset((int(line["album_id"][1:]), int(line["like"][1:]))) for line in lines}
    assert found == pairs
    assert all(line["split"] in ("val", "test") for line in lines)


@pytest.mark.parametrize("shape", [(1, 96), (7, 96), (646, 1), (646, 12), (44, 7)])
def test_any_spectrogram_has_a_likeness(shape):
    frames = np.random.default_rng(0).uniform(-80, 0, shape).astype(np.float16)
    assert len(likeness(frames, 646)) == duplicates.N_BYTES
    assert likeness(np.concatenate([frames, frames]), len(frames)) == likeness(frames, 646)


# --- settling -----------------------------------------------------------------------------------------------


@pytest.fixture
def two_genres(tmp_path) -> Path:
    """Songs of two genres, of which Rock has one of Jazz and a link to another."""
    root = tmp_path / "songs"
    for number in range(5):
        noise(root / "Jazz" / f"{number}.wav", number)
    noise(root / "Rock" / "own.wav", 9)
    (root / "Rock" / "copy.wav").write_bytes((root / "Jazz" / "0.wav").read_bytes())
    (root / "Rock" / "link.wav").symlink_to("../Jazz/1.wav")
    return root


def test_songs_that_several_albums_have_are_settled(two_genres):  # 50: one flag, of songs and covers
    def read(way: str):
        return read_source("folder", two_genres, Request(Path("nowhere"), duplicates=way))

    own = {f"Jazz/{number}" for number in range(5)} | {"Rock/own"}
    said = "duplicates: 2 songs are, byte for byte, an earlier one: "
    pairs = "; 2 of them have another genre than that one: Rock → Jazz 2 "
    dropped = read("drop")
    assert {album.album_id for album in dropped.albums} == own
    assert [(Path(str(line["file"])).name, line["reason"]) for line in dropped.rejected] == [
        ("copy.wav", "duplicate"),
        ("link.wav", "duplicate"),
    ]
    assert dropped.notes == [f"{said}left out{pairs}(otherwise: --duplicates=merge|keep)"]
    assert {label.name for label in dropped.labels} == {"Jazz", "Rock"}

    merged = {album.album_id: album for album in read("merge").albums}
    assert merged.keys() == own
    assert {name for name in own if merged[name].genres == ("Jazz", "Rock")} == {"Jazz/0", "Jazz/1"}
    assert all(len(album.tracks) == 1 for album in merged.values())

    kept = {album.album_id: album for album in read("keep").albums}
    assert kept.keys() == own | {"Rock/copy", "Rock/link"}
    assert kept["Rock/copy"].split == kept["Jazz/0"].split
    assert kept["Rock/link"].split == kept["Jazz/1"].split


def test_a_genre_of_copies_alone_is_no_label_and_moved_albums_are_counted(tmp_path):  # 50
    noise(tmp_path / "0.wav", 0)
    (tmp_path / "copy.wav").write_bytes((tmp_path / "0.wav").read_bytes())
    lines = [
        {"album_id": name, "split": split, "genres": [genre], "tracks": [{"track_id": name, "audio": f"{file}.wav"}]}
        for name, split, genre, file in (("a", "train", "Rock", "0"), ("b", "test", "Zydeco", "copy"))
    ]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def read(way: str):
        return read_source("manifest", tmp_path / "m.jsonl", Request(Path("nowhere"), duplicates=way))

    assert [label.name for label in read("drop").labels] == ["Rock"]
    kept = read("keep")
    assert [label.name for label in kept.labels] == ["Rock", "Zydeco"]
    assert {album.split for album in kept.albums} == {"train"}
    assert "--duplicates=keep: 1 albums are in another split than the source says" in kept.notes


def test_only_what_an_album_shares_is_dropped(tmp_path):  # 50: an album is more than one of its songs
    for number in range(3):
        noise(tmp_path / f"{number}.wav", number)
    (tmp_path / "copy.wav").write_bytes((tmp_path / "0.wav").read_bytes())
    rows = [("A", "train", "0.wav"), ("B", "test", "1.wav"), ("B", "test", "copy.wav"), ("C", "val", "2.wav")]
    manifest = manifest_of(tmp_path / "m.jsonl", *rows)

    def albums(way: str):
        found = read_source("manifest", manifest, Request(tmp_path, duplicates=way)).albums
        return [(album.album_id, album.split, [track.track_id for track in album.tracks]) for album in found]

    assert albums("drop") == [("A", "train", ["T0"]), ("B", "test", ["T1"]), ("C", "val", ["T3"])]
    assert albums("merge") == [("A", "train", ["T0", "T1"]), ("C", "val", ["T3"])]
    assert albums("keep") == [("A", "train", ["T0"]), ("B", "train", ["T1", "T2"]), ("C", "val", ["T3"])]
