"""What a modality makes of a file is checked in one place, for all modalities and front ends."""

import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile

from mumu_jax import prepare
from mumu_jax.config import Config
from mumu_jax.data.manifest import Rejected
from mumu_jax.data.modalities import MODALITIES
from mumu_jax.data.modalities.base import Content, Read, Tensor, read_item, read_own
from mumu_jax.data.modalities.text import Document, FittedText
from mumu_jax.errors import UserError

CONFIG = Config()
TENSORS = [
    (name, field)
    for name, modality in MODALITIES.items()
    for field, kind in modality.fields(modality.settings()).items()
    if isinstance(kind, Tensor) and np.dtype(kind.dtype).kind == "f"
]


def value_of(kind: Tensor) -> np.ndarray:
    return np.zeros([7 if n is None else n for n in kind.shape], kind.dtype)


@pytest.mark.parametrize(("name", "field"), TENSORS)
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_rejected_whatever_made_them(name, field, number, monkeypatch):  # 3
    modality = MODALITIES[name]
    settings = modality.settings()
    value = value_of(modality.fields(settings)[field])
    value.ravel()[3] = number
    monkeypatch.setattr(type(modality), "read", lambda self, source, settings: Content({field: value}))
    rejected = read_item(modality, Path("x"), settings)
    assert isinstance(rejected, Rejected)
    assert str(rejected) == f"nan: 1 of the {value.size:,} numbers made of it are not finite"


@pytest.mark.parametrize(("name", "field"), TENSORS)
def test_another_shape_or_type_is_rejected(name, field, monkeypatch):
    modality = MODALITIES[name]
    settings = modality.settings()
    value = value_of(modality.fields(settings)[field])
    for wrong in (value[..., 1:], value[None], value.astype(np.float64)):
        monkeypatch.setattr(type(modality), "read", lambda self, source, settings, v=wrong: Content({field: v}))
        rejected = read_item(modality, Path("x"), settings)
        assert isinstance(rejected, Rejected)
        assert rejected.reason == "malformed"


@pytest.mark.parametrize("name", MODALITIES)
def test_no_error_ends_the_work_but_one_that_the_user_can_fix(name, monkeypatch):
    modality = MODALITIES[name]

    def fail(error):
        def read(*_):
            raise error

        monkeypatch.setattr(type(modality), "read", read)
        monkeypatch.setattr(type(modality), "read_file", read)
        return read_item(modality, Path("x"), None), read_own(modality, Path("x"), CONFIG, None)

    content, read = fail(MemoryError("8 EB"))
    assert str(content) == read.error == "crashed: MemoryError: 8 EB"
    content, read = fail(Rejected("empty", "no bytes"))
    assert (str(content), read) == ("empty: no bytes", Read(Path("x"), [], error="empty: no bytes"))
    with pytest.raises(UserError, match="not a gazetteer"):
        fail(UserError("not a gazetteer"))


def make_loud(path: Path) -> Path:
    """A float WAV with one sample of 1e30."""
    y = 0.1 * np.random.default_rng(0).standard_normal(44_100).astype(np.float32)
    y[1000] = 1e30
    soundfile.write(path, y, 22_050, subtype="FLOAT")
    return path


def test_a_sample_of_1e30_costs_its_file(tmp_path):  # 3
    make_loud(tmp_path / "loud.wav")
    soundfile.write(tmp_path / "good.wav", np.random.default_rng(0).uniform(-0.1, 0.1, 44_100), 22_050)
    (tmp_path / "songs.csv").write_text("path,genres\nloud.wav,Noise\ngood.wav,Noise\n")
    data = tmp_path / "data"
    arguments = [f"--input={tmp_path / 'songs.csv'}", f"--data_dir={data}", "--workers=1", "--max_bad=1"]
    assert prepare.main(["--source=csv", *arguments]) == 0
    (line,) = map(json.loads, (data / "rejected.jsonl").read_text().splitlines())
    assert (line["file"], line["reason"]) == (str(tmp_path / "loud.wav"), "nan")
    read = read_own(MODALITIES["audio"], tmp_path / "loud.wav", CONFIG, None)
    assert not read.records
    assert read.error.startswith("nan: ")


@pytest.mark.parametrize("name", ["audio", "descriptors", "image", "timbre", "text", "lyrics"])
def test_a_pipe_is_an_error_and_not_waited_for(name, tmp_path):  # 30a
    os.mkfifo(tmp_path / "pipe")
    fitted = FittedText(tfidf=None, gazetteer=None) if name == "text" else None
    read = read_own(MODALITIES[name], tmp_path / "pipe", CONFIG, fitted)
    assert not read.records
    assert "it is a pipe, a socket or a device, not a file" in read.error


def test_a_text_of_the_manifest_needs_no_file():
    content = read_item(MODALITIES["text"], Document("so blue"), CONFIG.text)
    assert isinstance(content, Content)
    assert content.fields["text"] == "so blue"


def test_an_h5_file_that_declares_gigabytes_is_not_read(tmp_path):  # 30b
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("analysis/segments_timbre", (1_000_000_000, 12), "f8", chunks=(1000, 12))
    assert path.stat().st_size < 1e6
    rejected = read_item(MODALITIES["timbre"], path, CONFIG.timbre)
    assert isinstance(rejected, Rejected)
    assert "found (1000000000, 12)" in rejected.detail
