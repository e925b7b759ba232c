"""Calibrated probabilities and thresholds of genres, fitted on the validation split and kept in the run's folder.

They are of the scores that `tag` shows: an album's, and for people to read.  A genre with too few validation items to
be fitted has what is fitted over the pairs of all genres and items.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Shaped
from scipy.special import expit, logit

from mumu_jax.data.manifest import Label
from mumu_jax.data.store.records import Dataset
from mumu_jax.errors import UserError
from mumu_jax.objectives import Objective
from mumu_jax.runs.folder import CALIBRATION, TrainedRun
from mumu_jax.runs.levels import score_levels
from mumu_jax.runs.prediction import Watch
from mumu_jax.runs.ranking import log_odds
from mumu_jax.system.files import read_npz, write_npz
from mumu_jax.system.lines import print_remark
from mumu_jax.system.seals import seal, unseal

LEAST_ITEMS = 10  # with a genre, and as many without it: a fit on fewer is noise
PRECISIONS = np.arange(101) / 100  # a threshold is kept for each
ROUNDING = 1e-9  # of a wished precision
LEAST_STD = 1e-6  # scores that are all the same have no slope
WAYS = {"at_half": "at 0.5", "best_f1": "best F1"}  # of deciding which genres an item is given, in words


class Fit(NamedTuple):
    """A fit to scores: Platt's sigmoid, the threshold of the best F1, and the lowest one of each of PRECISIONS."""

    slope: float
    intercept: float
    threshold: float
    of_precisions: Float64[np.ndarray, " precisions"]  # infinite where no threshold has that precision


class Calibrator(NamedTuple):
    """The fit of each genre: its probability is `sigmoid(slope * x + intercept)`.

    x is the score, or the score's log-odds if scores are probabilities (`log_odds`).  Genres that are not `own` have
    the fit of all genres together.
    """

    log_odds: Bool[np.ndarray, ""]
    n_positives: Int[np.ndarray, " labels"]  # on validation
    own: Bool[np.ndarray, " labels"]
    slope: Float64[np.ndarray, " labels"]
    intercept: Float64[np.ndarray, " labels"]
    threshold: Float64[np.ndarray, " labels"]
    of_precisions: Float64[np.ndarray, "labels precisions"]

    def probability(self, scores: Float[np.ndarray, "*items labels"]) -> Float64[np.ndarray, "*items labels"]:
        """Return the calibrated probabilities of readable scores."""
        return expit(self.slope * _feature(scores, bool(self.log_odds)) + self.intercept)

    def thresholds(self, precision: float | None) -> Float64[np.ndarray, " labels"]:
        """Return the threshold of the best F1, or the lowest one of a precision, rounded up to one of PRECISIONS."""
        if precision is None:
            return self.threshold
        return self.of_precisions[:, np.searchsorted(PRECISIONS, precision - ROUNDING)]

    def decisions(self, scores: Float[np.ndarray, "items labels"]) -> dict[str, Bool[np.ndarray, "items labels"]]:
        """Decide by readable scores which genres each item is given, in each of `WAYS`.

        `at_half` gives the genres whose calibrated probability is 1/2 or more, `best_f1` those whose score reaches the
        threshold of their best F1.
        """
        return {"at_half": self.probability(scores) >= 0.5, "best_f1": scores >= self.threshold}

    def remark(self) -> str:
        """Say in one line how many genres have a fit of their own."""
        said = f"{int(self.own.sum())} of {len(self.own)} genres have a threshold of their own"
        if self.own.all():
            return said
        said += f"; the others share one, most as fewer than {LEAST_ITEMS} validation items have the genre"
        if (self.slope[~self.own] > 0).all():
            return said
        return f"{said}. Their scores do not rise with the genre on validation: their probability is the same for all"


class Thresholds(NamedTuple):
    """The choice of a file's genres by a threshold for each, `kind` in a word."""

    labels: Sequence[Label]
    calibrator: Calibrator
    values: Float64[np.ndarray, " labels"]
    kind: str

    def remarks(self) -> Iterator[str]:
        """Say in a line each which genres' thresholds are unsure, and how many genres have none."""
        if not self.calibrator.own.all():
            yield self.calibrator.remark()
        if n_never := np.count_nonzero(np.isinf(self.values)):
            yield f"{n_never} of {len(self.values)} genres never had this precision on validation, and are not given"

    def best(self, scores: Float[np.ndarray, " labels"], n: int) -> list[tuple[str, float]]:
        """Return the genres of an item that reach their thresholds, at most `n`, with their calibrated probabilities.

        The most probable one comes first.
        """
        probability = self.calibrator.probability(scores)
        order = np.lexsort((-scores, -probability))  # equally probable ones by their scores
        return [(self.labels[i].name, float(probability[i])) for i in order if scores[i] >= self.values[i]][:n]


# --- fitting ------------------------------------------------------------------------------------------------


def calibrate(run: TrainedRun, dataset: Dataset, watch: Watch = iter) -> Calibrator:
    """Fit on the albums of the validation split; several processes fit the same.

    Raises UserError if the split is empty.
    """
    records = dataset.split("val")
    if not len(records):
        raise UserError(
            f"split 'val' of {dataset.folder} has no {dataset.item}, and thresholds are fitted on it; prepare more data"
        )
    predictions, objective = score_levels(run, records, watch)["album"].predictions, run.album.network.objective
    return fit_calibrator(np.asarray(objective.readable(predictions.scores)), predictions.labels, objective)


def fit_calibrator(
    scores: Float[np.ndarray, "items labels"], labels: Shaped[np.ndarray, "items labels"], objective: Objective
) -> Calibrator:
    """Fit each genre with LEAST_ITEMS positives and negatives whose probability rises with its score, and all as one.

    `scores` are readable ones.
    """
    positive = labels != 0
    n_positives = positive.sum(axis=0)
    are_probabilities = not objective.unit_output and bool(((scores >= 0) & (scores <= 1)).all())
    x = _feature(scores, are_probabilities)
    together = _fit(x.ravel(), scores.ravel(), positive.ravel())
    enough = np.minimum(n_positives, len(labels) - n_positives) >= LEAST_ITEMS
    fits = [_fit(x[:, i], scores[:, i], positive[:, i]) if enough[i] else None for i in range(len(enough))]
    fits = [fit if fit and fit.slope > 0 else None for fit in fits]
    slope, intercept, threshold, of_precisions = zip(*(fit or together for fit in fits), strict=True)
    return Calibrator(
        log_odds=np.array(are_probabilities),
        n_positives=n_positives,
        own=np.array([fit is not None for fit in fits]),
        slope=np.array(slope),
        intercept=np.array(intercept),
        threshold=np.array(threshold),
        of_precisions=np.stack(of_precisions),
    )


def _feature(
    scores: Float[np.ndarray, "*items labels"], are_probabilities: bool
) -> Float64[np.ndarray, "*items labels"]:
    """Return what the sigmoids see of readable scores."""
    return log_odds(scores) if are_probabilities else scores.astype(np.float64)


def _fit(
    x: Float64[np.ndarray, " items"], scores: Float[np.ndarray, " items"], positive: Bool[np.ndarray, " items"]
) -> Fit:
    slope, intercept = fit_platt(x, positive)
    thresholds, precision, recall = measure_thresholds(scores, positive)
    if not len(thresholds):
        return Fit(slope, intercept, np.inf, np.full(len(PRECISIONS), np.inf))
    f1 = 2 * precision * recall / np.maximum(precision + recall, np.finfo(np.float64).tiny)
    first = np.searchsorted(np.maximum.accumulate(precision), PRECISIONS)
    return Fit(slope, intercept, float(thresholds[f1.argmax()]), np.append(thresholds, np.inf)[first])


def fit_platt(x: Float64[np.ndarray, " items"], positive: Bool[np.ndarray, " items"]) -> tuple[float, float]:
    """Return the slope and intercept of the sigmoid whose cross-entropy is least, among those that do not fall.

    Its targets are a little above 0 and below 1, which keeps it finite where `x` separates the items.  J. Platt,
    Probabilistic outputs for support vector machines, 1999, section 2.2.
    """
    from sklearn.linear_model import LogisticRegression  # slow to import, and `tag` only reads what is fitted

    n_positives, n = np.count_nonzero(positive), len(positive)
    target = np.where(positive, (n_positives + 1) / (n_positives + 2), 1 / (n - n_positives + 2))
    mean, std, constant = x.mean(), x.std(), (0.0, float(logit(target.mean())))
    if std < LEAST_STD:
        return constant
    sides = np.repeat([1, 0], n)  # a target between 0 and 1 is an item on both sides, with these weights
    model: Any = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-6)  # of one feature the fastest
    model.fit(np.tile((x - mean) / std, 2)[:, None], sides, np.concatenate([target, 1 - target]))
    slope = model.coef_[0, 0] / std
    return (float(slope), float(model.intercept_[0] - slope * mean)) if slope > 0 else constant


def measure_thresholds(
    scores: Float[np.ndarray, " items"], positive: Bool[np.ndarray, " items"]
) -> tuple[Float64[np.ndarray, " points"], Float64[np.ndarray, " points"], Float64[np.ndarray, " points"]]:
    """Return each threshold that tells items apart, ascending, and the precision and recall of items at or above it.

    They lie between scores, so that rounding changes no item's side; the lowest is the lowest score.  None without a
    positive item.
    """
    from sklearn.metrics import precision_recall_curve  # slow to import

    if not positive.any():
        return np.zeros(0), np.zeros(0), np.zeros(0)
    curve: Any = precision_recall_curve(positive, scores.astype(np.float64))
    precision, recall, at = curve
    return np.append(at[:1], (at[:-1] + at[1:]) / 2), precision[:-1], recall[:-1]


# --- in the folder of a run or an export --------------------------------------------------------------------


def write_calibrator(workdir: Path, calibrator: Calibrator) -> None:
    """Write the fits to the run's folder, and record their checksum."""
    unseal(workdir, CALIBRATION)
    write_npz(workdir / CALIBRATION, compressed=True, **calibrator._asdict())
    seal(workdir, CALIBRATION)


def read_calibrator(folder: Path, n_labels: int) -> Calibrator | None:
    """Read what `write_calibrator` wrote; None if there is none, as in runs and exports of earlier versions."""
    path = folder / CALIBRATION
    if not path.exists():
        return None
    arrays = read_npz(path, "restore it, or calibrate the run again", *Calibrator._fields)
    calibrator = Calibrator(*(arrays[name] for name in Calibrator._fields))
    if len(calibrator.own) != n_labels:
        raise UserError(
            f"{path} is of {len(calibrator.own)} genres, and {folder} has {n_labels}; restore it, or calibrate the run "
            "again"
        )
    return calibrator


def open_thresholds(folder: Path, labels: Sequence[Label], precision: float | None) -> Thresholds:
    """Return the thresholds of a run or export, of the best F1 or of a wished precision; says which ones are unsure.

    Raises UserError if it has none.
    """
    calibrator = read_calibrator(folder, len(labels))
    if calibrator is None:
        exported = (folder / "model.json").exists()
        make = f"python -m mumu_jax.evaluate --workdir={'RUN' if exported else folder} --calibrate"
        raise UserError(
            f"{folder} has no {CALIBRATION}, as it is from before there were thresholds; {make} makes it"
            + (", and then export the run again" if exported else "")
        )
    kind = "best_f1" if precision is None else f"precision={precision:g}"
    thresholds = Thresholds(labels, calibrator, calibrator.thresholds(precision), kind)
    for remark in thresholds.remarks():
        print_remark(f"{folder}: {remark}")
    return thresholds
