"""Thresholds and calibrated probabilities, against brute force, scipy and scikit-learn, and as `tag` gives them."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from made_up_run import make_run
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.calibration import calibration_curve

from mumu_jax import evaluate, export, tag
from mumu_jax.data.manifest import Label, read_manifest
from mumu_jax.errors import UserError
from mumu_jax.objectives.cosine import Cosine
from mumu_jax.objectives.logits import Logistic, Softmax
from mumu_jax.reports import scores as measured
from mumu_jax.reports.page import make_page
from mumu_jax.runs import calibration
from mumu_jax.runs.calibration import (
    LEAST_ITEMS,
    Calibrator,
    Thresholds,
    fit_calibrator,
    fit_platt,
    read_calibrator,
    write_calibrator,
)
from mumu_jax.runs.scorer import open_run
from mumu_jax.system.seals import is_sealed

N_LABELS = 24


def made_up(n_items: int, kind: str = "cosine") -> tuple[np.ndarray, np.ndarray]:
    """Return readable scores of 5 genres, which tell a little of their labels, and these."""
    rng = np.random.default_rng(n_items)
    labels = (rng.random((n_items, 5)) < [0.5, 0.3, 0.2, 0.1, 0.01]).astype(np.uint8)
    noise = rng.normal(labels - 1.0, 1)
    scores = {"cosine": np.tanh(noise / 2), "logistic": expit(2 * noise)}[kind]
    return scores.astype(np.float32), labels


def f1_of(true: np.ndarray, given: np.ndarray) -> float:
    return 2 * np.count_nonzero(given & (true != 0)) / (np.count_nonzero(given) + np.count_nonzero(true))


# --- the fits -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decimals", [1, 6])
def test_thresholds_have_the_best_f1(decimals):
    scores, labels = made_up(200)
    scores = scores.round(decimals)  # with ties
    found = fit_calibrator(scores, labels, Cosine(5))
    assert found.n_positives.tolist() == labels.sum(axis=0).tolist()
    assert found.own.tolist() == [True] * 4 + [False]
    for score, true, threshold in zip(scores.T[:4], labels.T[:4], found.threshold[:4], strict=True):
        best = max(f1_of(true, score >= cut) for cut in np.unique(score))
        assert f1_of(true, score >= threshold) == best
    best = max(f1_of(labels.ravel(), scores.ravel() >= cut) for cut in np.unique(scores))
    assert f1_of(labels.ravel(), scores.ravel() >= found.threshold[4]) == best


@pytest.mark.parametrize("precision", [0.0, 0.29, 0.5, 0.75, 0.9, 1.0])
def test_lowest_threshold_of_a_precision(precision):
    scores, labels = made_up(200)
    found = fit_calibrator(scores, labels, Cosine(5)).thresholds(precision)
    for i, threshold in enumerate(found):
        score, true = (scores[:, i], labels[:, i]) if i < 4 else (scores.ravel(), labels.ravel())
        cuts = [cut for cut in np.unique(score) if true[score >= cut].mean() >= precision]
        np.testing.assert_array_equal(score >= threshold, score >= min(cuts, default=np.inf))
        assert np.isinf(threshold) == (not cuts)


def test_thresholds_lie_between_scores():
    """So that the rounding of another machine does not change what is given."""
    scores, labels = made_up(100)
    found = fit_calibrator(scores, labels, Cosine(5))
    for threshold, score in zip(found.threshold[:4], scores.T, strict=False):
        above, below = score[score >= threshold].min() - threshold, threshold - score[score < threshold].max()
        assert above == pytest.approx(below)
        assert above > 0


def platt_by_scipy(x: np.ndarray, positive: np.ndarray) -> np.ndarray:
    n, n_positives = len(x), positive.sum()
    target = np.where(positive, (n_positives + 1) / (n_positives + 2), 1 / (n - n_positives + 2))

    def loss(fit):
        z = fit[0] * x + fit[1]
        return np.sum(np.logaddexp(0, z) - target * z)

    return minimize(loss, (1.0, 0.0), method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-9, "maxiter": 5000}).x


@pytest.mark.parametrize("kind", ["cosine", "logistic"])
def test_sigmoids_have_the_least_cross_entropy(kind):
    scores, labels = made_up(400, kind)
    found = fit_calibrator(scores, labels, Cosine(5) if kind == "cosine" else Logistic())
    x = scores.astype(np.float64) if kind == "cosine" else logit(scores.astype(np.float64))
    assert bool(found.log_odds) == (kind == "logistic")
    for i in range(4):
        expected = platt_by_scipy(x[:, i], labels[:, i] != 0)
        np.testing.assert_allclose((found.slope[i], found.intercept[i]), expected, rtol=1e-3, atol=1e-3)
        probability = expit(expected[0] * x[:, i] + expected[1])
        np.testing.assert_allclose(found.probability(scores)[:, i], probability, atol=1e-4)
    expected = platt_by_scipy(x.ravel(), labels.ravel() != 0)
    np.testing.assert_allclose((found.slope[4], found.intercept[4]), expected, rtol=1e-3, atol=1e-3)


def test_items_that_a_score_separates_have_a_finite_sigmoid():
    slope, intercept = fit_platt(np.linspace(-1, 1, 40), np.arange(40) >= 20)
    assert 1 < slope < 200
    assert abs(intercept) < 1


def test_calibrated_networks_stay_as_they_are():
    rng = np.random.default_rng(0)
    probability = rng.beta(1, 3, (20_000, 2)).astype(np.float32)
    labels = (rng.random(probability.shape) < probability).astype(np.uint8)
    found = fit_calibrator(probability, labels, Logistic())
    np.testing.assert_allclose(found.slope, 1, atol=0.05)
    np.testing.assert_allclose(found.probability(probability), probability, atol=0.02)


def test_scores_that_are_no_probabilities_are_taken_as_they_are():
    """As those of an objective from outside, whose scores only rank; and at 0 and 1, log-odds are finite."""
    scores, labels = made_up(100)
    assert not fit_calibrator(5 * scores, labels, Logistic()).log_odds
    assert not fit_calibrator(np.abs(scores), labels, Cosine(5)).log_odds
    scores = (scores > 0).astype(np.float32)
    found = fit_calibrator(scores, labels, Logistic())
    assert found.log_odds
    assert np.isfinite(found.slope).all()
    assert ((found.probability(scores) > 0) & (found.probability(scores) < 1)).all()


def test_rare_genres_and_those_that_rank_wrong_way_round_share_a_fit():
    scores, labels = made_up(300)
    labels[:, 1], labels[:, 2], labels[:, 3] = 0, 1, 0
    labels[: LEAST_ITEMS - 1, 1], labels[: LEAST_ITEMS - 1, 2], labels[:LEAST_ITEMS, 3] = 1, 0, 1
    scores[:LEAST_ITEMS, 3] = 0.99
    labels[:, 4] = scores[:, 4] < 0
    found = fit_calibrator(scores, labels, Cosine(5))
    assert found.own.tolist() == [True, False, False, True, False]
    for values in (found.slope, found.intercept, found.threshold, found.thresholds(0.6)):
        assert values[1] == values[2] == values[4]
        assert len({*values.tolist()}) == 3
    assert (found.slope[found.own] > 0).all()
    assert "2 of 5 genres have a threshold of their own; the others share one" in found.remark()


def test_scores_that_rank_wrong_way_round_say_nothing():
    """No sigmoid falls: the probability is the genres' share, and genres of equal ones are in the scores' order."""
    labels = np.array([[1, 0], [1, 0], [0, 1]])
    scores = np.array([[-0.6, 0.5], [-0.4, 0.8], [0.7, -0.9]], np.float32)
    calibrator = fit_calibrator(scores, labels, Cosine(2))
    assert (calibrator.slope == 0).all()
    np.testing.assert_allclose(calibrator.probability(scores), 0.5)
    assert "do not rise with the genre on validation" in calibrator.remark()
    thresholds = Thresholds([Label("a"), Label("b")], calibrator, np.full(2, -1.0), "best F1")
    assert [name for name, _ in thresholds.best(np.array([0.1, 0.2], np.float32), 2)] == ["b", "a"]


def test_validation_without_a_positive_gives_nothing():
    found = fit_calibrator(made_up(30)[0], np.zeros((30, 5), np.uint8), Cosine(5))
    assert np.isinf(found.threshold).all()
    assert np.isinf(found.thresholds(0.0)).all()
    assert (found.probability(made_up(30)[0]) < 0.1).all()


# --- the report ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["cosine", "logistic"])
def test_calibrated_probabilities_in_bins_are_those_of_scikit_learn(kind):
    objective = Cosine(5) if kind == "cosine" else Logistic()
    calibrator = fit_calibrator(*made_up(500, kind), objective)
    readable, labels = made_up(400, kind)
    found = measured.calibration(readable, labels, objective, calibrator)
    probability = calibrator.probability(readable).ravel()
    frequency, mean = calibration_curve(labels.ravel(), probability, n_bins=10)
    np.testing.assert_allclose(found.frequency, frequency, atol=1e-3)
    np.testing.assert_allclose(found.score, mean, atol=1e-4)
    error = np.average(np.abs(frequency - mean), weights=found.count)
    assert found.error == pytest.approx(error, abs=1e-3)
    assert found.error < 0.05
    uncalibrated = measured.calibration(readable, labels, objective).error
    assert uncalibrated is None if kind == "cosine" else uncalibrated > found.error + 0.02


def test_calibrated_softmax_is_of_the_most_probable_label_before():
    scores = np.array([[0.6, 0.4], [0.3, 0.7]], np.float32)
    labels = np.array([[1, 0], [1, 0]], np.uint8)
    calibrator = Calibrator(
        *(np.array(True), np.ones(2, int), np.ones(2, bool)),
        *(np.ones(2), np.array([-9.0, 9.0]), np.zeros(2)),
        np.zeros((2, 101)),
    )
    found = measured.calibration(scores, labels, Softmax(), calibrator)
    np.testing.assert_allclose(found.score, [expit(logit(0.6) - 9), expit(logit(0.7) + 9)], rtol=1e-4)
    assert found.frequency.tolist() == [1, 0]


@pytest.mark.parametrize("target", ["cosine", "logistic"])
def test_page_shows_the_error_before_and_after(target, tmp_path):
    run = make_run(tmp_path / "run", target=target, n_items=200)
    assert "Platt" not in make_page(run, None)
    with np.load(run / "predictions_test.npz") as arrays:
        scores, labels = arrays["album_scores"], arrays["album_labels"]
    objective = Cosine(5) if target == "cosine" else Logistic()
    readable = np.asarray(objective.readable(scores))
    calibrator = fit_calibrator(readable, labels, objective)
    write_calibrator(run, calibrator)
    page = " ".join(make_page(run, None).split())
    after = measured.calibration(readable, labels, objective, calibrator).error
    before = measured.calibration(readable, labels, objective).error
    assert f"Expected calibration error {after:.3f}" + (f", before {before:.3f}." if before else ".") in page
    assert "and one for 1 genres together, which are too rare there" in page


# --- the commands -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def texts(tmp_path_factory, small_data) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    for i, album in zip(range(12), read_manifest(small_data / "manifest.jsonl"), strict=False):
        (folder / f"{i:02}.txt").write_text(album.text)
    return folder


@pytest.fixture
def run(small_runs, tmp_path) -> Path:
    return Path(shutil.copytree(small_runs["text"], tmp_path / "run"))


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_training_writes_what_evaluate_writes(run, capsys):
    before = (run / "calibration.npz").read_bytes()
    assert is_sealed(run, "calibration.npz")
    calibrator = read_calibrator(run, N_LABELS)
    assert not calibrator.own.any()  # of 12 albums
    (run / "calibration.npz").unlink()
    evaluate.main([f"--workdir={run}", "--calibrate"])
    assert (run / "calibration.npz").read_bytes() == before
    assert "0 of 24 genres have a threshold of their own; the others share one" in capsys.readouterr().out
    assert is_sealed(run, "calibration.npz")


@pytest.mark.parametrize("precision", [None, 0.5])
def test_tag_gives_what_is_above_the_stored_thresholds(run, texts, precision, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(calibration, "LEAST_ITEMS", 2)  # thresholds that differ
    evaluate.main([f"--workdir={run}", "--calibrate"])
    with np.load(run / "calibration.npz") as arrays:
        stored = {name: arrays[name] for name in arrays.files}
    assert 3 < stored["own"].sum() < N_LABELS
    thresholds = Calibrator(**stored).thresholds(precision) if precision else stored["threshold"]
    how = ["--threshold"] if precision is None else [f"--precision={precision}"]
    model, scorer = tmp_path / "model", open_run(run)
    export.main([f"--workdir={run}", f"--out={model}"])
    outs = [tmp_path / "of_run.jsonl", tmp_path / "of_export.jsonl"]
    tag.main([f"--workdir={run}", str(texts), f"--out={outs[0]}", *how])
    tag.main([f"--model={model}", str(texts), f"--out={outs[1]}", *how])
    of_run, of_export = map(rows_of, outs)
    names, [reader] = [label.name for label in scorer.labels], scorer.readers.values()
    for row, other in zip(of_run, of_export, strict=True):
        scores = scorer.see([reader.read(Path(row["path"]))], 1)[0].scores
        probability = expit(stored["slope"] * scores + stored["intercept"])
        expected = {names[i]: probability[i] for i in np.flatnonzero(scores >= thresholds)}
        found = {one["genre"]: one["score"] for one in row["genres"]}
        assert found == pytest.approx(expected, abs=1e-5)
        assert list(found.values()) == sorted(found.values(), reverse=True)
        assert {one["genre"]: one["score"] for one in other["genres"]} == pytest.approx(found, abs=1e-4)
        assert row["run"] == other["run"] == f"{scorer.names[0]}:{'best_f1' if precision is None else 'precision=0.5'}"
    counts = [len(row["genres"]) for row in of_run]
    assert len({*counts}) > 1
    few = tmp_path / "few.jsonl"
    tag.main([f"--workdir={run}", str(texts), f"--out={few}", "--top_k=1", *how])
    assert [row["genres"] for row in rows_of(few)] == [row["genres"][:1] for row in of_run]
    assert "genres have a threshold of their own" in capsys.readouterr().err


def test_a_file_without_a_genre_is_unknown(run, texts, tmp_path, capsys):
    calibrator = read_calibrator(run, N_LABELS)
    write_calibrator(run, calibrator._replace(threshold=np.full(N_LABELS, 2.0)))
    song, out = texts / "00.txt", tmp_path / "tags.csv"
    for _ in range(2):
        assert tag.main([f"--workdir={run}", str(song), f"--out={out}", "--threshold"]) == 0
    with out.open(newline="") as file:
        [row] = csv.DictReader(file)
    assert (row["genres"], row["scores"], row["error"]) == ("", "", "")
    assert "1 of 1 files are in" in capsys.readouterr().out
    tag.main([f"--workdir={run}", str(song), "--threshold"])
    assert capsys.readouterr().out == f"{song}: unknown\n"


def test_rows_by_thresholds_do_not_mix_with_others(run, texts, tmp_path):
    out = tmp_path / "tags.csv"
    tag.main([f"--workdir={run}", str(texts / "00.txt"), f"--out={out}"])
    for how in ("--threshold", "--precision=0.5"):
        with pytest.raises(UserError, match=r"holds tags of another run .*; give another --out or remove it"):
            tag.main([f"--workdir={run}", str(texts / "01.txt"), f"--out={out}", how])


def test_a_precision_that_no_genre_has_is_said(run, texts, capsys):
    calibrator = read_calibrator(run, N_LABELS)
    write_calibrator(run, calibrator._replace(of_precisions=np.full((N_LABELS, 101), np.inf)))
    tag.main([f"--workdir={run}", str(texts / "00.txt"), "--precision=0.9"])
    said = capsys.readouterr()
    assert "24 of 24 genres never had this precision on validation, and are not given" in said.err
    assert said.out.endswith(": unknown\n")


def test_runs_and_exports_of_earlier_versions_say_how_to_get_thresholds(run, texts, tmp_path):
    for name in ("calibration.npz", "sha256.json"):
        (run / name).unlink()
    model = tmp_path / "model"
    export.main([f"--workdir={run}", f"--out={model}"])
    song, make = str(texts / "00.txt"), r"python -m mumu_jax\.evaluate --workdir={} --calibrate makes it"
    for how in (f"--workdir={run}", f"--model={model}"):
        assert tag.main([how, song]) == 0
    with pytest.raises(UserError, match=f"run has no calibration.npz.*{make.format(run)}$"):
        tag.main([f"--workdir={run}", song, "--threshold"])
    with pytest.raises(UserError, match=f"model has no calibration.npz.*{make.format('RUN')}, and then export"):
        tag.main([f"--model={model}", song, "--precision=0.5"])
    evaluate.main([f"--workdir={run}", "--calibrate"])
    assert tag.main([f"--workdir={run}", song, "--threshold"]) == 0


def test_thresholds_of_other_genres_are_refused(run, texts):
    write_calibrator(run, fit_calibrator(*made_up(50), Cosine(5)))
    with pytest.raises(UserError, match=r"calibration.npz is of 5 genres, and .* has 24; restore it"):
        tag.main([f"--workdir={run}", str(texts / "00.txt"), "--threshold"])


@pytest.mark.parametrize("precision", ["1.5", "-0.1", "nan"])
def test_precisions_are_shares(precision, capsys):
    with pytest.raises(SystemExit):
        tag.main(["--workdir=run", "song.mp3", f"--precision={precision}"])
    assert "is not from 0 to 1" in capsys.readouterr().err
