"""Prepared data: what is written is what is read, by TFDS too; damage and other settings are refused."""

import contextlib
import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import soundfile
import tensorflow_datasets as tfds
from array_record.python.array_record_data_source import ArrayRecordDataSource
from google.protobuf.message import DecodeError

from mumu_jax.config import AudioSettings
from mumu_jax.data.manifest import Album, Label, Track
from mumu_jax.data.modalities import MODALITIES
from mumu_jax.data.modalities.audio import decode, patches
from mumu_jax.data.store import records as store
from mumu_jax.data.store import shards
from mumu_jax.errors import UserError
from mumu_jax.system.files import read_npz, write_npz
from mumu_jax.system.seals import SEAL
from mumu_jax.system.workers import map_in_order

SETTINGS, AUDIO = AudioSettings(), MODALITIES["audio"]
LABELS = [Label("Jazz"), Label("Pop"), Label("Theatrical, Incidental & Program Music", "Pop")]


def write_sound(path: Path, seed: int, seconds: float = 2.0) -> Path:
    """A tone of its own pitch in a little noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * 22_050)) / 22_050
    y = 0.4 * np.sin(2 * np.pi * rng.uniform(60, 4000) * t) + 0.01 * rng.standard_normal(len(t))
    soundfile.write(path, y, 22_050)
    return path


def make_albums(folder: Path) -> list[Album]:
    """Five train albums of two tracks (one track silent, one missing, one damaged), one of val, none of test."""
    albums = []
    for a in range(6):
        tracks = [Track(f"T{a}{t}", write_sound(folder / f"{a}{t}.wav", 10 * a + t)) for t in range(2)]
        genres = ((), ("Pop",), ("Pop", "Jazz"))[a % 3]
        albums.append(Album(f"A{a}", genres, tuple(tracks), split="val" if a == 5 else "train"))
    soundfile.write(folder / "01.wav", np.zeros(30_000), 22_050)
    (folder / "11.wav").unlink()
    (folder / "21.wav").write_text("<html>")
    return albums


def prepare(folder: Path, albums: Sequence[Album], workers: int = 1, shard_tracks: int = 4) -> Path:
    audio = shards.Store(folder / "audio", AUDIO, SETTINGS)
    audio.write(audio.plan(albums, LABELS, shard_tracks), workers).finish(albums, LABELS)
    return folder


@pytest.fixture(scope="module", autouse=True)
def in_this_process():
    """Starting processes is what takes the time here; test_workers and test_prepare do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "map_in_order", lambda call, items, workers, on_death: (call(item) for item in items))
        yield


@pytest.fixture(scope="module")
def albums(tmp_path_factory):
    return make_albums(tmp_path_factory.mktemp("sounds"))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory, albums):
    return prepare(tmp_path_factory.mktemp("data"), albums)


@pytest.fixture
def copy(tmp_path, data_dir):
    return Path(shutil.copytree(data_dir, tmp_path / "copy"))


def shard_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "audio").glob("mumu-*"))}


def the_error(data_dir: Path, settings: AudioSettings = SETTINGS) -> str:
    with pytest.raises(UserError) as caught:
        store.open_prepared(data_dir, settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- content ------------------------------------------------------------------------------------------------


def test_records_are_the_tracks_in_the_manifests_order(data_dir, albums):
    prepared = store.open_prepared(data_dir, SETTINGS)
    assert prepared.labels == LABELS
    records = prepared.split("train")
    expected = [
        (album, track)
        for album in albums
        if album.split == "train"
        for track in album.tracks
        if track.track_id not in ("T11", "T21")
    ]
    assert len(records) == len(expected) == 8
    for record, (album, track) in zip(records, expected, strict=True):
        assert (record["album_id"], record["track_id"]) == (album.album_id, track.track_id)
        assert record["labels"].dtype == np.int64
        assert [LABELS[i].name for i in record["labels"]] == sorted(album.genres)
        np.testing.assert_array_equal(record["cqt"], decode.track_cqt(track.audio, SETTINGS)[0])
        assert record["cqt"].dtype == np.float16
    assert [record["track_id"] for record in prepared.split("val")] == ["T50", "T51"]


def test_an_empty_split_is_empty(data_dir):
    records = store.open_prepared(data_dir, SETTINGS).split("test")
    assert len(records) == 0
    assert list(records) == []


def test_records_are_a_sequence(data_dir):
    records = store.open_prepared(data_dir, SETTINGS).split("train")
    assert pickle.loads(pickle.dumps(records))[7]["track_id"] == records[7]["track_id"]
    for index in (-1, 8, 100):
        with pytest.raises(IndexError):
            records[index]


def silent_lines(folder: Path, albums: Sequence[Album]) -> list[dict[str, str]]:
    """The lines of `silent.jsonl` when everything is prepared already."""
    audio = shards.Store(folder / "audio", AUDIO, SETTINGS)
    return audio.write(audio.plan(albums, LABELS, 4), 1).silent


def test_description_counts(data_dir, albums):
    found = json.loads((data_dir / "audio" / "prepared.json").read_text())
    train = found["splits"]["train"]
    assert {key: train[key] for key in ("albums", "records", "silent", "missing", "rejected")} == {
        "albums": 5,
        "records": 8,
        "silent": 1,
        "missing": 1,
        "rejected": 1,
    }
    (line,) = silent_lines(data_dir, albums)
    assert (line["track_id"], line["reason"]) == ("T01", "silent")  # 45
    assert Path(line["file"]).name == "01.wav"
    assert train["seconds"] == pytest.approx(7 * 2 + 30_000 / 22_050, abs=1e-3)
    assert [shard["records"] for shard in train["shards"]] == [3, 3, 2]
    assert set(found["versions"]) >= {"libsndfile", "soxr", "numpy", "mumu_jax"}


def test_statistics_are_those_of_the_fixed_training_patches(data_dir):
    prepared = store.open_prepared(data_dir, SETTINGS)
    cut = []
    for record in prepared.split("train"):
        start = patches.fixed_start(record["track_id"], len(record["cqt"]), SETTINGS)
        cut.append(patches.cut(record["cqt"], start, SETTINGS).astype(np.float64))
    np.testing.assert_allclose(prepared.mean, np.mean(cut, axis=0), rtol=1e-6)
    np.testing.assert_allclose(prepared.std, np.maximum(np.std(cut, axis=0), 1), rtol=1e-5)
    assert prepared.mean.dtype == prepared.std.dtype == np.float32
    assert prepared.mean.shape == prepared.std.shape == (322, 96)
    assert (prepared.std == 1).any()  # the padding of these short tracks


def test_tfds_reads_it_without_tensorflow(data_dir):
    code = (
        "import sys, tensorflow_datasets as tfds\n"
        f"builder = tfds.builder_from_directory({str(data_dir / 'audio')!r})\n"
        "for split in ('train', 'val'):\n"
        "    print(split, *(record['track_id'].decode() for record in builder.as_data_source(split)))\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["train T00 T01 T10 T20 T30 T31 T40 T41", "val T50 T51"]


def test_tfds_gives_the_same_records(data_dir):
    builder: Any = tfds.builder_from_directory(data_dir / "audio")
    assert builder.info.features["labels"].feature.names == [label.name for label in LABELS]
    records = store.open_prepared(data_dir, SETTINGS).split("train")
    for theirs, ours in zip(builder.as_data_source(split="train"), records, strict=True):
        assert theirs["album_id"].decode() == ours["album_id"]
        np.testing.assert_array_equal(theirs["labels"], ours["labels"])
        np.testing.assert_array_equal(theirs["cqt"], ours["cqt"])


def test_a_shard_whose_tracks_are_all_missing(tmp_path, albums):
    gone = [Album("B", ("Pop",), tuple(Track(f"G{i}", tmp_path / f"{i}") for i in range(2)), split="train")]
    data_dir = prepare(tmp_path, [albums[0], *gone, albums[3]], shard_tracks=2)
    assert [r["track_id"] for r in store.open_prepared(data_dir, SETTINGS).split("train")] == [
        *("T00", "T01", "T30", "T31")
    ]
    builder: Any = tfds.builder_from_directory(data_dir / "audio")
    theirs = builder.as_data_source("train")
    assert [r["track_id"] for r in theirs] == [b"T00", b"T01", b"T30", b"T31"]


def test_ids_that_are_not_utf8(tmp_path):
    track = Track("a/\udcff.wav", write_sound(tmp_path / "x.wav", 0))
    data_dir = prepare(tmp_path, [Album("\udcfe", ("Pop",), (track,), split="train")])
    (record,) = store.open_prepared(data_dir, SETTINGS).split("train")
    assert (record["album_id"], record["track_id"]) == ("\udcfe", "a/\udcff.wav")


CQT = np.linspace(-80, 0, 12 * 96).astype(np.float16).reshape(12, 96)


@pytest.mark.parametrize("labels", [[], [0], [3, 127, 128, 249, 2**40]])
def test_a_record_comes_back(labels):
    record = store.encode("álbum", "t1", labels, {"cqt": CQT}, AUDIO, SETTINGS)
    assert record == store.encode("álbum", "t1", labels, {"cqt": CQT}, AUDIO, SETTINGS)
    decoded = store.decode(record, AUDIO, SETTINGS)
    assert list(decoded["labels"]) == labels
    assert (decoded["album_id"], decoded["track_id"]) == ("álbum", "t1")
    np.testing.assert_array_equal(decoded["cqt"], CQT)


def test_a_damaged_record_is_an_error():
    record = store.encode("a", "t", [1, 2], {"cqt": CQT}, AUDIO, SETTINGS)
    for cut in (1, 10, 100, len(record) - 1):
        with pytest.raises((DecodeError, ValueError, KeyError, IndexError)):
            store.decode(record[:cut], AUDIO, SETTINGS)
    for name in ("album_id", "track_id", "labels", "cqt"):
        example = store.Example.FromString(record)
        del example.features.feature[name]
        with pytest.raises(KeyError, match=name):
            store.decode(example.SerializeToString(), AUDIO, SETTINGS)


# --- the same whatever happened -----------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_worker_processes_write_the_same_bytes(tmp_path, data_dir, albums, monkeypatch, workers):
    monkeypatch.setattr(shards, "map_in_order", map_in_order)
    other = prepare(tmp_path, albums, workers)
    assert shard_bytes(other) == shard_bytes(data_dir)
    assert store.open_prepared(other, SETTINGS).checksum == store.open_prepared(data_dir, SETTINGS).checksum


@pytest.mark.parametrize(
    "harm",
    [
        lambda audio_dir, name: (audio_dir / name).unlink(),
        lambda audio_dir, name: (audio_dir / name).write_bytes((audio_dir / name).read_bytes()[:-1]),
        lambda audio_dir, name: flip(audio_dir / name),
        lambda audio_dir, name: (audio_dir / "sidecars" / f"{name}.json").unlink(),
        lambda audio_dir, name: (audio_dir / "sidecars" / f"{name}.json").write_text('{"fingerprint": '),
        lambda audio_dir, name: (audio_dir / "sidecars" / f"{name}.json").write_text("[1]"),
    ],
)
def test_a_damaged_shard_is_made_again_and_no_other(copy, data_dir, albums, harm):
    name = "mumu-train.array_record-00001-of-00003"
    harm(copy / "audio", name)
    audio = shards.Store(copy / "audio", AUDIO, SETTINGS)
    assert audio.write(audio.plan(albums, LABELS, 4), workers=1).n_new == 4
    assert shard_bytes(copy) == shard_bytes(data_dir)


def flip(path: Path, at: bytes = b"") -> None:
    """One bit, behind the text `at`."""
    data = bytearray(path.read_bytes())
    data[data.index(at) + len(at) + 9] ^= 1
    path.write_bytes(data)


def test_what_is_finished_is_left_alone(copy, albums):
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    prepare(copy, albums)
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == before


def test_other_labels_or_albums_or_files_change_the_shards_they_touch(copy, albums, tmp_path):
    def n_done(albums: Sequence[Album], settings: AudioSettings = SETTINGS) -> int:
        audio = shards.Store(copy / "audio", AUDIO, settings)
        return audio.write(audio.plan(albums, LABELS, 4), workers=1).n_new

    assert n_done(albums) == 0
    assert n_done(albums, AudioSettings(patch_seed=7, patch_frames=100)) == 0  # cut when read
    relabelled = [*albums[:-1], Album("A5", ("Jazz",), albums[5].tracks, split="val")]
    assert n_done(relabelled) == 0
    assert shard_records(copy)[-1]["labels"].tolist() == [0]
    moved = [Track("T50", write_sound(tmp_path / "new.wav", 1)), albums[5].tracks[1]]
    assert n_done([*albums[:-1], Album("A5", ("Jazz",), tuple(moved), split="val")]) == 1
    write_sound(tmp_path / "new.wav", 2, seconds=1.5)
    assert n_done([*albums[:-1], Album("A5", ("Jazz",), tuple(moved), split="val")]) == 1
    assert n_done(albums, AudioSettings(hop_length=512)) == 12


def shard_records(folder: Path) -> list[dict]:
    """The records of the validation split's last shard."""
    path = max((folder / "audio").glob("mumu-val*"))
    sidecar = store.read_as(store.Sidecar, folder / "audio" / store.sidecar_of(path.name))
    source = ArrayRecordDataSource([f"{path}[0:{sidecar.records}]"])
    return [store.decode(source[i], AUDIO, SETTINGS) for i in range(sidecar.records)]


class Killed(BaseException):
    """Ends a process wherever it is."""


def test_one_more_song_costs_one_decode(tmp_path, monkeypatch):  # 8
    """257 songs in shards of 32, and one more in front, which moves all others; the same bytes as from nothing."""
    songs = [
        Album(f"A{i:03}", ("Pop",), (Track(f"T{i:03}", write_sound(tmp_path / f"{i}.wav", i, 0.3)),), split="train")
        for i in range(258)
    ]
    decoded: list[str] = []
    die_at = ""

    def read_in_order(call, items, workers, on_death):
        for item in items:
            if item.name == die_at:
                raise Killed
            decoded.append(item.name)
            yield call(item)

    monkeypatch.setattr(shards, "map_in_order", read_in_order)

    def n_decoded(albums: Sequence[Album], folder: str = "data") -> int:
        decoded.clear()
        prepare(tmp_path / folder, albums, shard_tracks=32)
        assert not list((tmp_path / folder / "audio").glob(".*"))
        return len(decoded)

    def same_as_from_nothing(albums: Sequence[Album]) -> bool:
        shutil.rmtree(tmp_path / "fresh", ignore_errors=True)
        n_decoded(albums, "fresh")
        return shard_bytes(tmp_path / "fresh") == shard_bytes(tmp_path / "data")

    assert n_decoded(songs[1:]) == 257
    die_at = "250.wav"
    write_sound(tmp_path / die_at, 1000, 0.4)  # changed; one more in front; killed between the two
    with pytest.raises(Killed):
        n_decoded(songs)
    assert decoded == ["0.wav"]
    die_at = ""
    assert n_decoded(songs) == 1
    assert decoded == ["250.wav"]
    assert same_as_from_nothing(songs)
    assert n_decoded([*songs[:100], *songs[101:]]) == 0
    assert same_as_from_nothing([*songs[:100], *songs[101:]])


def test_fewer_albums_leave_no_stale_shards(copy, albums):
    (copy / "audio" / "my own.mp3").touch()
    (copy / "audio" / ".mumu-train.array_record-00000-of-00009.part").touch()
    prepare(copy, albums[:2])
    names = {path.name for path in (copy / "audio").rglob("*mumu-*")}
    assert names == {"mumu-train.array_record-00000-of-00001", "mumu-train.array_record-00000-of-00001.json"}
    assert (copy / "audio" / "my own.mp3").exists()
    assert set(tfds.builder_from_directory(copy / "audio").info.splits) == {"train"}
    assert len(store.open_prepared(copy, SETTINGS).split("val")) == 0


# --- what is refused ----------------------------------------------------------------------------------------


def test_no_such_folder(tmp_path):
    error = the_error(tmp_path / "nowhere")
    assert "does not exist; run python -m mumu_jax.prepare" in error
    assert error.endswith(f"--data_dir={tmp_path / 'nowhere'} --modalities=audio")


def test_unfinished(copy):
    (copy / "audio" / "prepared.json").unlink()
    assert "is not finished; run python -m mumu_jax.prepare" in the_error(copy)


def test_other_settings_are_named(data_dir):
    message = the_error(data_dir, AudioSettings(hop_length=512, n_bins=84))
    assert "hop_length is 1024 there and 512 here, n_bins is 96 there and 84 here" in message
    assert "sr_hz" not in message


@pytest.mark.parametrize(
    ("librosa", "changed", "form"),
    [
        ("0.11.0", {"fmin_hz": 37.0}, "librosa-0.11"),
        ("1.0.0", {"fmin_hz": 37.0}, "librosa-1.0"),
        ("1.0.0", {}, "librosa-0.11"),  # both forms are the same
    ],
)
def test_data_from_before_the_cqts_form_was_a_setting(copy, librosa, changed, form):
    (copy / "audio" / SEAL).unlink()
    path = copy / "audio" / "prepared.json"
    found = json.loads(path.read_text())
    del found["settings"]["cqt"]
    found["settings"] |= changed
    found["versions"]["librosa"] = librosa
    checksum = store.checksum_of(msgspec.convert(found, store.Description))
    path.write_text(json.dumps(found | {"checksum": checksum}))
    assert len(store.open_prepared(copy, AudioSettings(**changed, cqt=form)).split("train")) == 8
    (other,) = {"librosa-0.11", "librosa-1.0"} - {form}
    assert f"cqt is {form} there and {other} here" in the_error(copy, AudioSettings(**changed, cqt=other))


def test_damaged_shards(copy):
    path = copy / "audio" / "mumu-val.array_record-00000-of-00001"
    data = path.read_bytes()
    flip(path)
    assert f"{path} is damaged: its checksum" in the_error(copy)
    path.write_bytes(data[:-1000])
    assert f"{path} is damaged: it has {len(data) - 1000} bytes instead of {len(data)}" in the_error(copy)
    path.unlink()
    assert f"{path} is damaged: No such file" in the_error(copy)


def test_a_damaged_record_names_its_shard_and_what_is_wrong(copy):  # 32
    path = copy / "audio" / "mumu-train.array_record-00001-of-00003"
    flip(path, at=b"album_id")
    records = store.open_prepared(copy, SETTINGS, verify=False).split("train")
    says = r"00001-of-00003 is damaged: record 3 cannot be read \(\w+: .+\); run"
    with pytest.raises(UserError, match=says) as caught:
        list(records)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"settings": {}, "checksum": "x"}'])
def test_damaged_description(copy, text):
    (copy / "audio" / "prepared.json").write_text(text)
    assert "prepared.json is damaged" in the_error(copy)


def test_a_description_of_other_types_says_where(copy):
    path = copy / "audio" / "prepared.json"
    path.write_text(path.read_text().replace('"name": "Pop"', '"name": 7'))
    assert "prepared.json is damaged: Expected `str`, got `int` - at `$.labels[1].name`; run" in the_error(copy)
    shard = json.loads(path.read_text().replace('"name": 7', '"name": "Pop"'))
    shard["splits"]["val"]["shards"][0]["records"] = "two"
    path.write_text(json.dumps(shard))
    assert "prepared.json is damaged: Expected `int`, got `str` - at `$[0].records`; run" in the_error(copy)


def test_an_edited_description(copy):
    path = copy / "audio" / "prepared.json"
    path.write_text(path.read_text().replace('"Jazz"', '"Yazz"'))
    assert "prepared.json is damaged: its content does not match its checksum" in the_error(copy)


def test_damaged_statistics(copy):
    path = copy / "audio" / "statistics.npz"
    path.write_bytes(path.read_bytes()[:5000])
    assert "statistics.npz is missing or damaged (BadZipFile(" in the_error(copy)
    np.savez(path, mean=np.zeros((322, 96), np.float32), std=np.ones((322, 96), np.float32))
    assert "statistics.npz is damaged" in the_error(copy)
    path.unlink()
    assert "statistics.npz is missing or damaged (FileNotFoundError(" in the_error(copy)


def test_every_flipped_bit_of_an_npz_is_found_or_harmless(tmp_path):
    path, mean = tmp_path / "a.npz", np.arange(6, dtype=np.float32)
    write_npz(path, mean=mean)
    assert list(read_npz(path, "restore it")) == ["mean"]
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with contextlib.suppress(UserError):
            np.testing.assert_array_equal(read_npz(path, "restore it").get("mean", mean), mean)
