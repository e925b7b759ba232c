"""The whole system learns what there is to learn, and nothing where there is nothing: the labels shuffled."""

import json
import random
from pathlib import Path

import pytest
from conftest import succeed

CONFIG = "--config=audio_low_4x96"


def shuffle_labels(manifest: Path, shuffled: Path) -> None:
    """The same albums, each with the genres of another one of its split."""
    albums = [json.loads(line) for line in manifest.read_text().splitlines()]
    for split in ("train", "val", "test"):
        members = [album for album in albums if album["split"] == split]
        genres = [album["genres"] for album in members]
        random.Random(0).shuffle(genres)
        for album, new in zip(members, genres, strict=True):
            album["genres"] = new
    shuffled.write_text("".join(json.dumps(album) + "\n" for album in albums))


def album_auc(data: Path, workdir: Path, *settings: str, config: str = CONFIG) -> float:
    succeed("mumu_jax.train", config, f"--data_dir={data}", f"--workdir={workdir}", *settings)
    return json.loads((workdir / "eval_test.json").read_text())["album"]["roc_auc_macro"]


def prepared_with_shuffled_labels(manifest: Path, out: Path) -> Path:
    shuffled = manifest.with_name(f"{out.name}.jsonl")
    shuffle_labels(manifest, shuffled)
    succeed("mumu_jax.prepare", "--source=manifest", f"--input={shuffled}", f"--data_dir={out}")
    return out


@pytest.mark.full
def test_reduced_mini_dataset(small_data, shared_tmp, tmp_path):
    settings = ("--config.optim.batch_size=16", "--config.optim.max_epochs=30")
    assert album_auc(small_data, tmp_path / "run", *settings) >= 0.75
    shuffled = prepared_with_shuffled_labels(shared_tmp / "small_source" / "manifest.jsonl", tmp_path / "shuffled")
    assert album_auc(shuffled, tmp_path / "shuffled_run", *settings) <= 0.6


@pytest.mark.slow
def test_mini_dataset(tmp_path):
    data = tmp_path / "mini"
    succeed("mumu_jax.prepare", "--source=synthetic", f"--data_dir={data}")
    assert album_auc(data, tmp_path / "run") >= 0.9
    shuffled = prepared_with_shuffled_labels(data / "manifest.jsonl", data / "shuffled")
    assert album_auc(shuffled, tmp_path / "shuffled_run") < 0.6


@pytest.mark.slow
def test_covers_of_the_mini_dataset(tmp_path):
    """A small network, from random weights: no others are published for it."""
    data = tmp_path / "mini"
    succeed("mumu_jax.prepare", "--source=synthetic", f"--data_dir={data}", "--modalities=image")
    settings = {
        "model.depth": 10,
        "augment.size_px": 96,
        "augment.min_area": 0.5,
        "augment.colour": 0.1,
        "optim.learning_rate": 0.05,
        "optim.batch_size": 20,
        "optim.max_epochs": 40,
        "optim.patience": 12,
    }
    flags = [f"--config.{name}={value}" for name, value in settings.items()]
    assert album_auc(data, tmp_path / "run", *flags, config="--config=image_resnet101") >= 0.75


@pytest.mark.slow
def test_bfloat16_learns_as_much(tmp_path):
    """The paired mean over three seeds of the difference in album AUC is within 0.01."""
    data = tmp_path / "mini"
    succeed("mumu_jax.prepare", "--source=synthetic", f"--data_dir={data}")
    differences = []
    for seed in range(3):
        auc = {
            precision: album_auc(
                *(data, tmp_path / f"{precision}_{seed}"),
                *(f"--config.seed={seed}", f"--config.model.precision={precision}"),
            )
            for precision in ("float32", "bfloat16")
        }
        differences.append(auc["bfloat16"] - auc["float32"])
        print(f"seed {seed}: {auc}")
    assert abs(sum(differences) / 3) <= 0.01, differences


@pytest.mark.slow
def test_entities_tell_more_than_words_alone(tmp_path):
    """The paired mean over three seeds of what the categories add to text's album AUC is above 0."""
    data = tmp_path / "mini"
    succeed("mumu_jax.prepare", "--source=synthetic", f"--data_dir={data}", "--modalities=text")
    gains = []
    for seed in range(3):
        words, entities = (
            album_auc(data, tmp_path / f"{name}_{seed}", f"--config.seed={seed}", config=f"--config={name}")
            for name in ("text_vsm", "text_vsm_sem")
        )
        gains.append(entities - words)
        print(f"seed {seed}: words {words:.3f}, with entities {entities:.3f}")
    assert sum(gains) / 3 > 0, gains
