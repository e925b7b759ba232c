"""Prepared MuMu data as TensorFlow Datasets read it: without TensorFlow, and with a folder for each modality."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from mumu_fixture import write_mumu

from mumu_jax.data.manifest import read_manifest
from mumu_jax.data.preparation.job import Job, prepare
from mumu_jax.data.preparation.summary import Summary

CODE = """
import json, sys
import tensorflow_datasets as tfds

for folder in sys.argv[1:]:
    builder = tfds.builder_from_directory(folder)
    source = builder.as_data_source("train")
    record = source[0]
    names = builder.info.features["labels"].feature.names
    genres = [names[label] for label in record["labels"]]
    print(json.dumps([len(source), sorted(record), record["album_id"].decode(), genres]))
assert "tensorflow" not in sys.modules
"""
FIELDS = {
    "audio": ["album_id", "cqt", "labels", "track_id"],
    "descriptors": ["album_id", "descriptors", "labels", "track_id"],
    "text": ["album_id", "categories", "labels", "text"],
    "timbre": ["album_id", "labels", "timbre", "track_id"],
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    folder = tmp_path_factory.mktemp("tfds")
    write_mumu(folder / "MUMU", n_albums=12)
    return prepare(Job("mumu", folder / "MUMU", folder / "data", workers=1, max_bad=1, modalities=tuple(FIELDS)))


def test_every_modality_is_a_tfds_folder(prepared: Summary) -> None:
    data: Path = prepared.data_dir
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", CODE]
    done = subprocess.run([*command, *(str(data / name) for name in FIELDS)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    albums = {album.album_id: album for album in read_manifest(data / "manifest.jsonl")}
    for name, line in zip(FIELDS, done.stdout.splitlines(), strict=True):
        n_records, fields, album_id, genres = json.loads(line)
        assert n_records == prepared.splits[name]["train"]["records"] > 0
        assert fields == FIELDS[name]
        assert sorted(genres) == sorted(albums[album_id].genres)
