"""Tests of the mel front end: against librosa, against the closed form, and on its way from a song to the network."""

import dataclasses
import json

import jax.numpy as jnp
import librosa
import numpy as np
import pytest
import soundfile
from conftest import SHARED

from mumu_jax import prepare
from mumu_jax.compression import PRESETS, Compression
from mumu_jax.config import Config, DataSettings, MelSettings
from mumu_jax.data.loader import read_rows, spread_items
from mumu_jax.data.manifest import Rejected
from mumu_jax.data.modalities import MODALITIES
from mumu_jax.data.modalities.audio import patches
from mumu_jax.data.modalities.base import Content, read_item, read_own
from mumu_jax.data.modalities.inputs import Inputs
from mumu_jax.data.modalities.mel import _of_float16, mel_power, stored_mel
from mumu_jax.data.store.records import open_prepared
from mumu_jax.errors import UserError
from mumu_jax.fields import validate

MEL = MODALITIES["mel"]
SLANEY = {"slaney_peak": MelSettings(norm="peak"), **{n: s for n, s in PRESETS.items() if s.scale == "slaney"}}


def music(sr_hz: int, seconds: float = 5) -> np.ndarray:
    """Chords with noise: power in all bands."""
    rng, t = np.random.default_rng(0), np.arange(int(sr_hz * seconds)) / sr_hz
    tones = sum(np.sin(2 * np.pi * f * t) * np.exp(-((3 * t) % 1)) for f in (110, 165, 220, 880, 1760, 3520))
    return (0.1 * tones + 0.02 * rng.standard_normal(len(t))).astype(np.float32)


@pytest.mark.parametrize("name", SLANEY)
def test_slaneys_mel_is_librosas(name):
    settings = SLANEY[name]
    y = music(settings.sr_hz)
    expected = librosa.feature.melspectrogram(
        y=y,
        sr=settings.sr_hz,
        n_fft=settings.n_fft,
        hop_length=settings.hop_length,
        n_mels=settings.n_bins,
        fmin=settings.fmin_hz,
        fmax=settings.fmax_hz,
        norm="slaney" if settings.norm == "area" else None,
        pad_mode="reflect",
    ).T
    mel = mel_power(y, settings)
    assert mel.shape == expected.shape
    loud = expected > 1e-5 * expected.max(axis=1, keepdims=True)  # below, both transforms are float32 rounding
    assert loud.mean() > 0.9
    np.testing.assert_allclose(10 * np.log10(mel[loud]), 10 * np.log10(expected[loud]), rtol=0, atol=1e-4)
    np.testing.assert_allclose(mel, expected, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("name", ["won", "won128"])
def test_htks_bands_are_the_closed_form(name):
    """Triangles whose peak is 1, between centres that are equally spaced in 2595 log10(1 + f / 700)."""
    settings = PRESETS[name]
    top = 2595 * np.log10(1 + settings.fmax_hz / 700)
    edges = [700 * (10 ** (top * i / (settings.n_bins + 1) / 2595) - 1) for i in range(settings.n_bins + 2)]
    n, sr = settings.n_fft, settings.sr_hz
    y = music(sr, 1)
    padded = np.pad(y.astype(np.float64), n // 2, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)
    spectrum = np.abs(np.fft.rfft(padded[10 * 256 : 10 * 256 + n] * window)) ** 2
    freqs = np.arange(n // 2 + 1) * sr / n
    bands = [np.interp(freqs, edges[i : i + 3], [0, 1, 0]) @ spectrum for i in range(settings.n_bins)]
    np.testing.assert_allclose(mel_power(y, settings)[10], bands, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", PRESETS)
def test_a_network_sees_the_published_values(name):
    """What float16 and the devices make of a song, against the formula in float64."""
    settings = PRESETS[name]
    y = music(settings.sr_hz, 3)
    power = mel_power(y, settings).astype(np.float64)
    expected = {
        "log10000": lambda: np.log10(1 + 10_000 * power.astype(np.float16).astype(np.float64)),
        "db": lambda: 10 * np.log10(np.maximum(power, 1e-10)),
        "db_max": lambda: np.maximum(10 * np.log10(power / power.max()), -80),
    }[settings.level]()
    stored = stored_mel(y, settings).astype(np.float16)
    compression = Compression(settings.level, settings.floor_db)
    for xp in (np, jnp):
        seen = np.asarray(compression(xp.asarray(stored, xp.float32), xp))
        assert seen.dtype == np.float32
        np.testing.assert_allclose(seen, expected, rtol=0, atol=1e-5 if settings.level == "log10000" else 0.06)


def test_a_loud_recording_does_not_overflow():
    """Power above 6.55 overflows if float16 is multiplied by 10,000."""
    stored = stored_mel(music(16_000) * 8, PRESETS["musicnn"]).astype(np.float16)
    assert stored.max() > 6.55
    assert np.isfinite(Compression("log10000", 0.0)(stored.astype(np.float32), np)).all()


def test_what_cannot_be_stored_is_rejected(tmp_path):
    soundfile.write(tmp_path / "x.wav", music(16_000) * 1e4, 16_000, subtype="FLOAT")
    rejected = read_item(MEL, tmp_path / "x.wav", MelSettings())
    assert isinstance(rejected, Rejected)
    assert rejected.reason == "nan"
    assert isinstance(read_item(MEL, tmp_path / "x.wav", PRESETS["ru"]), Content)  # relative to its maximum


def test_small_values_are_rounded_as_numpy_rounds_them():
    """To the same float16: also halfway between two, at the smallest normal one, and what is no number."""
    steps = np.arange(2**11, dtype=np.float32) * 2.0**-25  # half of what float16's subnormal numbers differ by
    values = np.concatenate(
        (steps, np.nextafter(steps, 1), np.nextafter(steps, -1)[1:], [1.0, 1e4, 1e6, np.inf, np.nan])
    )
    values = np.float32(values)[None]
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(_of_float16(values).astype(np.float16), values.astype(np.float16))


def test_silence_is_known_in_all_levels(tmp_path):
    soundfile.write(tmp_path / "x.wav", np.zeros(32_000), 16_000)
    for settings in PRESETS.values():
        content = read_item(MEL, tmp_path / "x.wav", settings)
        assert isinstance(content, Content)
        assert content.counts["silent"] == 1
    assert read_own(MEL, tmp_path / "x.wav", Config(modality="mel"), None).error == "silent: there is no sound in it"


def test_a_song_shorter_than_a_patch_is_repeated(tmp_path):
    soundfile.write(tmp_path / "x.wav", music(16_000, 1.5), 16_000)
    [record] = read_own(MEL, tmp_path / "x.wav", Config(modality="mel"), None).records
    n = 1 + 24_000 // 256
    np.testing.assert_array_equal(record["patch"][n:], record["patch"][: 187 - n])


@pytest.mark.parametrize(("changes", "words"), [({"fmax_hz": 9000.0}, "fmax_hz"), ({"patch_frames": 4000}, "30 s")])
def test_settings_that_cannot_be_are_refused(changes, words):
    with pytest.raises(UserError, match=words):
        validate(dataclasses.replace(MelSettings(), **changes), "mel")


def test_patches_are_spread_evenly_over_a_song():
    settings = MelSettings()
    assert patches.spread_starts(187 + 15, 16, settings) == list(range(16))
    starts = patches.spread_starts(8 * 1876, 16, settings)  # two of each excerpt, none across
    assert [start // 1876 for start in starts] == [i // 2 for i in range(16)]
    assert all(start % 1876 <= 1876 - 187 for start in starts)
    assert patches.spread_starts(100, 16, settings) == [0]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Three songs with a test split, as mel and as CQT side by side."""
    folder = tmp_path_factory.mktemp("mel")
    rows = []
    for i, split in enumerate(("train", "val", "test")):
        soundfile.write(folder / f"{i}.wav", music(16_000, 20 + i) * (1 + i), 16_000)
        track = {"track_id": f"t{i}", "audio": f"{i}.wav"}
        rows.append({"album_id": f"a{i}", "split": split, "genres": ["Rock"], "tracks": [track]})
    (folder / "albums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    common = ["--source=manifest", f"--input={folder / 'albums.jsonl'}", f"--data_dir={folder / 'out'}", "--workers=1"]
    assert prepare.main([*common]) == 0
    assert not (folder / "out" / "mel").exists()  # only if asked for
    assert prepare.main([*common, "--modalities=mel", "--mel.preset=won", "--mel.patch_frames=100"]) == 0
    return folder / "out"


def test_both_front_ends_exist_side_by_side(prepared):
    settings = dataclasses.replace(PRESETS["won"], patch_frames=100)
    [record] = open_prepared(prepared, settings).split("test")
    assert record["mel"].shape == (1 + 22 * 16_000 // 256, 96)
    assert (prepared / "audio" / "prepared.json").exists()
    with pytest.raises(UserError, match=r"scale is htk there and slaney here.*--mel\.FIELD=VALUE"):
        open_prepared(prepared, MelSettings())


def test_networks_of_other_patches_see_the_same_records(prepared):
    longer = open_prepared(prepared, dataclasses.replace(PRESETS["won"], patch_frames=1813, patch_seed=3))
    assert longer.checksum == open_prepared(prepared, dataclasses.replace(PRESETS["won"], patch_frames=100)).checksum
    config = Config(modality="mel", mel=longer.settings)
    assert Inputs.unfitted(config).items(longer.split("test"), 1).item["mel"].shape == (1813, 96)


def test_several_patches_of_a_track_are_its_evenly_spaced_ones(prepared):
    settings = dataclasses.replace(PRESETS["won"], patch_frames=100)
    config = Config(modality="mel", mel=settings, data=DataSettings(patches=4))
    records = open_prepared(prepared, settings).split("test")
    items = spread_items(Inputs.unfitted(config).items(records, 1, "random"), patches.spread(4))
    assert len(items) == 4
    inputs, labels = read_rows(items, np.arange(4, dtype=np.int32), np.zeros(4))
    starts = patches.spread_starts(len(records[0]["mel"]), 4, settings)
    expected = [patches.cut(records[0]["mel"], start, settings) for start in starts]
    np.testing.assert_array_equal(inputs["mel"], expected)
    assert labels.tolist() == [[1]] * 4


@pytest.mark.skipif(not SHARED.exists(), reason="the real recordings are not there")
def test_real_songs_become_finite_numbers():
    for path in sorted((SHARED / "recordings").glob("*.ogg")):
        content = read_item(MEL, path, MelSettings())
        assert isinstance(content, Content)
        assert content.fields["mel"].max() > 0.01
