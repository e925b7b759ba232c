"""Tests of patches: always within one excerpt, the whole excerpt covered."""

import numpy as np
import pytest

from mumu_jax.config import AudioSettings
from mumu_jax.data.modalities.audio import patches

SETTINGS = AudioSettings()
EXCERPT = patches.n_frames_of_excerpt(SETTINGS)


def test_an_excerpt_has_librosas_number_of_frames():
    assert EXCERPT == 1 + 30 * 22_050 // 1024 == 646


@pytest.mark.parametrize(("n_frames", "n_starts"), [(22, 1), (322, 1), (323, 2), (646, 325), (657, 336)])
def test_random_starts_reach_every_valid_start_of_one_excerpt(n_frames, n_starts):
    starts = [patches.random_start(n_frames, u, SETTINGS) for u in np.linspace(0, 1, 5000, endpoint=False)]
    assert set(starts) == set(range(n_starts))
    assert patches.random_start(n_frames, np.nextafter(1, 0), SETTINGS) == n_starts - 1


def test_random_starts_stay_within_one_of_several_excerpts():
    uniform = np.linspace(0, 1, 20_000, endpoint=False)
    starts = {patches.random_start(3 * EXCERPT, u, SETTINGS) for u in uniform}
    assert starts == {e * EXCERPT + s for e in range(3) for s in range(EXCERPT - 322 + 1)}


def test_fixed_starts_depend_on_track_and_seed_alone():
    starts = {t: patches.fixed_start(f"TR{t}", EXCERPT, SETTINGS) for t in range(200)}
    assert starts == {t: patches.fixed_start(f"TR{t}", EXCERPT, SETTINGS) for t in range(200)}
    assert len(set(starts.values())) > 100
    assert patches.fixed_start("TR1", EXCERPT, AudioSettings(patch_seed=1)) != starts[1]
    assert patches.fixed_start("TR1", EXCERPT, SETTINGS) == 215  # the same for ever, or prepared data lies
    assert patches.fixed_start("not UTF-8: \udcff", EXCERPT, SETTINGS) >= 0


@pytest.mark.parametrize(("n_frames", "start"), [(646, 0), (646, 324), (322, 0), (100, 0)])
def test_cut_pads_at_the_floor(n_frames, start):
    cqt = np.random.default_rng(0).uniform(-70, 0, (n_frames, 96)).astype(np.float16)
    patch = patches.cut(cqt, start, SETTINGS)
    assert patch.shape == (322, 96)
    assert patch.dtype == np.float16
    n = min(322, n_frames)
    np.testing.assert_array_equal(patch[:n], cqt[start : start + n])
    assert (patch[n:] == -80).all()


@pytest.mark.parametrize(
    ("n_frames", "expected"),
    [
        (22, [0]),
        (322, [0]),
        (338, [0]),
        (339, [0, 17]),
        (646, [0, 324]),
        (657, [0, 335]),
        (700, [0, 189, 378]),
    ],
)
def test_consecutive_starts_cover_an_excerpt(n_frames, expected):
    assert patches.consecutive_starts(n_frames, SETTINGS) == expected
