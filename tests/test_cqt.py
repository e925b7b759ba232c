"""Tests of the constant-Q transform, in both forms, against librosa's over the settings that change its course."""

from typing import Any

import librosa
import numpy as np
import pytest

from mumu_jax import prepare
from mumu_jax.config import AudioSettings
from mumu_jax.data.modalities.audio.cqt import banks_of, cqt_power, form_made_with
from mumu_jax.errors import UserError

NEAR_DB = 0.001
FORMS = ("librosa-0.11", "librosa-1.0")
INSTALLED = FORMS[0] if librosa.__version__.startswith("0.") else FORMS[1]
# Mean power in dB of every eighth bin of `notes(1, 22_050)` for an fmin of 37 Hz, by the librosa of that version.
RECORDED_DB = {
    "librosa-0.11": [
        *(5.4726, -2.5108, 6.5309, -18.7056, -28.09, -36.0057),
        *(-43.8163, -46.1294, -53.0323, -23.9933, -54.4692, -65.4268),
    ],
    "librosa-1.0": [
        *(5.4016, -2.4724, 6.4148, -18.6818, -28.0182, -36.0046),
        *(-43.9282, -43.4284, -53.0451, -24.5309, -54.3398, -65.4268),
    ],
}


def notes(seconds: float, sr_hz: int) -> np.ndarray:
    """Return plucked strings from 30 Hz up to a third of the rate, over a little noise, and silence at the end."""
    rng = np.random.default_rng(0)
    y = 1e-4 * rng.standard_normal(round(seconds * sr_hz))
    for start_s in np.arange(0, 0.8 * seconds, 0.15):
        pitch_hz = np.exp(rng.uniform(np.log(30), np.log(sr_hz / 3)))
        t = np.arange(round(0.5 * sr_hz)) / sr_hz
        start = round(start_s * sr_hz)
        tail = y[start : start + len(t)]
        tail += (0.5 * np.sin(2 * np.pi * pitch_hz * t) * np.exp(-5 * t))[: len(tail)]
    y[-round(0.1 * seconds * sr_hz) :] = 0
    return y.astype(np.float32)


def librosa_power(y: np.ndarray, settings: AudioSettings) -> np.ndarray:
    transform = librosa.cqt(
        y,
        sr=settings.sr_hz,
        hop_length=settings.hop_length,
        fmin=settings.fmin_hz,
        n_bins=settings.n_bins,
        bins_per_octave=settings.bins_per_octave,
    )
    return np.abs(transform.T) ** 2


def assert_near(found: np.ndarray, expected: np.ndarray) -> None:
    """Compare in dB relative to librosa's maximum, above -80 dB; absolute powers, so that a gain would show."""
    found_db, expected_db = (librosa.power_to_db(p, ref=expected.max(), top_db=None) for p in (found, expected))
    heard = expected_db > -80
    assert heard.mean() > 0.5
    np.testing.assert_allclose(found_db[heard], expected_db[heard], rtol=0, atol=NEAR_DB)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"hop_length": 512},
        {"hop_length": 1000},  # halved three times only
        {"hop_length": 441},  # never
        {"n_bins": 84},
        {"n_bins": 80},  # the lowest octave is not whole
        {"n_bins": 11},
        {"n_bins": 1},
        {"n_bins": 48},  # decimated at first
        {"n_bins": 24, "hop_length": 4096},  # by eight
        {"n_bins": 168, "bins_per_octave": 24},
        {"n_bins": 50, "bins_per_octave": 7},
        {"n_bins": 100, "fmin_hz": 20.0},
        {"fmin_hz": 37.0},  # librosa 1 does not halve below the highest octave
        {"sr_hz": 44_100},
        {"sr_hz": 16_000, "n_bins": 84, "hop_length": 512},
        {"sr_hz": 8_000, "n_bins": 60, "fmin_hz": 55.0},
    ],
)
def test_equals_librosa(changed: dict[str, Any]):
    settings = AudioSettings(cqt=INSTALLED, **changed)
    y = notes(3.3, settings.sr_hz)
    found = cqt_power(y, settings)
    assert found.dtype == np.float32
    assert_near(found, librosa_power(y, settings))


@pytest.mark.parametrize("n_samples", [22_050, 22_051, 23_551, 24_575, 24_576])
def test_every_length_has_librosas_frames(n_samples: int):
    y = np.random.default_rng(1).standard_normal(n_samples).astype(np.float32)
    settings = AudioSettings(cqt=INSTALLED)
    assert_near(cqt_power(y, settings), librosa_power(y, settings))


@pytest.mark.parametrize("form", FORMS)
def test_each_form_equals_its_librosa(form: str):  # 15
    power = cqt_power(notes(1, 22_050), AudioSettings(fmin_hz=37.0, cqt=form))
    found_db = 10 * np.log10(power.mean(0)[3::8])
    np.testing.assert_allclose(found_db, RECORDED_DB[form], rtol=0, atol=NEAR_DB)


def test_default_settings_have_the_same_filters_in_both_forms():
    (old_factor, old), (new_factor, new) = (banks_of(AudioSettings(cqt=form)) for form in FORMS)
    assert old_factor == new_factor
    for old_octave, new_octave in zip(old, new, strict=True):
        assert old_octave[:2] == new_octave[:2]
        np.testing.assert_array_equal(old_octave.filters, new_octave.filters)


def test_form_of_data_from_before_the_setting():
    where_they_differ = AudioSettings(fmin_hz=37.0)
    assert form_made_with("0.11.0", where_they_differ) == "librosa-0.11"
    assert form_made_with("1.0.0", where_they_differ) == "librosa-1.0"
    assert form_made_with("1.0.0", AudioSettings()) == "librosa-0.11"  # both are the same


def test_prepare_knows_the_forms(tmp_path, capsys):
    with pytest.raises(SystemExit):
        prepare.main(["--help"])
    assert "librosa-0.11 or librosa-1.0 (librosa-0.11)" in " ".join(capsys.readouterr().out.split())
    wrong = ["--source=folder", f"--input={tmp_path}", f"--data_dir={tmp_path / 'out'}", "--audio.cqt=librosa-2"]
    with pytest.raises(UserError, match=r"audio\.cqt is 'librosa-2'; choose one of 'librosa-0.11', 'librosa-1.0'"):
        prepare.main(wrong)


def test_loudness_is_kept():
    y = notes(2, 22_050)
    louder = cqt_power(2 * y, AudioSettings())
    np.testing.assert_array_equal(louder, 4 * cqt_power(y, AudioSettings()))


def test_filters_are_made_once():
    assert banks_of(AudioSettings()) is banks_of(AudioSettings(patch_seed=1))


def test_filters_beyond_half_the_rate():
    with pytest.raises(UserError, match=r"audio.n_bins is 108: the highest filter reaches 16,\d+ Hz, beyond half"):
        banks_of(AudioSettings(n_bins=108))
