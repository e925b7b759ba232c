"""Saved scores in numbers for a page, label by label; ties and absent labels count as in `objectives.metrics`."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Shaped
from sklearn.metrics import roc_curve

from mumu_jax.objectives import Objective, metrics
from mumu_jax.objectives.metrics import or_none
from mumu_jax.runs.calibration import Calibrator

MAX_POINTS = 100  # of a ROC curve
PROBABILITIES = np.linspace(0, 1, 11)  # edges of bins
COSINES = np.linspace(-1, 1, 41)


class LabelScore(NamedTuple):
    """A label's metrics.  None if they are not defined: without a positive item, or without a negative one."""

    column: int
    name: str
    support: int  # items that have it
    roc_auc: float | None
    average_precision: float | None
    seen: bool  # it has a positive in training


class Curve(NamedTuple):
    """A ROC curve: the shares of the negatives and of the positives that score above each threshold."""

    false_positive: Float[np.ndarray, " points"]
    true_positive: Float[np.ndarray, " points"]


class Calibration(NamedTuple):
    """Bins of probabilities or cosines that are not empty: their mean score, share of true ones, and count.

    `error` is the expected calibration error: |mean - share|, averaged over the scores.  None for cosines.
    """

    score: Float64[np.ndarray, " bins"]
    frequency: Float64[np.ndarray, " bins"]
    count: Int[np.ndarray, " bins"]
    error: float | None


class Pair(NamedTuple):
    """Two labels that are confused: `n` items have `label` but were given `instead`, which they do not have.

    They are a `share` of all items that have `label`.
    """

    label: int
    instead: int
    n: int
    share: float


def by_label(
    scores: Float[np.ndarray, "items labels"],
    labels: Shaped[np.ndarray, "items labels"],
    names: list[str],
    seen: Bool[np.ndarray, " labels"],
) -> list[LabelScore]:
    """Score each label, in column order."""
    roc_auc = np.asarray(metrics.roc_auc(scores, labels)).tolist()
    precision = np.asarray(metrics.average_precision(scores, labels)).tolist()
    support = np.count_nonzero(labels, axis=0).tolist()
    return [
        LabelScore(i, name, support[i], or_none(roc_auc[i]), or_none(precision[i]), bool(seen[i]))
        for i, name in enumerate(names)
    ]


def roc(scores: Float[np.ndarray, " items"], labels: Shaped[np.ndarray, " items"]) -> Curve:
    """Return the curve of one label that has positives and negatives.

    Of its points, at most `MAX_POINTS` are left, evenly along its way and with both ends.
    """
    false, true, _ = roc_curve(labels != 0, scores)
    way = false + true  # grows from 0 to 2
    kept = np.unique(np.searchsorted(way, np.linspace(0, way[-1], MAX_POINTS)))
    return Curve(false[kept], true[kept])


def coverage(scores: Float[np.ndarray, "items labels"], max_k: int) -> Float64[np.ndarray, " ks"]:
    """Return `metrics.coverage_at_k` for k = 1 … `max_k`, or as many as there are labels, from one sort."""
    n_labels = scores.shape[1]
    top = np.asarray(metrics.top_labels(scores, min(max_k, n_labels)))
    covered, shares = np.zeros(n_labels, bool), np.zeros(top.shape[1])
    for rank in range(len(shares)):
        covered[top[:, rank]] = True
        shares[rank] = covered.mean()
    return shares


def calibration(
    scores: Float[np.ndarray, "items labels"],
    labels: Shaped[np.ndarray, "items labels"],
    objective: Objective,
    calibrator: Calibrator | None = None,
) -> Calibration:
    """Compare scores, or the probabilities that `calibrator` makes of them, with outcomes over pairs of item and label.

    With one label an item, only each item's most probable label counts (Guo et al. 2017).  `scores` are readable ones
    of `objective`'s kind.
    """
    compared = calibrator.probability(scores) if calibrator else scores
    if objective.single_label:
        top = np.asarray(metrics.top_labels(scores, 1))
        compared, labels = np.take_along_axis(compared, top, axis=1), np.take_along_axis(labels, top, axis=1)
    of_cosines = objective.unit_output and calibrator is None
    edges = COSINES if of_cosines else PROBABILITIES
    score, true = compared.ravel().astype(float), labels.ravel() != 0
    bins = np.digitize(score, edges[1:-1])
    count, n_true, total = (np.bincount(bins, weights, len(edges) - 1) for weights in (None, true, score))
    filled = count > 0
    count, mean, frequency = count[filled], total[filled] / count[filled], n_true[filled] / count[filled]
    error = None if of_cosines else float(np.average(np.abs(mean - frequency), weights=count))
    return Calibration(mean, frequency, count, error)


def confused_pairs(
    scores: Float[np.ndarray, "items labels"], labels: Shaped[np.ndarray, "items labels"], n_pairs: int
) -> list[Pair]:
    """Return the `n_pairs` most frequent confusions, the most frequent first.

    An item with n labels is given the n labels with the highest scores.  A pair counts if the first is one of its
    labels and was not given, and the second was given and is not.
    """
    true = labels != 0
    n_labels = true.sum(axis=1, keepdims=True)
    top = np.asarray(metrics.top_labels(scores, max(1, int(n_labels.max()))))
    given = np.zeros_like(true)
    np.put_along_axis(given, top, np.arange(top.shape[1]) < n_labels, axis=1)
    counts = (true & ~given).T.astype(float) @ (given & ~true).astype(float)
    order = np.argsort(-counts, axis=None, kind="stable")[:n_pairs]
    support = true.sum(axis=0)
    pairs = zip(*np.unravel_index(order, counts.shape), strict=True)
    return [Pair(int(a), int(b), int(counts[a, b]), float(counts[a, b] / support[a])) for a, b in pairs if counts[a, b]]
