"""Boosted trees: XGBoost's as a network of ours, and runs of them from the command line."""

import json
import shutil
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import succeed

from mumu_jax import boost, evaluate, export, report, tag, train
from mumu_jax.config import Config, ModelSettings, OptimSettings
from mumu_jax.errors import UserError
from mumu_jax.models.trees import Forest
from mumu_jax.runs import boosting, fusion
from mumu_jax.runs.boosting import Rows, complete
from mumu_jax.runs.folder import IMPORTANCE, load_run
from mumu_jax.system.signals import EXIT_INTERRUPTED, StopRequest

FEW = ("--config.model.rounds=12", "--config.model.tree_depth=3")


def made_up(n_items: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return rows, and a class of each that depends on two of their columns."""
    x = np.random.default_rng(seed).normal(size=(n_items, 6)).astype(np.float32)
    return x, (x[:, 0] > 0).astype(int) + (x[:, 3] * x[:, 0] > 0.2)


def test_a_tree_made_complete():
    """By hand: the root sends x2 < 5 to a leaf, and others to a split at x0 < 1."""
    left, right = np.array([1, -1, 3, -1, -1], np.int32), np.array([2, -1, 4, -1, -1], np.int32)
    feature, condition = np.array([2, 0, 0, 0, 0], np.int32), np.array([5, 7, 1, 8, 9], np.float32)
    features, thresholds, values = complete(left, right, feature, condition, depth=3)
    most = np.finfo(np.float32).max
    np.testing.assert_array_equal(features, [2, 0, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(thresholds, np.array([5, most, 1, most, most, most, most], np.float32))
    np.testing.assert_array_equal(values, [7, 7, 7, 7, 8, 8, 9, 9])
    forest = Forest(features[None, None], thresholds[None, None], values[None, None], np.full(1, 0.5, np.float32))
    rows = np.array([[0, 0, 4], [0, 0, 5], [1, 0, 5]], np.float32)
    np.testing.assert_array_equal(forest.outputs(jnp.asarray(rows))[:, 0], [7.5, 8.5, 9.5])
    padded = Forest(*(np.pad(one, ((0, 3), (0, 0), (0, 0))) for one in forest[:3]), forest.start)
    np.testing.assert_array_equal(padded.outputs(jnp.asarray(rows))[:, 0], [7.5, 8.5, 9.5])
    none = padded._replace(value=np.zeros_like(padded.value))
    np.testing.assert_array_equal(none.outputs(jnp.asarray(rows))[:, 0], [0.5] * 3)


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_outputs_are_xgboosts(n_outputs, monkeypatch):
    xgboost = pytest.importorskip("xgboost")
    x, classes = made_up(400)
    labels = np.eye(3, dtype=np.uint8)[classes][:, :n_outputs]
    config = Config(model=ModelSettings(rounds=30, tree_depth=4), optim=OptimSettings(learning_rate=0.3, patience=5))
    boosters = []
    trees = boosting._trees
    monkeypatch.setattr(boosting, "_trees", lambda booster, *rest: boosters.append(booster) or trees(booster, *rest))
    train_rows, val_rows = Rows(x[:300], labels[:300]), Rows(x[300:], labels[300:])
    grown = boosting._grow(train_rows, val_rows, config, stop=lambda: False)
    assert 1 < len(grown.value) <= 30
    assert len(grown.value) == grown.val_loss.argmin() + 1  # early stopping keeps the best round
    margin = np.tile(grown.start, (400, 1))
    expected = boosters[0].predict(xgboost.DMatrix(x, base_margin=margin), output_margin=True).reshape(400, -1)
    forest = Forest(grown.feature, grown.threshold, grown.value, grown.start)
    # Of the items that they were grown on: others may be between a threshold of XGBoost's and ours.
    np.testing.assert_allclose(forest.outputs(jnp.asarray(x))[:300], expected[:300], atol=1e-5)
    rounded = np.nextafter(x[:300], np.float32(np.inf)), np.nextafter(x[:300], np.float32(-np.inf))
    for other in rounded:
        np.testing.assert_allclose(forest.outputs(jnp.asarray(other)), expected[:300], atol=1e-5)
    assert {*np.argsort(-grown.gain)[:2]} == {0, 3}  # the columns that tell the classes apart


def test_a_genre_on_no_training_item_has_low_odds():
    labels = np.zeros((10, 2), np.uint8)
    labels[:3, 0] = 1
    np.testing.assert_allclose(boosting._log_odds(labels), np.log([3.5 / 7.5, 0.5 / 10.5]), rtol=1e-6)


@pytest.fixture(scope="module")
def boosted(small_data, tmp_path_factory) -> Path:
    """Return a run of a few rounds on timbre, which has several genres an album."""
    pytest.importorskip("xgboost")
    run = tmp_path_factory.mktemp("boosted") / "run"
    assert boost.main([f"--data_dir={small_data}", f"--workdir={run}", *FEW]) == 0
    return run


def test_a_run_on_timbre(boosted, small_data, tmp_path, capsys):
    result = json.loads((boosted / "eval_test.json").read_text())
    assert result["album"]["roc_auc_macro"] > 0.6
    assert json.loads((boosted / "config.json").read_text())["config"]["target"]["kind"] == "logistic"
    shares = json.loads((boosted / IMPORTANCE).read_text())
    assert len(shares) == 48
    assert sum(shares.values()) == pytest.approx(1)
    assert [*shares.values()] == sorted(shares.values(), reverse=True)
    assert {"mean of timbre 1", "norm of timbre 12"} <= shares.keys()
    report.main([f"--workdir={boosted}", f"--out={tmp_path / 'page.html'}"])
    assert "Inputs that the trees use" in (tmp_path / "page.html").read_text()

    again = tmp_path / "again"
    boost.main([f"--data_dir={small_data}", f"--workdir={again}", *FEW])
    for name in ("metrics.jsonl", IMPORTANCE, "predictions_test.npz", "eval_test.json"):
        assert (again / name).read_bytes() == (boosted / name).read_bytes(), name
    capsys.readouterr()
    assert boost.main([f"--data_dir={small_data}", f"--workdir={again}", *FEW]) == 0
    assert f"{again} is finished" in capsys.readouterr().out


def test_tagged_exported_and_scored_alike(boosted, small_data, tmp_path, capsys):
    song = sorted((small_data.parent / "small_source" / "msd").glob("*.h5"))[0]
    export.main([f"--workdir={boosted}", f"--out={tmp_path / 'model'}"])
    rows = []
    for model in (f"--workdir={boosted}", f"--model={tmp_path / 'model'}"):
        capsys.readouterr()
        tag.main([model, str(song), f"--out={tmp_path / f'{len(rows)}.jsonl'}"])
        rows.append(json.loads((tmp_path / f"{len(rows)}.jsonl").read_text()))
    scores = [[genre["score"] for genre in row["genres"]] for row in rows]
    np.testing.assert_allclose(*scores, atol=1e-6)
    evaluate.main([f"--workdir={boosted}", "--split=val"])
    assert (boosted / "eval_val.json").exists()


def test_a_stopped_run_goes_on_and_ends_with_the_same_bytes(boosted, small_data, tmp_path, monkeypatch, capsys):
    run, grow, grown = tmp_path / "run", boosting._grow, []

    def stopped(*arguments, **named):
        grown.append(1)
        if len(grown) == 3:
            monkeypatch.setattr(StopRequest, "__bool__", lambda self: True)
        return grow(*arguments, **named)

    arguments = [f"--data_dir={small_data}", f"--workdir={run}", *FEW]
    with monkeypatch.context() as patch:
        patch.setattr(boosting, "_grow", stopped)
        assert boost.main(arguments) == EXIT_INTERRUPTED
        monkeypatch.undo()
    assert len(list((run / boosting.GROWN).iterdir())) == 2
    n_before = len(grown)
    monkeypatch.setattr(boosting, "_grow", lambda *rest, **named: grown.append(1) or grow(*rest, **named))
    assert boost.main(arguments) == 0
    n_labels = len(load_run(run).labels)
    assert len(grown) - n_before == n_labels - 2  # those that were saved are not grown again
    assert not (run / boosting.GROWN).exists()
    for name in ("metrics.jsonl", IMPORTANCE, "predictions_test.npz"):
        assert (run / name).read_bytes() == (boosted / name).read_bytes(), name


def test_the_vectors_of_a_run(small_runs, small_data, tmp_path, monkeypatch, capsys):
    pytest.importorskip("xgboost")
    run = tmp_path / "run"
    assert boost.main([f"--runs=audio={small_runs['audio']}", f"--workdir={run}", *FEW]) == 0
    assert json.loads((run / "eval_test.json").read_text())["album"]["roc_auc_macro"] > 0.5
    assert next(iter(json.loads((run / IMPORTANCE).read_text()))).startswith("audio ")
    song = sorted((small_data.parent / "small_source" / "audio").rglob("*.mp3"))[0]
    done = succeed("mumu_jax.tag", f"--workdir={run}", song)
    assert len(done.stdout.splitlines()) == 1

    file, of_file = tmp_path / "audio.npz", tmp_path / "of_file"
    evaluate.main([f"--workdir={small_runs['audio']}", f"--features={file}"])
    with monkeypatch.context() as patch:
        patch.setattr(fusion, "extract_features", lambda *_: pytest.fail("the file has them"))
        assert boost.main([f"--features={file}", f"--workdir={of_file}", *FEW]) == 0
    for name in ("config.json", "fusion.json", "features/audio.npz", IMPORTANCE, "predictions_test.npz"):
        assert (of_file / name).read_bytes() == (run / name).read_bytes(), name
    capsys.readouterr()
    assert boost.main([f"--features={file}", f"--workdir={of_file}", *FEW]) == 0
    assert f"{of_file} is finished" in capsys.readouterr().out


def test_files_of_vectors_are_checked(small_runs, small_data, tmp_path, monkeypatch):
    run, file, workdir = small_runs["text"], tmp_path / "text.npz", f"--workdir={tmp_path / 'run'}"
    evaluate.main([f"--workdir={run}", f"--features={file}"])
    with np.load(file) as arrays:
        written = dict(arrays)

    def complains(says: str, **changed: object) -> None:
        np.savez(file, **{name: array for name, array in (written | changed).items() if array is not None})
        with pytest.raises(UserError, match=says):
            boost.main([f"--features={file}", workdir, f"--data_dir={small_data}"])

    complains("it is of the run other-0, which now is text_vsm-", run="other-0")
    complains("it is of other data than .*; write it again: .*evaluate --workdir=RUN --features=", data="0")
    complains("its vectors were changed", vectors=written["vectors"] / 2)
    complains(r"missing or damaged .*modality.*write it again", modality=None)  # of an earlier version
    complains("is of a run of fusion, and trees see the vectors of a run of one of audio, text", modality="fusion")
    complains(r"run /gone, which is no longer there; .* --runs=text=RUN", folder="/gone", relative="gone")
    complains("--runs: audio=.* is a run of text", modality="audio")
    with pytest.raises(UserError, match="both name what the trees see"):
        boost.main([f"--features={file}", f"--runs=text={run}"])
    with pytest.raises(UserError, match=r"is not a run: it has no config.json"):
        boost.main([f"--runs=text={tmp_path / 'none'}"])
    with pytest.raises(UserError, match=r"missing or damaged .*write it again"):
        boost.main([f"--features={tmp_path / 'none.npz'}"])


def test_a_file_of_vectors_and_its_run_may_be_moved_together(small_runs, tmp_path):
    moved = Path(shutil.copytree(small_runs["text"], tmp_path / "before" / "text"))
    evaluate.main([f"--workdir={moved}", f"--features={tmp_path / 'before' / 'text.npz'}"])
    (tmp_path / "before").rename(tmp_path / "after")
    assert fusion.run_of(tmp_path / "after" / "text.npz").resolve() == tmp_path / "after" / "text"


def test_of_albums_with_one_genre_one_forest(tmp_path, small_data):
    lines = [json.loads(line) for line in (small_data / "manifest.jsonl").read_text().splitlines()]
    assert boost._choose(str(small_data), None) == ["--config=timbre_boosted_logistic"]
    folder = tmp_path / "data"
    (folder / "timbre").mkdir(parents=True)
    (folder / "manifest.jsonl").write_text(
        "".join(json.dumps({**line, "genres": line["genres"][:1]}) + "\n" for line in lines)
    )
    assert boost._choose(str(folder), None) == ["--config=timbre_boosted_softmax"]
    assert boost._choose(str(folder), "mel=there") == [
        *("--config=fusion_boosted_softmax", "--config.fusion.modalities=mel")
    ]


def test_errors(small_data, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("MUMU_DATA_DIR", raising=False)
    data = f"--data_dir={small_data}"
    with pytest.raises(UserError, match="no data named; add --data_dir=DATA"):
        boost.main([])
    with pytest.raises(UserError, match="has neither descriptors nor timbre, which trees see; prepare it with"):
        boost.main([f"--data_dir={tmp_path}"])
    for runs in ("there", "audio=A,text=B"):
        with pytest.raises(UserError, match="give one run with its modality, such as --runs=audio=RUN"):
            boost.main([data, f"--runs={runs}"])
    with pytest.raises(UserError, match=r"config.model.albums='network' trains a network on the mean vectors"):
        train.main(["--config=timbre_boosted", data, "--config.model.albums=network"])
    with pytest.raises(UserError, match="boosted trees predict logits; use 'logistic'"):
        train.main(["--config=timbre_boosted", data, "--config.target.kind=cosine"])
    with pytest.raises(UserError, match=r"config.optim.max_epochs=7 has no effect on timbre_boosted"):
        train.main(["--config=timbre_boosted", data, "--config.optim.max_epochs=7"])
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(UserError, match=r"install the extra: pip install -e '.\[boost\]'"):
        boost.main([data, f"--workdir={tmp_path / 'run'}", *FEW])
    with pytest.raises(SystemExit, match="0"):
        boost.main(["--help"])
    assert "python -m mumu_jax.boost" in capsys.readouterr().out


def test_a_damaged_file_of_grown_trees_is_named(small_data, tmp_path, boosted):
    run = tmp_path / "run"
    shutil.copytree(boosted, run)
    for name in ("track", "album", "eval_test.json"):
        path = run / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (run / boosting.GROWN).mkdir()
    (run / boosting.GROWN / "00000.npz").write_bytes(b"not one")
    with pytest.raises(UserError, match=r"boosting/00000.npz .*remove it: it is grown again"):
        boost.main([f"--data_dir={small_data}", f"--workdir={run}", *FEW])
