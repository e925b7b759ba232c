"""Metrics of decisions against scikit-learn in float64, in the evaluation of a run, on the terminal and on its page."""

import json
import re
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_up_run import make_run
from sklearn import metrics as sk

from mumu_jax import evaluate, export
from mumu_jax.objectives import decisions
from mumu_jax.objectives.cosine import Cosine
from mumu_jax.objectives.decisions import DECISIONS
from mumu_jax.reports.page import make_page
from mumu_jax.runs.calibration import WAYS, fit_calibrator
from mumu_jax.runs.folder import load_run

TOLERANCE = 1e-6
PLAIN = ("jaccard", "subset_accuracy", "f1_samples", "f1_micro", "f1_by_label", "f1_macro", "hamming_loss")


def random_case(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Decisions that are near the labels or not, empty items, absent labels, padding rows full of garbage."""
    rng = np.random.default_rng(seed)
    n_items, n_labels = 250, (1, 3, 40)[seed % 3]  # few shapes, so that few programs are compiled
    labels = rng.random((n_items, n_labels)) < np.geomspace(0.6, 0.002, n_labels)
    given = labels ^ (rng.random(labels.shape) < rng.choice([0, 0.02, 0.3]))
    empty = rng.random((3, n_items)) < 0.1
    labels[empty[0] | empty[1]], given[empty[0] | empty[2]] = False, False
    labels[:, 1::7], given[:, 2::11] = False, False
    mask = rng.random(n_items) < rng.choice([0.2, 0.8])
    seen = np.arange(n_labels) % 5 != 4
    return given, labels, seen, mask


def reference(given: np.ndarray, labels: np.ndarray, seen: np.ndarray) -> dict[str, float]:
    """All metrics by scikit-learn, in which several labels of one column are a matrix only if there are two columns."""
    beside = np.zeros((len(labels), 1), bool)
    given2, labels2 = np.hstack([given, beside]), np.hstack([labels, beside])
    scored = np.append(seen & labels.any(axis=0), False)
    return {
        "jaccard": sk.jaccard_score(labels2, given2, average="samples", zero_division=1),
        "subset_accuracy": sk.accuracy_score(labels2, given2),
        "f1_samples": sk.f1_score(labels2, given2, average="samples", zero_division=1),
        "f1_micro": sk.f1_score(labels2, given2, average="micro", zero_division=1),
        "f1_macro": sk.f1_score(labels2, given2, average="macro", labels=np.flatnonzero(scored)),
        "hamming_loss": sk.hamming_loss(labels2, given2) * labels2.shape[1] / labels.shape[1],
    }


def measure(name: str, *arguments: np.ndarray | None) -> np.ndarray:
    arrays = (None if one is None else jnp.asarray(one) for one in arguments)
    return np.asarray(getattr(decisions, name)(*arrays))


# --- the numbers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(18))
def test_metrics_equal_scikit_learn(seed):
    given, labels, seen, mask = random_case(seed)
    found = decisions.summarize(given, labels, seen, mask)
    assert found == pytest.approx(reference(given[mask], labels[mask], seen), abs=TOLERANCE)
    assert found.keys() == DECISIONS.keys()
    assert decisions.summarize(given[mask], labels[mask], seen) == pytest.approx(found, abs=TOLERANCE)


@pytest.mark.parametrize("name", PLAIN)
def test_each_function_pads_and_runs_eagerly_as_jitted(name):
    given, labels, seen, mask = random_case(5)
    arguments = (seen,) if name == "f1_macro" else ()
    found = measure(name, given, labels, mask, *arguments)
    with jax.disable_jit():
        np.testing.assert_allclose(measure(name, given, labels, mask, *arguments), found, rtol=TOLERANCE)
    whole = (None, *arguments) if arguments else ()
    np.testing.assert_allclose(measure(name, given[mask], labels[mask], *whole), found, rtol=TOLERANCE)
    as_numbers = (3 * given.astype(np.float32), labels.astype(np.uint8), mask.astype(np.float32))
    np.testing.assert_array_equal(measure(name, *as_numbers, *arguments), found)
    if name != "f1_by_label":
        everything = reference(given[mask], labels[mask], seen)
        assert found == pytest.approx(everything[name], abs=TOLERANCE)


def test_f1_by_label_equals_scikit_learn_and_is_missing_for_absent_labels():
    given, labels, _, mask = random_case(2)
    found = measure("f1_by_label", given, labels, mask)
    expected = sk.f1_score(labels[mask], given[mask], average=None, zero_division=np.nan)
    present = labels[mask].any(axis=0)
    np.testing.assert_allclose(found[present], expected[present], atol=TOLERANCE)
    assert np.isnan(found[~present]).all()
    assert given[mask][:, ~present].any()
    unseen = measure("f1_macro", given, labels, mask)
    np.testing.assert_allclose(unseen, expected[present].mean(), atol=TOLERANCE)


def test_float32_sums_stay_exact_at_the_size_of_mumu():
    rng = np.random.default_rng(0)
    labels = rng.random((15_000, 40)) < np.geomspace(0.84, 0.0006, 40)
    given, seen = labels ^ (rng.random(labels.shape) < 0.02), np.ones(40, bool)
    found = decisions.summarize(given, labels, seen)
    assert found == pytest.approx(reference(given, labels, seen), abs=TOLERANCE)
    perfect = dict.fromkeys(DECISIONS, 1.0) | {"hamming_loss": 0.0}
    assert decisions.summarize(labels, labels, seen) == pytest.approx(perfect, abs=1e-7)


def test_empty_items():
    """One of each kind: nothing to give and nothing given, one side empty, both filled."""
    labels = np.array([[0, 0], [1, 0], [0, 0], [1, 1]], np.uint8)
    given = np.array([[0, 0], [0, 0], [0, 1], [1, 0]], np.uint8)
    found = decisions.summarize(given, labels, np.ones(2, bool))
    assert found == pytest.approx(
        {
            "jaccard": (1 + 0 + 0 + 1 / 2) / 4,
            "subset_accuracy": 1 / 4,
            "f1_samples": (1 + 0 + 0 + 2 / 3) / 4,
            "f1_micro": 2 / 5,
            "f1_macro": (2 / 3 + 0) / 2,
            "hamming_loss": 3 / 8,
        }
    )
    nothing = np.zeros((4, 2), np.uint8)
    all_right = decisions.summarize(nothing, nothing, np.ones(2, bool))
    assert np.isnan(all_right.pop("f1_macro"))
    assert all_right == {name: float(name != "hamming_loss") for name in all_right}


def test_macro_f1_without_a_seen_label_is_missing():
    given, labels, seen, mask = random_case(1)
    found = decisions.summarize(given, labels, np.zeros_like(seen), mask)
    assert [name for name, value in found.items() if np.isnan(value)] == ["f1_macro"]


def test_no_real_item():
    given, labels, _, mask = random_case(1)
    for name in PLAIN:
        assert np.isnan(measure(name, given, labels, np.zeros_like(mask))).all(), name


def test_summarize_refuses_what_it_cannot_measure():
    given, labels, seen = np.ones((3, 2), bool), np.ones((3, 2), bool), np.ones(2, bool)
    with pytest.raises(ValueError, match="no item to score among 3 rows; is the split empty"):
        decisions.summarize(given, labels, seen, mask=np.zeros(3))


@pytest.mark.parametrize("kind", ["probability", "score"])
def test_a_genre_that_just_reaches_its_threshold_is_given(kind):
    rng = np.random.default_rng(0)
    labels = (rng.random((60, 3)) < 0.4).astype(np.uint8)
    scores = np.tanh(rng.normal(labels - 0.5)).astype(np.float32)
    calibrator = fit_calibrator(scores, labels, Cosine(3))
    if kind == "score":
        threshold = scores[:3].diagonal().astype(np.float64)
        given = calibrator._replace(threshold=threshold).decisions(scores)["best_f1"]
        assert given[:3].diagonal().all()
        np.testing.assert_array_equal(given, scores >= threshold)
    else:
        flat = calibrator._replace(slope=np.zeros(3), intercept=np.array([0.0, -1e-9, 1e-9]))
        assert flat.decisions(scores)["at_half"].all(axis=0).tolist() == [True, False, True]


# --- the evaluation -----------------------------------------------------------------------------------------


@pytest.fixture
def run(small_runs, tmp_path) -> Path:
    return Path(shutil.copytree(small_runs["text"], tmp_path / "run"))


def check_decisions(workdir: Path, split: str) -> dict:
    """eval_<split>.json against scikit-learn's metrics of the saved scores, calibrated and cut by hand."""
    result = json.loads((workdir / f"eval_{split}.json").read_text())
    trained = load_run(workdir)
    with np.load(workdir / f"predictions_{split}.npz") as arrays:
        scores, labels = arrays["album_scores"], arrays["album_labels"] != 0
    with np.load(workdir / "calibration.npz") as arrays:
        stored = {name: arrays[name] for name in arrays.files}
    readable = np.asarray(trained.album.network.objective.readable(scores))
    assert not stored["log_odds"]  # of cosines
    of_half = stored["slope"] * readable.astype(np.float64) + stored["intercept"] >= 0
    given = {"at_half": of_half, "best_f1": readable >= stored["threshold"]}
    assert result["decisions"].keys() == given.keys()
    for way, one in given.items():
        expected = reference(one, labels, trained.seen)
        assert result["decisions"][way] == pytest.approx(expected, abs=TOLERANCE), way
    assert given["best_f1"].any()
    return result


def test_training_and_evaluation_write_decisions(run, capsys):
    check_decisions(run, "test")
    before = (run / "eval_test.json").read_bytes()
    (run / "eval_test.json").unlink()
    evaluate.main([f"--workdir={run}"])
    assert (run / "eval_test.json").read_bytes() == before
    said = capsys.readouterr().out
    assert "genres given, test split" in said
    assert "same albums" not in said
    found = json.loads(before)["decisions"]
    rows = {row[0]: row[1:] for row in (re.split(r"\s*│\s*", line.strip("│ ")) for line in said.splitlines())}
    for way, name in WAYS.items():
        assert rows[name] == [f"{found[way][metric]:.3f}" for metric in DECISIONS]
    assert max(len(line) for line in said.splitlines() if line[:1] in "┏┃┡│└") <= 80


def test_evaluation_of_the_split_that_thresholds_were_fitted_on_says_so(run, capsys):
    evaluate.main([f"--workdir={run}", "--split=val"])
    check_decisions(run, "val")
    assert "fitted on these same albums" in capsys.readouterr().out


def test_runs_of_earlier_versions_have_no_decisions_until_they_are_calibrated(run, tmp_path, capsys):
    for name in ("calibration.npz", "sha256.json"):
        (run / name).unlink()
    evaluate.main([f"--workdir={run}"])
    result = json.loads((run / "eval_test.json").read_text())
    assert "decisions" not in result
    assert "genres given" not in capsys.readouterr().out
    assert "Genres given" not in make_page(run, None)
    export.main([f"--workdir={run}", f"--out={tmp_path / 'model'}"])
    assert "jaccard" not in (tmp_path / "model" / "README.md").read_text()
    evaluate.main([f"--workdir={run}", "--calibrate"])
    evaluate.main([f"--workdir={run}"])
    assert check_decisions(run, "test")["album"] == result["album"]


def test_card_has_decisions(run, tmp_path):
    export.main([f"--workdir={run}", f"--out={tmp_path / 'model'}"])
    found = json.loads((run / "eval_test.json").read_text())["decisions"]
    card = (tmp_path / "model" / "README.md").read_text()
    assert "| | at_half | best_f1 |" in card
    rows = {row[0]: row[1:] for row in (line.strip("| ").split(" | ") for line in card.splitlines())}
    for metric in DECISIONS:
        assert [float(cell) for cell in rows[metric]] == pytest.approx([found[way][metric] for way in WAYS], abs=1e-3)


# --- the page -----------------------------------------------------------------------------------------------


def made_up_page(folder: Path, split: str) -> str:
    """Return the page of a made-up run that has decisions, a value of which is missing."""
    run = make_run(folder)
    result = json.loads((run / "eval_test.json").read_text())
    values = {metric: i / 10 + 0.0321 for i, metric in enumerate(DECISIONS)}
    result["decisions"] = {"at_half": values, "best_f1": values | {"jaccard": 0.7654, "f1_macro": None}}
    (run / f"eval_{split}.json").write_text(json.dumps(result | {"split": split}))
    return " ".join(make_page(run, split).split())


def test_page_shows_decisions_beside_the_ranking_metrics(tmp_path):
    page = made_up_page(tmp_path / "run", "test")
    section = page[page.index('<section id="result">') : page.index('<section id="run">')]
    assert "ROC-AUC, macro" in section
    assert '<th class="number">at 0.5</th><th class="number">best F1</th>' in section
    rows = re.findall(
        r'<tr><th scope="row">([^<]*)</th><td class="number">([^<]*)</td><td class="number">([^<]*)<', section
    )
    found = {name: values for name, *values in rows}
    assert found["Jaccard"] == ["0.032", "0.765"]
    assert found["F1, macro"] == ["0.432", "–"]
    assert {metric.name for metric in DECISIONS.values()} <= found.keys()
    assert "agree with its own" in section
    assert "same albums" not in section


def test_page_of_the_split_that_thresholds_were_fitted_on_says_so(tmp_path):
    assert "fitted on these same albums" in made_up_page(tmp_path / "run", "val")


def test_page_of_a_run_of_earlier_versions_has_no_decisions(tmp_path):
    assert "Genres given" not in make_page(make_run(tmp_path / "run"), None)
