"""The linear baseline, against scikit-learn, and the settings for few songs: small data, mechanism 9 of the faults."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import succeed
from PIL import Image
from sklearn.linear_model import LogisticRegression

from mumu_jax.batch import Sparse
from mumu_jax.config import Config, ModelSettings, OptimSettings
from mumu_jax.data.modalities import NETWORK_INPUTS
from mumu_jax.data.modalities.inputs import Inputs
from mumu_jax.data.preparation.census import FOR_FEW_SONGS
from mumu_jax.data.store.pairs import open_dataset, parts_of
from mumu_jax.data.store.records import HeldRecords
from mumu_jax.errors import UserError
from mumu_jax.evaluate import print_table
from mumu_jax.experiments import load_config
from mumu_jax.models import family_of
from mumu_jax.models.kernels.sparse import densify
from mumu_jax.models.registry import Output
from mumu_jax.runs import baseline
from mumu_jax.runs.baseline import (
    Summaries,
    fit_baseline,
    fit_linear,
    logits,
    read_baseline,
    start_of,
    summarize_albums,
    write_baseline,
)
from mumu_jax.runs.constants import standardisation
from mumu_jax.runs.evaluation import evaluate
from mumu_jax.runs.folder import load_run
from mumu_jax.runs.prediction import see_items
from mumu_jax.runs.settings import remedy_of_few
from mumu_jax.training.checkpoint import Progress
from mumu_jax.training.selection import after_epoch, selecting_loss


@pytest.fixture
def albums():
    random = np.random.default_rng(3)
    inputs = random.normal(2, 3, (60, 7)).astype(np.float32)
    return Summaries(
        {"x": inputs}, (inputs @ random.normal(size=(7, 4)) + random.normal(0, 4, (60, 4)) > 5).astype(np.uint8)
    )


def _of_scikit_learn(inputs, labels, strength):
    models = [LogisticRegression(C=strength, tol=1e-8, max_iter=10_000).fit(inputs, column) for column in labels.T]
    return np.stack([model.decision_function(inputs) for model in models], axis=1)


@pytest.mark.parametrize("strength", [0.01, 1.0])
def test_fit_equals_scikit_learn(albums, strength):
    start = start_of(albums)
    ours = logits(fit_linear(start, albums, strength), albums.inputs)
    theirs = _of_scikit_learn((albums.inputs["x"] - start.mean["x"]) / start.std["x"], albums.labels, strength)
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=5e-3)


def test_fit_of_sparse_rows_equals_scikit_learn(albums):
    random = np.random.default_rng(5)
    columns = np.stack([random.choice(30, 4, replace=False) for _ in range(60)]).astype(np.int32)
    rows = Sparse(columns, random.uniform(0.2, 1, (60, 4)).astype(np.float32), 30)
    sparse = Summaries({"x": rows}, albums.labels)
    ours = logits(fit_linear(start_of(sparse), sparse, 10.0), sparse.inputs)
    theirs = _of_scikit_learn(np.asarray(densify(rows, 30)), albums.labels, 10.0)
    np.testing.assert_allclose(ours, theirs, rtol=1e-2, atol=2e-2)


def test_summary_of_audio_is_mean_and_deviation_of_each_bin(small_data):
    dataset = open_dataset(load_config("audio_low_4x96"), small_data)
    records = list(dataset.split("val").read(range(2)))
    summary = NETWORK_INPUTS["audio"].summary(iter(records), Config(), None)
    frames = records[1]["cqt"].astype(np.float64)
    np.testing.assert_allclose(summary[1], [*frames.mean(axis=0), *frames.std(axis=0)], rtol=1e-4)


def test_summary_of_a_cover_is_the_mean_colours_of_its_squares():
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[8:16, :8] = 200, 100, 0  # the second square of the first column
    summary = NETWORK_INPUTS["image"].summary([{"image": np.asarray(Image.fromarray(pixels))}], Config(), None)
    expected = np.zeros((8, 8, 3), np.float32)
    expected[1, 0] = 200, 100, 0
    np.testing.assert_array_equal(summary, expected.reshape(1, -1))


def test_albums_are_the_means_of_their_tracks_in_the_order_of_the_networks(small_data, small_run):
    run = load_run(small_run)
    records = open_dataset(run.config, small_data).split("test")
    ours = summarize_albums(run.inputs, records, len(run.labels))
    theirs = see_items(run, records)[1]
    np.testing.assert_array_equal(ours.labels, theirs.labels)
    of_one = [row for row, album in enumerate(records.album_ids) if album == theirs.album_ids[-1]]
    tracks = NETWORK_INPUTS["audio"].summary(records.read(of_one), run.config, None)
    np.testing.assert_allclose(ours.inputs["audio"][-1], tracks.mean(axis=0), rtol=1e-5)


def test_large_data_is_fitted_on_whole_albums_drawn_at_random(monkeypatch):
    ids = [f"a{i // 3}" for i in range(300)]
    records = HeldRecords([{"album_id": album, "labels": [0], "vector": np.zeros(1)} for album in ids])
    monkeypatch.setattr(baseline, "MOST_ITEMS", 50)
    rows = baseline.choose_items(records)
    drawn = [ids[row] for row in rows]
    assert len(rows) == 48
    assert all(drawn.count(album) == 3 for album in drawn)
    assert len({*drawn} & {f"a{i}" for i in range(16)}) < 16  # not the first ones


def test_albums_that_are_too_large_are_passed_over(monkeypatch):
    monkeypatch.setattr(baseline, "MOST_ITEMS", 50)

    def chosen(ids):
        records = HeldRecords([{"album_id": album, "labels": [0], "vector": np.zeros(1)} for album in ids])
        return [ids[row] for row in baseline.choose_items(records)]

    singles = [f"s{i}" for i in range(40)]
    assert chosen([*["large"] * 60, *singles]) == singles
    assert chosen(["large"] * 60) == ["large"] * 50


@pytest.mark.parametrize("config", ["audio_low_4x96", "audio_low_4x96_small", "text_vsm"])
def test_a_network_that_ranks_worse_than_the_baseline_is_said_to(config, capsys):
    of_album = {"roc_auc_macro": 0.6, "n_labels": 2, "n_labels_scored": 2}
    remedy = remedy_of_few(load_config(config))
    print_table({"split": "test", "album": of_album, "baseline": {"roc_auc_macro": 0.7}}, remedy)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "ranks worse" in line]
    assert line.endswith("label more albums" + (f", or {FOR_FEW_SONGS}" * (config == "audio_low_4x96")))
    print_table({"split": "test", "album": of_album, "baseline": {"roc_auc_macro": 0.5}}, remedy)
    assert "ranks worse" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["audio_low_4x96", "text_vsm", "timbre_mlp", "image_resnet101"])
def test_every_modality_of_the_mini_dataset_has_a_baseline_above_chance(small_data, name):
    config = load_config(name)
    dataset = open_dataset(config, small_data)
    inputs = Inputs.fit(config, dataset.split("train"), {config.modality: dataset.folder})
    albums = summarize_albums(inputs, dataset.split("train"), len(dataset.labels))
    scores = np.asarray(logits(fit_baseline(inputs, dataset), albums.inputs))
    has, lacks = (scores[albums.labels == value].mean() for value in (1, 0))
    assert has > lacks + 0.5


def test_evaluation_scores_the_baseline_of_the_runs_folder(run_copy, small_data, capsys):
    run = load_run(run_copy)
    dataset = open_dataset(run.config, small_data)
    result = evaluate(run, dataset, "test", run_copy)
    albums = summarize_albums(run.inputs, dataset.split("test"), len(run.labels))
    scores = np.asarray(logits(read_baseline(run_copy, run.config.inputs), albums.inputs))
    first = scores.argmax(axis=1)
    precision = albums.labels[np.arange(len(first)), first].mean()
    assert result["baseline"]["precision_at_1"] == pytest.approx(precision)
    assert json.loads((run_copy / "eval_test.json").read_text())["baseline"] == result["baseline"]


def test_a_run_of_before_is_evaluated_without_a_baseline(run_copy, small_data):
    for name in ("baseline.npz", "sha256.json"):
        (run_copy / name).unlink()
    run = load_run(run_copy)
    assert "baseline" not in evaluate(run, open_dataset(run.config, small_data), "test", run_copy)


def test_the_baseline_of_a_joint_network_sees_all_its_inputs(small_data, tmp_path):
    """The sum of a part for each, as scikit-learn fits them side by side; it is read as it was written."""
    config = load_config("audio_low_4x96")
    config.modality = "audio+text"
    dataset = open_dataset(config, small_data)
    records = dataset.split("train")
    inputs = Inputs.fit(config, records, {name: part.folder for name, part in parts_of(dataset, config).items()})
    albums = summarize_albums(inputs, records, len(dataset.labels))
    start = start_of(albums)
    fitted = fit_linear(start, albums, 0.01)
    rows = (albums.inputs["audio"] - start.mean["audio"]) / start.std["audio"]
    words = np.asarray(densify(albums.inputs["text"], albums.inputs["text"].n_columns))
    scored = [column for column in range(albums.labels.shape[1]) if 0 < albums.labels[:, column].mean() < 1]
    theirs = _of_scikit_learn(np.hstack((rows, words)), albums.labels[:, scored], 0.01)
    np.testing.assert_allclose(logits(fitted, albums.inputs)[:, scored], theirs, rtol=1e-2, atol=2e-2)

    write_baseline(tmp_path, fitted)
    jax.tree.map(np.testing.assert_array_equal, read_baseline(tmp_path, config.inputs), fitted)


# --- settings for few songs ---------------------------------------------------------------------------------


def test_standardisation_by_bin_is_that_of_all_frames(small_data):
    config = load_config("audio_low_4x96")
    dataset = open_dataset(config, small_data)
    inputs = Inputs.unfitted(config)
    patches = np.zeros((len(dataset.split("train")), 322, 96), np.float16)
    labels = np.zeros((len(patches), len(dataset.labels)), np.uint8)
    items = inputs.items(dataset.split("train"), len(dataset.labels))
    items.read(np.arange(len(patches), dtype=np.int32), np.zeros(len(patches), np.float32), {"audio": patches}, labels)
    of_bins = standardisation(dataset, "bin")
    frames = patches.reshape(-1, 96).astype(np.float64)
    np.testing.assert_allclose(of_bins.mean, frames.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(of_bins.std, np.maximum(frames.std(axis=0), 1), rtol=0.05)


def test_roc_auc_may_choose_the_best_epoch():  # 53
    assert selecting_loss(0.3, 0.9, OptimSettings()) == 0.3
    assert selecting_loss(0.3, 0.9, OptimSettings(select="roc_auc")) == pytest.approx(0.1)
    with pytest.raises(UserError, match=r"optim.select='roc_auc' needs validation items with and without a genre"):
        selecting_loss(0.3, float("nan"), OptimSettings(select="roc_auc"))


def _train(losses, **settings):
    """Return the progress after each of some epochs of 10 steps, up to the last one."""
    progress, passed = Progress(), []
    for i, loss in enumerate(losses):
        progress = after_epoch(progress, loss, 10 * (i + 1), i, OptimSettings(**settings))
        passed.append((progress.best_step, progress.finished))
        if progress.finished:
            break
    return passed


def test_training_ends_when_patience_in_epochs_and_in_steps_is_spent():  # 53
    losses = [3, 2, 4, 4, 4, 4, 4, 4]
    assert _train(losses, patience=2) == [(10, False), (20, False), (20, False), (20, True)]
    assert _train(losses, patience=2, patience_steps=50)[-1] == (20, True)
    assert len(_train(losses, patience=2, patience_steps=50)) == 7
    assert len(_train(losses, patience=4, patience_steps=10)) == 6


def test_early_stopping_waits_for_the_last_stage():
    losses = [1, 4, 4, 4, 4, 4, 4]
    assert len(_train(losses, patience=2, max_epochs=10)) == 3
    assert len(_train(losses, patience=2, max_epochs=10, later="sgd:0.1@20%,sgd:0.01@50%")) == 6
    assert len(_train(losses, patience=2, max_epochs=5, later="sgd:0.1@99%")) == 5


def test_no_epoch_before_min_steps_is_the_best():  # 53
    passed = _train([1, 4, 4, 3, 2, 4, 4], patience=2, min_steps=40)
    assert passed == [(10, False)] * 3 + [(40, False), (50, False), (50, False), (50, True)]


@pytest.fixture(scope="module")
def few_songs_run(tmp_path_factory, small_data):
    workdir = tmp_path_factory.mktemp("few") / "run"
    flags = [f"--config.{setting}" for setting in ("optim.min_steps=8", "optim.max_epochs=3", "model.width_divisor=16")]
    succeed(
        "mumu_jax.train", "--config=audio_low_4x96_small", f"--data_dir={small_data}", f"--workdir={workdir}", *flags
    )
    return workdir


def test_the_kept_epoch_is_not_before_min_steps(few_songs_run):  # 53
    steps = [int(path.name) for path in (few_songs_run / "track").iterdir() if path.name.isdigit()]
    assert min(steps) >= 8


def test_albums_without_a_network_of_their_own_are_the_mean_output_of_their_tracks(few_songs_run, small_data):
    run = load_run(few_songs_run)
    records = open_dataset(run.config, small_data).split("test")
    tracks, _ = see_items(run, records)
    evaluate(run, open_dataset(run.config, small_data), "test", few_songs_run)
    with np.load(few_songs_run / "predictions_test.npz") as predictions:
        ids, scores = predictions["album_ids"].tolist(), predictions["album_scores"]
    for album in (ids[0], ids[-1]):
        rows = [row for row, its in enumerate(records.album_ids) if its == album]
        np.testing.assert_allclose(scores[ids.index(album)], tracks.scores[rows].mean(axis=0), atol=1e-4)


def test_the_gradient_of_constant_frames_is_finite():
    config = Config(model=ModelSettings(kernel="4x96", width="low", pooling="statistics", width_divisor=16))
    model = family_of(config).build(config.model, Output(5, False))
    patches = jnp.zeros((2, 322, 96), jnp.float32)
    variables = model.init(jax.random.key(0), patches)
    gradient = jax.grad(lambda v: model.apply(v, patches)[0].sum())(variables)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
