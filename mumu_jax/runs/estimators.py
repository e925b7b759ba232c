"""Classifiers of scikit-learn on the numbers of tracks, beside which boosted trees and networks are measured.

`python -m mumu_jax.runs.estimators` fits one on data of one genre an album, and writes eval_test.json and
predictions_test.npz to its folder.  They are rows of tables and not models to tag with.  Bahuleyan 2018, section 4.
"""

import argparse
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from mumu_jax.config import Config
from mumu_jax.data.manifest import read_manifest
from mumu_jax.data.modalities.inputs import Inputs
from mumu_jax.data.store.pairs import open_dataset
from mumu_jax.data.store.records import Dataset
from mumu_jax.errors import UserError
from mumu_jax.fields import validate
from mumu_jax.objectives import metrics
from mumu_jax.runs.albums import mean_by_album
from mumu_jax.runs.constants import check_single_label
from mumu_jax.runs.evaluation import finite, write_evaluation
from mumu_jax.system.files import only_one
from mumu_jax.system.lines import print_line
from mumu_jax.system.terminal import run_command

ESTIMATORS = ("linear", "forest", "svm")
MODALITIES = ("descriptors", "timbre")
OF_OTHERS = ("config.json", "ensemble.json")


def make_estimator(name: str, seed: int) -> Any:
    """Return an estimator with Bahuleyan's settings; the scaler, which trees do not need, sees training songs alone.

    C of logistic regression and gamma of the support vector machine are not published: they are scikit-learn's.
    """
    from sklearn.ensemble import RandomForestClassifier  # a second, which reports do not need
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler
    from sklearn.svm import SVC

    if name == "forest":
        return RandomForestClassifier(n_estimators=500, min_samples_split=5, random_state=seed)
    classifier = LogisticRegression(max_iter=10_000) if name == "linear" else SVC(C=10_000, break_ties=True)
    return make_pipeline(MinMaxScaler(), classifier)


def evaluate_estimator(name: str, dataset: Dataset, config: Config, workdir: Path) -> dict[str, Any]:
    """Fit an estimator on the training split, write its scores of the test split, and return the evaluation."""
    n_labels, inputs = len(dataset.labels), Inputs.unfitted(config)
    for split in ("train", "test"):
        if not len(dataset.split(split)):
            raise UserError(f"split {split!r} of {dataset.folder} has no {dataset.item}; prepare more data")
    train, test = (dataset.split(split) for split in ("train", "test"))
    (x, labels), (test_x, test_labels) = (inputs.held(config.modality, one, n_labels) for one in (train, test))
    seen = np.asarray(labels.any(axis=0))
    if seen.sum() < 2:
        raise UserError(f"the training albums of {dataset.folder} have one genre; prepare albums of several")
    estimator = make_estimator(name, config.seed).fit(x, labels.argmax(axis=1))
    scores = np.full((len(test_x), n_labels), -np.inf, np.float32)
    scores[:, estimator.classes_] = _scores(estimator, test_x)
    ids, scores, first = mean_by_album(scores, test.album_ids)  # of an album the mean of its tracks
    labels = test_labels[first]
    result = {
        "split": "test",
        "data": {"dir": str(dataset.folder), "checksum": dataset.checksum},
        "album": finite(metrics.summarize(scores, labels, seen, single_label=True)),
        "chance": metrics.by_chance(n_labels, len(labels), single_label=True),
        "estimator": {"name": name, "scikit-learn": version("scikit-learn"), "seed": config.seed},
    }
    arrays = {"album_ids": ids, "album_scores": scores, "album_labels": labels}
    write_evaluation(workdir, result, [label.name for label in dataset.labels], arrays)
    return result


def _scores(estimator: Any, x: Float[np.ndarray, "items d"]) -> Float[np.ndarray, "items classes"]:
    """Return probabilities, or the decisions of one against the rest if the estimator has none."""
    if hasattr(estimator, "predict_proba"):
        return estimator.predict_proba(x)
    decisions = estimator.decision_function(x)
    return decisions if decisions.ndim == 2 else np.stack([-decisions, decisions], axis=1)


def main(argv: Sequence[str]) -> None:
    """Fit and score the estimator that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m mumu_jax.runs.estimators", description=__doc__, allow_abbrev=False)
    parser.add_argument("--estimator", choices=ESTIMATORS, required=True)
    parser.add_argument("--modality", choices=MODALITIES, default=MODALITIES[0])
    parser.add_argument("--data_dir", type=Path, required=True, help="the prepared data")
    parser.add_argument("--workdir", type=Path, required=True, help="the folder to write")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    config = Config(modality=arguments.modality, seed=arguments.seed)
    validate(config)
    if others := [name for name in OF_OTHERS if (arguments.workdir / name).exists()]:
        raise UserError(f"--workdir={arguments.workdir} holds {others[0]}, which is another model's; give a new folder")
    check_single_label(
        read_manifest(arguments.data_dir / "manifest.jsonl"), arguments.data_dir, f"--estimator={arguments.estimator}"
    )
    with only_one(arguments.workdir, "fitting"):
        result = evaluate_estimator(
            arguments.estimator, open_dataset(config, arguments.data_dir), config, arguments.workdir
        )
    print_line(f"top-1 accuracy {result['album']['accuracy_at_1']:.3f} of {result['album']['n_items']} test albums")


if __name__ == "__main__":
    run_command(main)
