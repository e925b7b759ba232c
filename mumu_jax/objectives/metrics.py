"""Metrics of scores: by label (ROC-AUC, average precision), by item (coverage, precision, nDCG at k), of single labels.

`METRICS` is the table that evaluation, the terminal and reports read.  All functions but `summarize` are jitted (`k`
static) and share these rules:

* `scores` may be anything rankable: logits, probabilities, cosines.  `labels` are multi-hot, nonzero if an item
  carries a label.  `mask` is nonzero for real items and zero for padding, which may hold anything; without a mask
  all items are real.
* Tied scores.  By label, tied items share one threshold: a tied positive and negative count 1/2 in the ROC-AUC
  (mid-ranks), so constant scores have a ROC-AUC of 1/2 and an average precision of the label's frequency.  By
  item, ties go to the lowest label index, so constant scores rank label 0 first.  -0.0 and 0.0 are tied.
* Scores that are not numbers.  -inf and inf are ordinary extremes.  NaN counts as -inf;
  `summarize` refuses it.
* Absent labels.  A label without a positive item, or without a negative one, has no ROC-AUC: NaN.  A label without
  a positive has no average precision: NaN.
* Items without labels.  They count 0 in precision and nDCG, and as negatives of every label.
* Unseen labels.  `summarize` leaves out of the macro means the labels that have no positive in training, and counts
  them; the macro means are over the labels that are seen and have a positive and a negative item.  Precision, nDCG
  and coverage are over the whole label space.
* One label an item.  The predicted label is the first of `top_labels`.  `summarize` refuses items with another number
  of labels; the jitted functions take the lowest of several labels, or label 0 for none, as the true one.
* No real item.  Everything is NaN, except coverage, which is 0; `summarize` refuses it.

scikit-learn (float64) is the reference where it has the metric; float32 results agree with it to 1e-6.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Shaped

# The k's of the paper, section 4.2.
KS = (1, 3, 5)


def summarize(
    scores: Float[Array | np.ndarray, "items labels"],
    labels: Shaped[Array | np.ndarray, "items labels"],
    seen: Bool[Array | np.ndarray, "labels"],
    mask: Shaped[Array | np.ndarray, "items"] | None = None,
    single_label: bool = False,
) -> dict[str, float | int]:
    """Return all metrics of one set of scores, on the host.

    `seen` is true for labels with a positive in training.  The keys are those of `METRICS` (of one label an item if
    `single_label`), and the counts n_items (real ones), n_labels, n_labels_scored (in the macro means) and
    n_labels_unseen.  With fewer than k labels, k is their number; the key stays.  The macro means are NaN if no label
    can be scored.

    Raises ValueError if the shapes do not match, if there is no real item, or if a real item has a NaN score.
    Oramas et al. 2017, section 4.2.
    """
    real = np.ones(len(scores), bool) if mask is None else np.asarray(mask) != 0
    seen = np.asarray(seen)
    _check(scores, labels, seen, real)
    if single_label:
        _check_single_label(labels, real)
    table = {name: metric for name, metric in METRICS.items() if single_label or not metric.single_label}
    measured, scorable = jax.device_get(_measure(scores, labels, real, tuple(table.values())))
    scored = seen & scorable
    values = {name: _mean_over(scored, value) for name, value in zip(table, measured, strict=True)}
    counts = {
        "n_items": int(real.sum()),
        "n_labels": len(seen),
        "n_labels_scored": int(scored.sum()),
        "n_labels_unseen": int((~seen).sum()),
    }
    single = {name: values.pop(name) for name, metric in table.items() if metric.single_label}
    return values | counts | single


def by_chance(n_labels: int, n_items: int, single_label: bool = False) -> dict[str, float]:
    """Return what uniformly random scores reach, for the metrics that say so."""
    table = {name: metric for name, metric in METRICS.items() if single_label or not metric.single_label}
    return {name: metric.chance(n_labels, n_items) for name, metric in table.items() if metric.chance}


def or_none(value: float) -> float | None:
    """Return a metric for JSON, which has no NaN: None for a macro mean over no label."""
    return value if math.isfinite(value) else None


@jax.jit
def roc_auc(
    scores: Float[Array, "items labels"],
    labels: Shaped[Array, "items labels"],
    mask: Shaped[Array, "items"] | None = None,
) -> Float[Array, "labels"]:
    """Return the probability that a positive item scores above a negative one, for each label (0 to 1, or NaN)."""
    return _roc_auc(*_tally(scores, labels, mask))


@jax.jit
def average_precision(
    scores: Float[Array, "items labels"],
    labels: Shaped[Array, "items labels"],
    mask: Shaped[Array, "items"] | None = None,
) -> Float[Array, "labels"]:
    """Return the sum over the thresholds of precision × rise in recall, for each label (0 to 1, or NaN).

    The step-wise area under the precision-recall curve, as in scikit-learn's `average_precision_score`.
    """
    return _average_precision(*_tally(scores, labels, mask))


@partial(jax.jit, static_argnames="k")
def top_labels(scores: Float[Array, "items labels"], k: int) -> Int[Array, "items k"]:
    """Return the columns of each item's k highest scores, best first; ties go to the lowest label index.

    Raises ValueError unless 1 <= k <= labels, as do all functions that take k.
    """
    n_labels = scores.shape[1]
    if not 1 <= k <= n_labels:
        raise ValueError(f"k is {k}; it must be from 1 to the number of labels, {n_labels}")
    return lax.top_k(_comparable(scores), k)[1]


@partial(jax.jit, static_argnames="k")
def coverage_at_k(
    scores: Float[Array, "items labels"], k: int, mask: Shaped[Array, "items"] | None = None
) -> Float[Array, ""]:
    """Return the share of the label space that reaches at least one item's top k (0 to 1).

    Oramas et al. 2017, section 4.2.
    """
    n_items, n_labels = scores.shape
    reached = jnp.zeros(n_labels, bool).at[top_labels(scores, k)].max(real_items(mask, n_items)[:, None])
    return jnp.mean(reached)


def coverage_by_chance(k: int, n_labels: int, n_items: int) -> float:
    """Return the expected coverage of random scores: how likely a label is in at least one item's top k (0 to 1)."""
    return 1 - (1 - k / n_labels) ** n_items


@partial(jax.jit, static_argnames="k")
def precision_at_k(
    scores: Float[Array, "items labels"],
    labels: Shaped[Array, "items labels"],
    k: int,
    mask: Shaped[Array, "items"] | None = None,
) -> Float[Array, ""]:
    """Return the share of an item's top k that are its labels, mean over the items (0 to 1)."""
    return weighted_mean(jnp.mean(_hits(scores, labels, k), axis=1), real_items(mask, len(scores)))


@partial(jax.jit, static_argnames="k")
def ndcg_at_k(
    scores: Float[Array, "items labels"],
    labels: Shaped[Array, "items labels"],
    k: int,
    mask: Shaped[Array, "items"] | None = None,
) -> Float[Array, ""]:
    """Return the discounted gain of an item's top k, relative to the best order's, mean over the items (0 to 1).

    A hit at rank r, from 1, gains 1 / log2(r + 1), as in scikit-learn's `ndcg_score` without ties.
    """
    discount = 1 / np.log2(np.arange(2, k + 2))
    best = np.cumsum(discount).astype(np.float32)
    n_relevant = jnp.sum(labels != 0, axis=1)
    gain = jnp.sum(_hits(scores, labels, k) * discount.astype(np.float32), axis=1)
    return weighted_mean(gain / jnp.asarray(best)[jnp.clip(n_relevant, 1, k) - 1], real_items(mask, len(scores)))


@partial(jax.jit, static_argnames="k")
def accuracy_at_k(
    scores: Float[Array, "items labels"],
    labels: Shaped[Array, "items labels"],
    k: int,
    mask: Shaped[Array, "items"] | None = None,
) -> Float[Array, ""]:
    """Return the share of items whose one label is among their k highest scores (0 to 1)."""
    hit = jnp.any(top_labels(scores, k) == _true_label(labels)[:, None], axis=1)
    return weighted_mean(hit.astype(jnp.float32), real_items(mask, len(scores)))


@jax.jit
def confusion_matrix(
    scores: Float[Array, "items labels"],
    labels: Shaped[Array, "items labels"],
    mask: Shaped[Array, "items"] | None = None,
) -> Int[Array, "labels labels"]:
    """Count the items of each true label, a row, that are predicted to have each label, a column."""
    n_items, n_labels = scores.shape
    counts = jnp.zeros((n_labels, n_labels), jnp.int32)
    return counts.at[_true_label(labels), top_labels(scores, 1)[:, 0]].add(real_items(mask, n_items).astype(jnp.int32))


def accuracy_by_label(matrix: Int[Array | np.ndarray, "labels labels"]) -> Float[np.ndarray, "labels"]:
    """Return the share of each label's items that are predicted right, from `confusion_matrix` (NaN without items)."""
    matrix = np.asarray(matrix)
    n_true = matrix.sum(axis=1)
    return np.where(n_true > 0, np.diag(matrix) / np.maximum(n_true, 1), np.nan)


# --- the table ----------------------------------------------------------------------------------------------


class Evidence(NamedTuple):
    """Everything that a metric may be computed from."""

    scores: Float[Array, "items labels"]
    labels: Shaped[Array, "items labels"]
    mask: Bool[Array, "items"]

    def tally(self) -> tuple[Int[Array, "labels ranks"], Int[Array, "labels ranks"]]:
        """Count each label's positives and negatives at each rank, best score first."""
        return _tally(self.scores, self.labels, self.mask)

    def k(self, k: int) -> int:
        """Return `k`, or the number of labels if that is smaller."""
        return min(k, self.scores.shape[1])

    def confusion(self) -> tuple[Int[Array, "labels"], Int[Array, "labels"], Int[Array, "labels"]]:
        """Count each label's hits, its items, and the items that are predicted to have it."""
        matrix = confusion_matrix(self.scores, self.labels, self.mask)
        return jnp.diagonal(matrix), matrix.sum(axis=1), matrix.sum(axis=0)


class Metric(NamedTuple):
    """A metric: its name, its value for each label [labels] or for all items [], and its value by chance."""

    name: str  # in reports
    measure: Callable[[Evidence], Array]
    chance: Callable[[int, int], float] | None = None  # from the numbers of labels and of items
    columns: frozenset[str] = frozenset()  # the tables on the terminal that show it: MULTI_LABEL, SINGLE_LABEL
    single_label: bool = False  # defined for one label an item only
    short_name: str = ""  # the title of its column on the terminal, if not `name`

    @property
    def title(self) -> str:
        """The title of a column."""
        return self.short_name or self.name


MULTI_LABEL, SINGLE_LABEL = "multi-label", "single-label"
_MULTI, _SINGLE, _BOTH = frozenset({MULTI_LABEL}), frozenset({SINGLE_LABEL}), frozenset({MULTI_LABEL, SINGLE_LABEL})


def _at_k(name: str, short_name: str, measure: Callable[[Evidence, int], Array], k: int, **how) -> Metric:
    return Metric(
        f"{name}@{k}", lambda evidence: measure(evidence, evidence.k(k)), short_name=f"{short_name}{k}", **how
    )


def _coverage(k: int) -> Metric:
    return _at_k(
        "coverage",
        "C@",
        lambda evidence, k: coverage_at_k(evidence.scores, k, evidence.mask),
        k,
        chance=lambda n_labels, n_items: coverage_by_chance(min(k, n_labels), n_labels, n_items),
        columns=_MULTI,
    )


def _ndcg(k: int) -> Metric:
    columns = _MULTI if k == 5 else frozenset()
    return _at_k("nDCG", "nDCG@", lambda evidence, k: ndcg_at_k(*evidence[:2], k, evidence.mask), k, columns=columns)


def _precision(k: int) -> Metric:
    columns = _MULTI if k == 1 else frozenset()
    return _at_k(
        "precision",
        "P@",
        lambda evidence, k: precision_at_k(*evidence[:2], k, evidence.mask),
        k,
        columns=columns,
    )


def _accuracy(k: int) -> Metric:
    return _at_k(
        "accuracy",
        "top-",
        lambda evidence, k: accuracy_at_k(*evidence[:2], k, evidence.mask),
        k,
        chance=lambda n_labels, n_items: min(k, n_labels) / n_labels,
        columns=_SINGLE,
        single_label=True,
    )


def _macro_precision(evidence: Evidence) -> Float[Array, ""]:
    """Return the mean precision of the labels that occur or are predicted; 0 for one that is never predicted."""
    n_hits, n_true, n_predicted = evidence.confusion()
    return weighted_mean(n_hits / jnp.maximum(n_predicted, 1), n_true + n_predicted > 0)


def _macro_recall(evidence: Evidence) -> Float[Array, ""]:
    """Return the mean recall of the labels that occur or are predicted; 0 for one without items."""
    n_hits, n_true, n_predicted = evidence.confusion()
    return weighted_mean(n_hits / jnp.maximum(n_true, 1), n_true + n_predicted > 0)


def _macro_f1(evidence: Evidence) -> Float[Array, ""]:
    """Return the mean F1 of the labels that occur or are predicted."""
    n_hits, n_true, n_predicted = evidence.confusion()
    return weighted_mean(2 * n_hits / jnp.maximum(n_true + n_predicted, 1), n_true + n_predicted > 0)


# To add a metric, add a row.  One with a value for each label is averaged over the labels that can be scored.
METRICS: dict[str, Metric] = {
    "roc_auc_macro": Metric(
        "ROC-AUC, macro",
        lambda e: _roc_auc(*e.tally()),
        chance=lambda n_labels, n_items: 0.5,
        columns=_BOTH,
        short_name="ROC-AUC",
    ),
    "pr_auc_macro": Metric(
        "average precision, macro",
        lambda e: _average_precision(*e.tally()),
        columns=_MULTI,
        short_name="PR-AUC",
    ),
    **{f"coverage_at_{k}": _coverage(k) for k in KS},
    **{f"ndcg_at_{k}": _ndcg(k) for k in KS},
    **{f"precision_at_{k}": _precision(k) for k in KS},
    **{f"accuracy_at_{k}": _accuracy(k) for k in KS},
    "precision_macro": Metric(
        "precision, macro", _macro_precision, columns=_SINGLE, single_label=True, short_name="precision"
    ),
    "recall_macro": Metric("recall, macro", _macro_recall, columns=_SINGLE, single_label=True, short_name="recall"),
    "f1_macro": Metric("F1, macro", _macro_f1, columns=_SINGLE, single_label=True, short_name="F1"),
}


@partial(jax.jit, static_argnames="metrics")
def _measure(
    scores: Float[Array, "items labels"],
    labels: Shaped[Array, "items labels"],
    mask: Bool[Array, "items"],
    metrics: tuple[Metric, ...],
) -> tuple[list[Array], Bool[Array, "labels"]]:
    """Return each metric, all in one program, and which labels have a positive and a negative item."""
    evidence = Evidence(scores, labels, mask)
    n_positives = jnp.sum((labels != 0) & mask[:, None], axis=0)
    scorable = (n_positives > 0) & (n_positives < jnp.sum(mask))
    return [metric.measure(evidence) for metric in metrics], scorable


# --- how they are computed ----------------------------------------------------------------------------------


def _mean_over(scored: Bool[np.ndarray, "labels"], value: np.ndarray) -> float:
    """Return a metric of all items as it is; of one that has a value for each label, the mean over those `scored`."""
    if value.ndim == 0:
        return float(value)
    return float(np.mean(value[scored], dtype=np.float64)) if scored.any() else float("nan")


def _check(
    scores: Float[Array | np.ndarray, "..."],
    labels: Shaped[Array | np.ndarray, "..."],
    seen: Bool[np.ndarray, "..."],
    real: Bool[np.ndarray, "..."],
) -> None:
    """Raise ValueError for what `summarize` cannot measure."""
    if labels.shape != scores.shape or seen.shape != scores.shape[1:] or real.shape != scores.shape[:1]:
        raise ValueError(
            f"expected scores and labels (items, labels), seen (labels,) and mask (items,), found scores "
            f"{scores.shape}, labels {labels.shape}, seen {seen.shape} and mask {real.shape}"
        )
    if not real.any():
        raise ValueError(f"there is no item to score among {len(real)} rows; is the split empty?")
    n_nan = int((np.isnan(np.asarray(scores)).any(axis=1) & real).sum())
    if n_nan:
        raise ValueError(f"{n_nan} of {real.sum()} items have NaN scores; look for NaN in the model's weights")


def _check_single_label(labels: Shaped[Array | np.ndarray, "items labels"], real: Bool[np.ndarray, "items"]) -> None:
    """Raise ValueError unless each real item has exactly one label."""
    n_labels = np.count_nonzero(np.asarray(labels), axis=1)
    wrong = np.flatnonzero(real & (n_labels != 1))
    if len(wrong):
        raise ValueError(
            f"expected exactly one label an item, found {n_labels[wrong[0]]} in row {wrong[0]}, and another number "
            f"than one in {len(wrong)} of {len(labels)} rows; use single-label data, or the multi-label metrics"
        )


def _tally(
    scores: Float[Array, "items labels"],
    labels: Shaped[Array, "items labels"],
    mask: Shaped[Array, "items"] | None,
) -> tuple[Int[Array, "labels ranks"], Int[Array, "labels ranks"]]:
    """Count each label's positives and negatives at each rank, best score first.

    Tied items share the first of their ranks, and the others are empty.  There are as many ranks as items.
    """
    descending = ~_sort_key(scores).T  # a contiguous integer sort is four times as fast as one of floats
    rank = jax.vmap(jnp.searchsorted)(jnp.sort(descending), descending)
    real = real_items(mask, len(scores))
    positive = (labels != 0).T

    def count(chosen: Bool[Array, "labels items"]) -> Int[Array, "labels ranks"]:
        add = jax.vmap(lambda rank, chosen: jnp.zeros(rank.shape, jnp.int32).at[rank].add(chosen))
        return add(rank, chosen.astype(jnp.int32))

    return count(positive & real), count(~positive & real)


def _roc_auc(positives: Int[Array, "labels ranks"], negatives: Int[Array, "labels ranks"]) -> Float[Array, "labels"]:
    """Return the share of positives ranked above a negative, ties counting half, mean over the negatives."""
    n_positives = jnp.sum(positives, axis=1)
    above_twice = 2 * jnp.cumsum(positives, axis=1) - positives
    auc = weighted_mean(above_twice / jnp.maximum(2 * n_positives, 1)[:, None], negatives)
    return jnp.where(n_positives > 0, auc, jnp.nan)


def _average_precision(
    positives: Int[Array, "labels ranks"], negatives: Int[Array, "labels ranks"]
) -> Float[Array, "labels"]:
    """Return the precision at the rank of a positive, mean over the positives."""
    retrieved = jnp.cumsum(positives + negatives, axis=1)
    return weighted_mean(jnp.cumsum(positives, axis=1) / jnp.maximum(retrieved, 1), positives)


def _hits(
    scores: Float[Array, "items labels"], labels: Shaped[Array, "items labels"], k: int
) -> Bool[Array, "items k"]:
    """Return for each of an item's top k, best first, if it is one of its labels."""
    return jnp.take_along_axis(labels != 0, top_labels(scores, k), axis=1)


def weighted_mean(values: Shaped[Array, "... n"], weights: Shaped[Array, "... n"]) -> Float[Array, "..."]:
    """Return the mean over the last axis, weighted by counts or by a mask; NaN if all weights are 0."""
    return jnp.sum(values * weights, axis=-1) / jnp.sum(weights, axis=-1)


def _comparable(scores: Float[Array, "items labels"]) -> Float[Array, "items labels"]:
    """Return the scores with -inf for NaN and 0.0 for -0.0, so that sorting by bits is sorting by value."""
    bits = _bits(scores)
    scores = jnp.where(bits == jnp.iinfo(bits.dtype).min, 0, scores)  # `scores == 0` could match denormals
    return jnp.where(jnp.isnan(scores), -jnp.inf, scores)


def _sort_key(scores: Float[Array, "items labels"]) -> Int[Array, "items labels"]:
    """Return integers in the order of the scores: sign and magnitude of the floats to two's complement."""
    bits = _bits(_comparable(scores))
    return jnp.where(bits < 0, bits ^ jnp.iinfo(bits.dtype).max, bits)


def _bits(scores: Float[Array, "items labels"]) -> Int[Array, "items labels"]:
    return lax.bitcast_convert_type(scores, f"int{jnp.finfo(scores.dtype).bits}")


def real_items(mask: Shaped[Array, "items"] | None, n_items: int) -> Bool[Array, "items"]:
    """Return True for real items; all are real without a mask."""
    return jnp.ones(n_items, bool) if mask is None else mask != 0


def _true_label(labels: Shaped[Array, "items labels"]) -> Int[Array, "items"]:
    return jnp.argmax(labels != 0, axis=1)
