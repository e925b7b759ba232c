"""Scores of a track from those of its patches: votes, shares and means, beside the patches by themselves."""

import numpy as np
import pytest
from scipy.special import expit, softmax

from mumu_jax.compute.predict import SplitPredictions
from mumu_jax.config import TargetSettings
from mumu_jax.objectives import make_objective
from mumu_jax.runs.evaluation import _of_patches


def predictions(patches: np.ndarray, labels: np.ndarray) -> SplitPredictions:
    return SplitPredictions(0.0, patches.mean(axis=1), labels, np.zeros((len(labels), 0), np.float32), patches)


@pytest.mark.parametrize("kind", ["softmax", "logistic", "cosine"])
def test_votes_and_shares(kind):
    rng = np.random.default_rng(0)
    labels = np.eye(4, dtype=np.uint8)[rng.integers(0, 4, 60)]
    patches = (rng.normal(size=(60, 5, 4)) + 0.7 * labels[:, None]).astype(np.float32)
    if kind == "cosine":
        patches = np.tanh(patches)
    readable = {"softmax": lambda x: softmax(x, axis=-1), "logistic": expit, "cosine": lambda x: x}[kind](patches)
    found = _of_patches(make_objective(TargetSettings(kind)), np.ones(4, bool), predictions(patches, labels))
    truth = labels.argmax(axis=1)
    assert found["patch"]["n_items"] == 300
    by_patch = np.mean(readable.argmax(axis=2) == truth[:, None])
    assert found["patch"]["precision_at_1"] == pytest.approx(by_patch)

    shares = readable / readable.sum(axis=2, keepdims=True) if kind != "cosine" else readable
    assert ("track_shares" in found) == (kind != "cosine")
    if kind != "cosine":
        by_shares = np.mean(shares.mean(axis=1).argmax(axis=1) == truth)
        assert found["track_shares"]["precision_at_1"] == pytest.approx(by_shares)
    by_votes = []
    for of_track, best, true in zip(shares, readable.argmax(axis=2), truth, strict=True):
        counts = np.bincount(best, minlength=4)
        most = np.flatnonzero(counts == counts.max())
        by_votes.append(most[of_track.mean(axis=0)[most].argmax()] == true)
    assert found["track_votes"]["precision_at_1"] == pytest.approx(np.mean(by_votes))
    assert np.mean(by_votes) > by_patch


def test_one_patch_a_track_is_no_level_of_its_own():
    patches, labels = np.zeros((3, 1, 2), np.float32), np.eye(2, dtype=np.uint8)[[0, 1, 0]]
    objective, seen = make_objective(TargetSettings("logistic")), np.ones(2, bool)
    assert _of_patches(objective, seen, predictions(patches, labels)) == {}
    assert _of_patches(objective, seen, None) == {}
