"""Tests of the descriptors: each column against plain librosa, and the way from a song to the shallow network."""

import json
import shutil
import warnings
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
from conftest import SHARED, succeed

from benchmarks.librosa_descriptors import plain_descriptors
from mumu_jax import prepare
from mumu_jax.config import Config, DescriptorsSettings
from mumu_jax.data.manifest import Rejected, write_manifest
from mumu_jax.data.modalities import MODALITIES
from mumu_jax.data.modalities.audio import decode
from mumu_jax.data.modalities.base import Content, read_item, read_own
from mumu_jax.data.modalities.descriptors import COLUMNS, descriptors_of
from mumu_jax.data.modalities.descriptors.chroma import tuning
from mumu_jax.data.modalities.descriptors.spectra import power_spectra
from mumu_jax.data.sources.synthetic import make as make_synthetic
from mumu_jax.data.store.records import open_prepared
from mumu_jax.errors import UserError
from mumu_jax.fields import validate

DESCRIPTORS, SETTINGS = MODALITIES["descriptors"], DescriptorsSettings()
SR_HZ = SETTINGS.sr_hz
SONGS = [*sorted((SHARED / "recordings").glob("*.ogg")), *sorted((SHARED / "super" / "audio").glob("*.mp3"))[:2]]


def music(seconds: float, sr_hz: int = SR_HZ, detuned: float = 0.0) -> np.ndarray:
    """Return chords that begin again each half second, with noise; `detuned` by so many semitones."""
    rng, t = np.random.default_rng(0), np.arange(round(sr_hz * seconds)) / sr_hz
    notes_hz = 440 * 2 ** ((np.array([-24, -17, -12, 0, 4, 12, 31]) + detuned) / 12)
    tones = sum(np.sin(2 * np.pi * hz * t) * np.exp(-((4 * t) % 2)) for hz in notes_hz)
    return (0.1 * tones + 0.01 * rng.standard_normal(len(t))).astype(np.float32)


def assert_equal(found: np.ndarray, expected: np.ndarray) -> None:
    """Compare to 1e-4; kurtosis and the means of cepstra may be near 0, where only their rounding is left.

    The roll-off of a frame is a whole bin, and a rounding may choose the next one, which moves the mean a little.
    """
    for name, ours, theirs in zip(COLUMNS, found, expected, strict=True):
        least = 1e-3 if name.startswith("mfcc") else 1e-4 if "kurtosis" in name or "skewness" in name else 1e-6
        assert ours == pytest.approx(theirs, rel=1e-4, abs=least), name


# --- the columns --------------------------------------------------------------------------------------------


def test_the_columns_are_97_and_in_the_authors_order():
    assert len(COLUMNS) == len({*COLUMNS}) == 97
    places = {"samples_std": 1, "zero_crossing_rate_mean": 4, "rms_std": 7, "tempo": 8, "centroid_mean": 9}
    places |= {"bandwidth_4_std": 16, "contrast_1_mean": 17, "contrast_2_std": 25, "rolloff_mean": 31}
    places |= {"mfcc_3_mean": 35, "mfcc_1_std": 53, "chroma_7_mean": 79, "chroma_12_std": 96}
    assert {name: COLUMNS.index(name) for name in places} == places


@pytest.mark.skipif(not SHARED.exists(), reason="the real recordings are not there")
@pytest.mark.parametrize("path", SONGS, ids=lambda path: path.name)
def test_real_songs_have_librosas_numbers(path):
    y = next(decode.excerpts(path, SETTINGS))
    assert_equal(descriptors_of(y, SR_HZ), plain_descriptors(y, SR_HZ))


@pytest.mark.parametrize(
    ("y", "sr_hz"),
    [
        (music(6), SR_HZ),
        (music(6, detuned=0.37), SR_HZ),
        (music(3, 16_000), 16_000),
        (music(2, 44_100), 44_100),
        (np.concatenate([np.zeros(30_000, np.float32), music(1)]), SR_HZ),
        (0.1 * np.random.default_rng(0).standard_normal(50_000).astype(np.float32), SR_HZ),
        (music(0.5) * np.float32(1e-3), SR_HZ),
        (music(2.5)[: 2048 * 20], SR_HZ),
        (music(2.5)[: 2048 * 20 + 511], SR_HZ),
    ],
    ids=["chords", "detuned", "16 kHz", "44 kHz", "late", "noise", "quiet", "whole frames", "a sample less"],
)
def test_synthetic_sounds_have_librosas_numbers(y, sr_hz):
    assert_equal(descriptors_of(y, sr_hz), plain_descriptors(y, sr_hz))


def test_less_than_a_frame_has_librosas_numbers():
    y = music(0.05)
    with warnings.catch_warnings(action="ignore"):  # librosa warns of every transform
        expected = plain_descriptors(y, SR_HZ)
    assert_equal(descriptors_of(y, SR_HZ), expected)


def test_the_bandwidth_of_order_4_is_not_that_of_order_3():
    found = dict(zip(COLUMNS, descriptors_of(music(2), SR_HZ).tolist(), strict=True))
    assert found["bandwidth_2_mean"] < found["bandwidth_3_mean"] < found["bandwidth_4_mean"] - 10


@pytest.mark.parametrize("detuned", [0.0, 0.2, -0.3])
def test_tuning_is_found(detuned):
    power = power_spectra(music(4, detuned=detuned), 0)[0][::2]
    assert tuning(power, SR_HZ) == pytest.approx(detuned, abs=0.03)
    assert tuning(power, SR_HZ) == librosa.estimate_tuning(S=power.T, sr=SR_HZ, bins_per_octave=12)


@pytest.mark.parametrize("value", [0.0, 0.1, -1.0, 1e-30])
def test_a_constant_has_finite_numbers(value):
    found = dict(zip(COLUMNS, descriptors_of(np.full(30_000, value, np.float32), SR_HZ).tolist(), strict=True))
    assert np.isfinite([*found.values()]).all()
    assert found["samples_magnitude_skewness"] == found["samples_kurtosis"] == 0


# --- files --------------------------------------------------------------------------------------------------


def test_a_song_of_several_excerpts_is_their_mean(tmp_path):
    soundfile.write(tmp_path / "x.wav", music(7) * np.linspace(0.1, 1, 7 * SR_HZ), SR_HZ, subtype="FLOAT")
    settings = DescriptorsSettings(excerpt_s=3.0)
    content = read_item(DESCRIPTORS, tmp_path / "x.wav", settings)
    assert isinstance(content, Content)
    pieces = [descriptors_of(y, SR_HZ) for y in decode.excerpts(tmp_path / "x.wav", settings)]
    assert len(pieces) == 3
    np.testing.assert_allclose(content.fields["descriptors"], np.mean(pieces, axis=0), rtol=1e-6)
    assert content.counts == {"seconds": 7.0, "silent": 0}
    [record] = read_own(DESCRIPTORS, tmp_path / "x.wav", Config(descriptors=settings), None).records
    np.testing.assert_array_equal(record["descriptors"], content.fields["descriptors"])


@pytest.mark.parametrize(
    ("y", "sr_hz", "reason"),
    [
        (np.zeros(0), SR_HZ, "empty"),
        (music(0.05), SR_HZ, "short"),
        (music(1) * np.float32(1e30), SR_HZ, "nan"),
        (np.where(np.arange(SR_HZ) == 100, np.nan, 0), SR_HZ, "nan"),
    ],
    ids=["empty", "short", "loud", "nan"],
)
def test_what_cannot_be_described_is_rejected(tmp_path, y, sr_hz, reason):
    soundfile.write(tmp_path / "x.wav", y, sr_hz, subtype="FLOAT")
    rejected = read_item(DESCRIPTORS, tmp_path / "x.wav", SETTINGS)
    assert isinstance(rejected, Rejected)
    assert rejected.reason == reason
    assert read_own(DESCRIPTORS, tmp_path / "x.wav", Config(), None).error.startswith(reason)


def test_damaged_and_missing_files_have_the_reasons_of_audio(tmp_path):
    soundfile.write(tmp_path / "cut.flac", music(5), SR_HZ)
    data = (tmp_path / "cut.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.mp3").write_text("no sound")
    for name in ("cut.flac", "text.mp3", "missing.mp3"):
        ours, theirs = (
            read_item(MODALITIES[m], tmp_path / name, MODALITIES[m].settings()) for m in ("descriptors", "audio")
        )
        assert isinstance(ours, Rejected)
        assert str(ours) == str(theirs)


def test_silence_is_kept_and_not_tagged(tmp_path):
    soundfile.write(tmp_path / "x.wav", np.zeros(SR_HZ), SR_HZ)
    content = read_item(DESCRIPTORS, tmp_path / "x.wav", SETTINGS)
    assert isinstance(content, Content)
    assert content.counts["silent"] == 1
    assert read_own(DESCRIPTORS, tmp_path / "x.wav", Config(), None).error == "silent: there is no sound in it"


def test_a_rate_without_room_for_the_bands_is_refused():
    with pytest.raises(UserError, match=r"sr_hz is 12800; it must be above 12800"):
        validate(DescriptorsSettings(sr_hz=12_800), "config.descriptors")


# --- from songs to tags -------------------------------------------------------------------------------------


def prepare_songs(folder: Path, *more: str) -> int:
    """Prepare the descriptors of the songs in `folder`/songs.csv."""
    arguments = ["--source=csv", f"--input={folder / 'songs.csv'}", f"--data_dir={folder / 'data'}", "--workers=1"]
    return prepare.main([*arguments, "--modalities=descriptors", *more])


def test_preparing_again_reads_what_is_new_and_keeps_the_settings(tmp_path, monkeypatch):
    for i in range(4):
        soundfile.write(tmp_path / f"{i}.wav", music(1, detuned=i), SR_HZ)
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    rows = [f"{i}.wav,Rock,{split}\n" for i, split in enumerate(("train", "train", "val"))] + ["bad.wav,Rock,train\n"]
    (tmp_path / "songs.csv").write_text("".join(["path,genres,split\n", *rows]))
    assert prepare_songs(tmp_path, "--max_bad=1") == 0
    (line,) = map(json.loads, (tmp_path / "data" / "rejected.jsonl").read_text().splitlines())
    assert (line["file"], line["reason"]) == (str(tmp_path / "bad.wav"), "not_audio")
    prepared = open_prepared(tmp_path / "data", SETTINGS)
    first = [record["descriptors"] for record in prepared.split("train")]
    np.testing.assert_allclose(prepared.mean, np.mean(first, axis=0), rtol=1e-5)

    (tmp_path / "songs.csv").write_text("".join(["path,genres,split\n", *rows[:3], "3.wav,Rock,test\n"]))
    read, paths = type(DESCRIPTORS).read, []

    def count(self, source, settings):
        paths.append(source.name)
        return read(self, source, settings)

    monkeypatch.setattr(type(DESCRIPTORS), "read", count)
    monkeypatch.setattr(type(DESCRIPTORS), "in_process", True)
    assert prepare_songs(tmp_path) == 0
    assert paths == ["3.wav"]
    second = [record["descriptors"] for record in open_prepared(tmp_path / "data", SETTINGS).split("train")]
    np.testing.assert_array_equal(first, second)
    with pytest.raises(
        UserError, match=r"was prepared with descriptors\.excerpt_s=30\.0, not 10\.0; give another --data_dir"
    ):
        prepare_songs(tmp_path, "--descriptors.excerpt_s=10")


def test_a_copy_in_another_split_is_listed(tmp_path):
    for i in range(2):
        soundfile.write(tmp_path / f"{i}.wav", music(1, detuned=i), SR_HZ)
    shutil.copy(tmp_path / "0.wav", tmp_path / "copy.wav")
    (tmp_path / "songs.csv").write_text("path,genres,split\n0.wav,Rock,train\n1.wav,Rock,val\ncopy.wav,Rock,test\n")
    assert prepare_songs(tmp_path) == 0
    (line,) = map(json.loads, (tmp_path / "data" / "duplicates.jsonl").read_text().splitlines())
    found = [line[key] for key in ("modality", "split", "like_split", "kind")]
    assert found == ["descriptors", "test", "train", "same bytes"]


@pytest.mark.full
def test_a_run(tmp_path):
    albums = make_synthetic(tmp_path / "source", 0, 1, {"train": 40, "val": 10, "test": 20})
    write_manifest(tmp_path / "source" / "manifest.jsonl", albums)
    data, run = tmp_path / "data", tmp_path / "run"
    arguments = ("--source=manifest", f"--input={tmp_path / 'source' / 'manifest.jsonl'}", f"--data_dir={data}")
    succeed("mumu_jax.prepare", *arguments, "--modalities=descriptors")
    done = succeed("mumu_jax.train", "--config=descriptors_mlp", f"--data_dir={data}", f"--workdir={run}")
    assert "albums, linear" in done.stdout
    result = json.loads((run / "eval_test.json").read_text())
    assert result["album"]["roc_auc_macro"] > 0.6
    assert result["baseline"]["roc_auc_macro"] > 0.6
    song = albums[0].tracks[0].audio
    (tmp_path / "bad.mp3").write_bytes(b"no sound")
    succeed("mumu_jax.tag", f"--workdir={run}", song, tmp_path / "bad.mp3", f"--out={tmp_path / 'tags.jsonl'}")
    first, second = map(json.loads, (tmp_path / "tags.jsonl").read_text().splitlines())
    assert len(first["genres"]) == 5
    assert second["error"].startswith("not_audio: ")
    succeed("mumu_jax.export", f"--workdir={run}", f"--out={tmp_path / 'model'}")
    assert "mfcc_20_std" in (tmp_path / "model" / "README.md").read_text()
