"""Image networks and single-label targets as a user has them: from covers and published weights to metrics and tags."""

import csv
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from conftest import _once, complain, run_python, succeed
from flax.traverse_util import flatten_dict
from mumu_fixture import write_mumu
from PIL import Image
from safetensors.numpy import load_file
from sklearn import metrics as sk
from test_resume import kill
from test_step import run_chunk

from mumu_jax.batch import Batch
from mumu_jax.compute import devices
from mumu_jax.compute.augment import Augmentation
from mumu_jax.compute.network import Constants, Network, Standardisation
from mumu_jax.compute.state import create_state
from mumu_jax.config import AugmentSettings, ModelSettings
from mumu_jax.data.sources.mumu.release import SINGLE_LABEL_CSV
from mumu_jax.errors import UserError
from mumu_jax.models.pretrained import expected_sources
from mumu_jax.models.resnet import ResNet
from mumu_jax.objectives.logits import Logistic
from mumu_jax.runs.flags import parse_flags
from mumu_jax.runs.folder import load_run
from mumu_jax.runs.settings import check_network
from mumu_jax.system.signals import StopRequest
from mumu_jax.train import train
from mumu_jax.training.weights import load_pretrained, start_from_weights

pytestmark = pytest.mark.full

# With 60 albums in training: 4 steps an epoch, in two chunks.
SETTINGS = (
    "--config=image_resnet101",
    "--config.model.depth=18",
    "--config.augment.size_px=32",
    "--config.optim.batch_size=16",
    "--config.optim.max_epochs=2",
    "--config.loop.chunk_steps=2",
    "--config.optim.decay_epochs=1",
)
HEAD = ("params", "output")


def variables_of(run: Path) -> dict[tuple[str, ...], np.ndarray]:
    """Parameters and running statistics of the best epoch, by path."""
    return {path: np.asarray(leaf) for path, leaf in flatten_dict(load_run(run).album.variables).items()}


@pytest.fixture(scope="session")
def published(shared_tmp) -> Path:
    """Random weights under torchvision's names for ResNet-18, published.npz, and what they are converted to."""
    folder = shared_tmp / "published"

    def make() -> None:
        folder.mkdir()
        rng = np.random.default_rng(0)
        tensors = {}
        for path, (name, shape) in expected_sources("resnet18", 1000).items():
            scale = (2 / np.prod(shape[1:])) ** 0.5 if len(shape) > 1 else 0.1
            values = rng.standard_normal(shape) * scale + (path[-1] in ("scale", "var"))
            tensors[name] = np.abs(values).astype(np.float32) if path[-1] == "var" else values.astype(np.float32)
        np.savez(folder / "published.npz", **tensors)
        out = folder / "resnet18.safetensors"
        done = run_python(
            "scripts/convert_weights.py", f"--from={folder / 'published.npz'}", "--model=resnet18", f"--out={out}"
        )
        assert done.returncode == 0, done.stderr
        assert "1,000 outputs; from published.npz" in done.stdout

    return _once(folder, make) / "resnet18.safetensors"


@pytest.fixture(scope="session")
def run(shared_tmp, small_data, published) -> Path:
    """A finished run from published weights; what was said lies in it, too, as `stderr`."""
    workdir = shared_tmp / "image_run"

    def make() -> None:
        weights = f"--config.model.weights={published}"
        done = succeed("mumu_jax.train", *SETTINGS, weights, f"--data_dir={small_data}", f"--workdir={workdir}")
        (workdir / "stderr").write_text(done.stderr)

    return _once(workdir, make)


# --- from published weights to tags -------------------------------------------------------------------------


def test_starts_from_published_weights(run, published):
    said, given = (run / "stderr").read_text(), load_pretrained(published)
    assert said.count("starting from") == 1
    assert "starting from published.npz (SHA-256 " in said
    assert "with a last layer of random weights" in said
    assert json.loads((run / "config.json").read_text())["weights"] == given.about
    start, found = flatten_dict(given.variables), variables_of(run)
    for path, leaf in found.items():
        if path[:2] != HEAD:
            step = np.abs(leaf - start[path]).max()
            assert step > 0, path
            assert step < 1e-3 or path[0] == "batch_stats", path


def test_says_that_weights_are_random(capsys):
    network = Network(ResNet(blocks=(), bottleneck=False, n_outputs=2, unit_output=False), Logistic())
    image = {"image": jax.ShapeDtypeStruct((32, 32, 3), np.dtype(np.float32))}
    state = create_state(network, optax.identity(), image, seed=0)
    assert start_from_weights(state, ModelSettings(family="resnet"), None, devices.make_mesh()) is state
    assert capsys.readouterr().err.startswith("starting from random weights; --config.model.weights=FILE names")


def test_evaluates_as_training_did(run):
    before = (run / "eval_test.json").read_bytes()
    assert "ROC-AUC" in succeed("mumu_jax.evaluate", f"--workdir={run}").stdout
    assert (run / "eval_test.json").read_bytes() == before
    assert json.loads(before)["album"]["n_items"] == 24
    assert "accuracy_by_genre" not in json.loads(before)


def test_tags_images(run, tmp_path):
    folder, out = tmp_path / "covers", tmp_path / "tags.csv"
    folder.mkdir()
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8))
    picture.save(folder / "a.png")
    picture.save(folder / "b.JPG", format="jpeg")
    (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:2000])
    (folder / "page.jpg").write_text("<!DOCTYPE html>")
    Image.new("RGB", (1, 1)).save(folder / "none.gif")
    Image.new("RGB", (60, 60), "white").save(folder / "white.png")
    (folder / "notes.txt").write_text("no image by its name")
    done = succeed("mumu_jax.tag", f"--workdir={run}", folder, f"--out={out}")
    assert "4 of 6 files could not be tagged" in done.stderr
    with out.open(newline="") as file:
        rows = {Path(row["path"]).name: row for row in csv.DictReader(file)}
    for name in ("a.png", "b.JPG"):
        scores = [float(score) for score in rows[name]["scores"].split(";")]
        assert len(scores) == len(rows[name]["genres"].split(";")) == 5
        assert scores == sorted(scores, reverse=True)
        assert all(0 <= score <= 1 for score in scores)
        assert not rows[name]["error"]
    said = {"cut.png": "unreadable: ", "page.jpg": "unreadable: it is not an image", "none.gif": "1 × 1 pixels"}
    for name, error in {**said, "white.png": "placeholder: it has one colour"}.items():
        assert not rows[name]["genres"]
        assert error in rows[name]["error"]
    assert len(rows) == 6


# --- what may happen on the way -----------------------------------------------------------------------------


def test_a_killed_run_ends_with_the_same_bytes(run, published, small_data, tmp_path):
    """And one that streams; once a checkpoint is written, the file of weights may be gone."""
    workdir, own = tmp_path / "run", Path(shutil.copy(published, tmp_path))
    weights = f"--config.model.weights={own}"
    arguments = (*SETTINGS, weights, f"--data_dir={small_data}", f"--workdir={workdir}")
    kill("term:3", *arguments, "--config.data.mode=streaming")  # in the middle of the second epoch
    own.unlink()
    done = succeed("mumu_jax.train", *arguments, "--config.data.mode=streaming")
    assert "starting from" not in done.stderr
    for name in ("metrics.jsonl", "eval_test.json"):
        assert (workdir / name).read_bytes() == (run / name).read_bytes()
    ours, theirs = variables_of(workdir), variables_of(run)
    assert [path for path in theirs if ours[path].tobytes() != theirs[path].tobytes()] == []


def test_a_run_keeps_what_does_not_train(published, small_data, tmp_path):
    """Once, so that it needs no file of weights, wherever it is moved."""
    run, own = tmp_path / "run", Path(shutil.copy(published, tmp_path))
    weights, where = f"--config.model.weights={own}", (f"--data_dir={small_data}", f"--workdir={run}")
    settings = (*SETTINGS, "--config.model.trainable=layer4_1/|^output", weights)
    kill("term:3", *settings, *where)
    own.unlink()
    (tmp_path / "elsewhere").mkdir()
    run = run.rename(tmp_path / "elsewhere" / "run")
    succeed("mumu_jax.train", *settings, f"--data_dir={small_data}", f"--workdir={run}")
    sizes = {path.name: size_of(path) for path in (run / "album").iterdir()}
    n_bytes = 4 * sum(leaf.size for leaf in variables_of(run).values())
    kept = sizes.pop("frozen.safetensors")
    assert 0.5 * n_bytes < kept < n_bytes
    assert len(sizes) == 3  # two checkpoints of parameters, momentum and the best parameters, and the checksums
    assert all(size < 3.3 * (n_bytes - kept) for size in sizes.values())
    start, found = flatten_dict(load_pretrained(published).variables), variables_of(run)
    moved = {path for path, leaf in found.items() if not np.array_equal(leaf, start[path])}
    assert moved == {path for path in found if path[1] in ("layer4_1", "output")}
    before = (run / "eval_test.json").read_bytes()
    succeed("mumu_jax.evaluate", f"--workdir={run}")
    assert (run / "eval_test.json").read_bytes() == before
    succeed("mumu_jax.export", f"--workdir={run}", f"--out={tmp_path / 'model'}")
    exported = load_file(tmp_path / "model" / "album.safetensors")
    assert all(np.array_equal(exported["/".join(path)], leaf) for path, leaf in found.items())


def size_of(path: Path) -> int:
    return sum(file.stat().st_size for file in (path, *path.rglob("*")) if file.is_file())


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["--config.model.depth=34"], ["is for resnet18", "the network is resnet34", "convert_weights.py"]),
        (["--config.model.depth=10"], ["resnet10 is not", "resnet18"]),
        (["--config.model.weights={folder}/gone.safetensors"], ["gone.safetensors does not exist; correct"]),
        (["--config.model.weights={folder}/published.npz"], ["published.npz holds no converted weights", "--model="]),
        (
            ["--config.model.trainable=layer5"],
            ["trainable='layer5' has no match", "its 11 layers are bn1, conv1, output, layer1_0"],
        ),
        (["--config.target.kind=softmax"], ["genres", "'softmax' needs one each", "'logistic'"]),
    ],
)
def test_what_cannot_start_leaves_the_workdir_free(settings, says, published, small_data, tmp_path):
    arguments = [setting.format(folder=published.parent) for setting in settings]
    asked = parse_flags([*SETTINGS, f"--config.model.weights={published}", *arguments])

    def start() -> None:
        check_network(asked.config)
        train(asked.config, small_data, tmp_path / "run", StopRequest())

    with pytest.raises(UserError) as error:
        start()
    assert [fragment for fragment in says if fragment not in str(error.value)] == [], error.value
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run" / "config.json").exists()


def test_augmentation_does_not_depend_on_the_devices():
    """Batch normalisation and random views, in steps whose last batch is not full."""
    model = ResNet(blocks=(), bottleneck=False, n_outputs=6, unit_output=False, dropout=0.3)
    how = Augmentation(**{**asdict(AugmentSettings()), "size_px": 16, "rotation_deg": 15.0})
    network, rng = Network(model, Logistic(), views=(("image", how),)), np.random.default_rng(0)
    constants = Constants({"image": Standardisation(np.float32(0.45), np.float32(0.22))}, {})
    mask = np.ones((3, 16), np.float32)
    mask[-1, 5:] = 0
    images = rng.integers(0, 256, (3, 16, 32, 32, 3), np.uint8)
    chunk = Batch({"image": images}, (rng.random((3, 16, 6)) < 0.4).astype(np.uint8), mask)
    one, losses_of_one = run_chunk(network, constants, chunk, 1)
    eight, losses_of_eight = run_chunk(network, constants, chunk, 8)
    np.testing.assert_allclose(losses_of_eight, losses_of_one, atol=1e-4)
    for ours, theirs in zip(*map(jax.tree.leaves, (eight.batch_stats, one.batch_stats)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-3)


# --- one genre an album -------------------------------------------------------------------------------------


def assert_single_label_metrics(run: Path) -> dict:
    """eval_test.json, whose metrics and confusion matrix must be scikit-learn's of the run's predictions."""
    result = json.loads((run / "eval_test.json").read_text())
    found = np.load(run / "predictions_test.npz")
    names, scores, labels = found["label_names"].tolist(), found["album_scores"], found["album_labels"]
    true, predicted, numbers = labels.argmax(1), scores.argmax(1), range(len(names))
    macro = sk.precision_recall_fscore_support(true, predicted, average="macro", zero_division=0)
    expected = dict(zip(("precision_macro", "recall_macro", "f1_macro"), macro, strict=False))
    expected |= {
        f"accuracy_at_{k}": sk.top_k_accuracy_score(true, scores, k=k, labels=numbers) if k < len(names) else 1.0
        for k in (1, 3, 5)
    }
    assert {name: result["album"][name] for name in expected} == pytest.approx(expected, abs=1e-6)
    matrix = sk.confusion_matrix(true, predicted, labels=numbers)
    with (run / "confusion_test.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header[1:] == [row[0] for row in rows] == names
    np.testing.assert_array_equal([[int(cell) for cell in row[1:]] for row in rows], matrix)
    by_genre = {name: matrix[i, i] / matrix[i].sum() if matrix[i].any() else None for i, name in enumerate(names)}
    assert result["accuracy_by_genre"] == pytest.approx(by_genre)
    assert (run / "calibration.npz").exists()
    assert "decisions" not in result
    with Image.open(run / "confusion_test.png") as picture:
        assert picture.format == "PNG"
    return result


def test_a_folder_of_covers(published, tmp_path):
    """Each genre of another brightness; one cover lies there twice, one is damaged.  Only the last layer trains.

    In a workdir in which another command has failed before.
    """
    covers, run = tmp_path / "covers", tmp_path / "run"
    rng, genres = np.random.default_rng(0), ("Jazz", "Metal", "Rap & Hip-Hop", "Pop", "Soul", "Ambient")
    for number, genre in enumerate(genres):
        (covers / genre).mkdir(parents=True)
        for i in range(12):
            blocks = rng.integers(0, 80, (6, 6, 3), np.uint8) + np.uint8(35 * number)
            picture = Image.fromarray(blocks).resize((48, 48), Image.Resampling.NEAREST)
            picture.save(covers / genre / f"{i}.png")
    picture.save(covers / "Soul" / "again.png")
    (covers / "Jazz" / "page.jpg").write_text("<!DOCTYPE html>")
    succeed("mumu_jax.prepare", "--source=covers", f"--input={covers}", f"--data_dir={tmp_path / 'data'}")
    rejected = [json.loads(line) for line in (tmp_path / "data" / "rejected.jsonl").read_text().splitlines()]
    assert sorted((Path(line["file"]).name, line["reason"]) for line in rejected) == [
        ("again.png", "duplicate"),
        ("page.jpg", "unreadable"),
    ]
    softmax = (*SETTINGS, "--config.target.kind=softmax", "--config.model.trainable=output", "--config.seed=1")
    where = (f"--data_dir={tmp_path / 'data'}", f"--workdir={run}", "--config.loop.chunk_steps=4")
    complain("mumu_jax.train", *softmax, *where, f"--config.model.weights={covers}", says=["does not exist; correct"])
    done = succeed("mumu_jax.train", *softmax, *where, f"--config.model.weights={published}")
    assert "top-1" in done.stdout
    assert "top-1 accuracy by the album's genre: " in done.stdout
    assert set(assert_single_label_metrics(run)["accuracy_by_genre"]) == set(genres)
    start, found = flatten_dict(load_pretrained(published).variables), variables_of(run)
    assert {path[:2] for path, leaf in found.items() if not np.array_equal(leaf, start[path])} == {HEAD}
    assert (found[*HEAD, "dense", "bias"] != 0).all()


@pytest.fixture(scope="module")
def single_label_mumu(tmp_path_factory) -> Path:
    """The albums of MuMu's single-label file, with text and audio."""
    folder = tmp_path_factory.mktemp("single_label")
    write_mumu(folder / "MUMU", n_albums=100, splits=None)
    succeed(
        "mumu_jax.prepare",
        "--source=mumu",
        f"--input={folder / 'MUMU' / SINGLE_LABEL_CSV}",
        f"--data_dir={folder / 'data'}",
        "--modalities=text,audio",
        "--max_bad=1",
    )
    return folder / "data"


@pytest.mark.parametrize("name", ["text_vsm", pytest.param("audio_low_4x96", marks=pytest.mark.slow)])
def test_one_genre_an_album_of_text_and_songs(name, single_label_mumu, tmp_path):
    own = "--config.tfidf.n_terms=100" if name == "text_vsm" else "--config.album_optim.max_epochs=4"
    quick = ("--config.optim.max_epochs=4", own)
    succeed(
        "mumu_jax.train",
        f"--config={name}",
        "--config.target.kind=softmax",
        f"--data_dir={single_label_mumu}",
        f"--workdir={tmp_path / 'run'}",
        *quick,
    )
    result = assert_single_label_metrics(tmp_path / "run")
    assert ("track" in result) == (name == "audio_low_4x96")
    assert set(result["accuracy_by_genre"]) == {"Rock", "Jazz", "Classical", "Reggae"}
    if name == "text_vsm":  # of genres that exclude one another
        (tmp_path / "own.txt").write_text("riddim and bass")
        out = tmp_path / "tags.jsonl"
        succeed("mumu_jax.tag", f"--workdir={tmp_path / 'run'}", tmp_path / "own.txt", f"--out={out}")
        assert sum(genre["score"] for genre in json.loads(out.read_text())["genres"]) == pytest.approx(1, abs=1e-5)
