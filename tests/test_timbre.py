"""The Million Song Dataset's timbre: statistics, damaged files, and a run from the command line."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import succeed

from mumu_jax.config import TimbreSettings
from mumu_jax.data.manifest import Rejected
from mumu_jax.data.modalities.timbre import read_timbre
from mumu_jax.data.store.records import open_prepared


def write_h5(path: Path, segments) -> Path:
    with h5py.File(path, "w") as file:
        file["analysis/segments_timbre"] = segments
    return path


def test_four_statistics_of_twelve_coefficients(tmp_path):
    segments = np.random.default_rng(0).normal(size=(300, 12)) * 50
    found = read_timbre(write_h5(tmp_path / "TR.h5", segments))
    assert found.dtype == np.float32
    for part, expected in zip(
        np.split(found, 4),
        (segments.mean(0), segments.max(0), segments.std(0) ** 2, np.sqrt((segments**2).sum(0))),
        strict=True,
    ):
        np.testing.assert_allclose(part, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "missing"),
        (b"", "unreadable"),
        (b"<html>404</html>", "unreadable"),
        (np.zeros((0, 12)), "empty"),
        (np.zeros((5, 11)), "unreadable"),
        (np.zeros(12), "unreadable"),
        (np.full((5, 12), np.nan), "nan"),
        (np.full((5, 12), 1e200), "nan"),
        (np.array([b"text"] * 3), "unreadable"),
    ],
)
def test_damaged_files(tmp_path, content, reason):
    path = tmp_path / "TR.h5"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        write_h5(path, content)
    with pytest.raises(Rejected) as caught:
        read_timbre(path)
    assert caught.value.reason == reason


def test_a_file_of_something_else(tmp_path):
    with h5py.File(tmp_path / "TR.h5", "w") as file:
        file["analysis/segments_pitches"] = np.zeros((3, 12))
    with pytest.raises(Rejected, match="analysis/segments_timbre"):
        read_timbre(tmp_path / "TR.h5")


@pytest.mark.full
def test_a_run(small_data, tmp_path):
    prepared = open_prepared(small_data, TimbreSettings())
    values = np.array([record["timbre"] for record in prepared.split("train")], np.float64)
    np.testing.assert_allclose(prepared.mean, values.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(prepared.std, values.std(axis=0), rtol=1e-4)

    run = tmp_path / "run"
    succeed("mumu_jax.train", "--config=timbre_mlp", f"--data_dir={small_data}", f"--workdir={run}")
    result = json.loads((run / "eval_test.json").read_text())
    assert result["album"]["roc_auc_macro"] > 0.6
    assert result["track"]["n_items"] == result["album"]["n_items"] == 24
    good = sorted((small_data.parent / "small_source" / "msd").glob("*.h5"))[0]
    (tmp_path / "bad.h5").write_bytes(b"no HDF5")
    done = succeed("mumu_jax.tag", f"--workdir={run}", good, tmp_path / "bad.h5", f"--out={tmp_path / 'tags.jsonl'}")
    first, second = map(json.loads, (tmp_path / "tags.jsonl").read_text().splitlines())
    assert len(first["genres"]) == 5
    assert second["error"].startswith("unreadable: expected the HDF5 dataset")
    assert "1 of 2 files could not be tagged" in done.stderr
