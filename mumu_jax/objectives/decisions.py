"""Metrics of decisions, the labels given to an item: Jaccard, subset accuracy, F1 of three kinds, Hamming loss.

`DECISIONS` is the table that evaluation, the terminal and reports read.  All functions but `summarize` are jitted and
share these rules:

* `given` and `labels` are multi-hot, nonzero if an item is given a label, or carries it.  `mask` is nonzero for real
  items and zero for padding, which may hold anything; without a mask all items are real.
* Empty items.  An item without labels that is given none is decided right: its Jaccard and its F1 are 1 (scikit-learn's
  `zero_division=1`), as its subset accuracy is.  If only one side is empty, both are 0.  The micro F1 of items that
  all are empty is 1.
* Absent labels.  A label without a positive item has no F1: NaN.  The macro mean leaves it out, and so it does labels
  that have no positive in training, as the macro means of `metrics` do.  Unlike these it keeps a label that all items
  carry, which has an F1.  The other metrics are over the whole label space, so that giving an absent label costs.
* No real item.  Everything is NaN; `summarize` refuses it.

scikit-learn (float64) is the reference; float32 results agree with it to 1e-6.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from mumu_jax.objectives.metrics import real_items, weighted_mean


def summarize(
    given: Shaped[Array | np.ndarray, "items labels"],
    labels: Shaped[Array | np.ndarray, "items labels"],
    seen: Bool[Array | np.ndarray, "labels"],
    mask: Shaped[Array | np.ndarray, "items"] | None = None,
) -> dict[str, float]:
    """Return all metrics of one set of decisions, on the host; the keys are those of `DECISIONS`.

    `seen` is true for labels with a positive in training.  The macro F1 is NaN if no label is seen and has a positive.

    Raises ValueError if the shapes do not match, or if there is no real item.
    """
    real = np.ones(len(given), bool) if mask is None else np.asarray(mask) != 0
    if labels.shape != given.shape or seen.shape != given.shape[1:] or real.shape != given.shape[:1]:
        raise ValueError(
            f"expected given and labels (items, labels), seen (labels,) and mask (items,), found given {given.shape}, "
            f"labels {labels.shape}, seen {seen.shape} and mask {real.shape}; pass the rows of one split to all"
        )
    if not real.any():
        raise ValueError(f"there is no item to score among {len(real)} rows; is the split empty?")
    values = jax.device_get(_measure(Decided(given, labels, seen, real)))
    return {name: float(value) for name, value in zip(DECISIONS, values, strict=True)}


@jax.jit
def jaccard(
    given: Shaped[Array, "items labels"],
    labels: Shaped[Array, "items labels"],
    mask: Shaped[Array, "items"] | None = None,
) -> Float[Array, ""]:
    """Return the labels both given and carried over those given or carried, mean over the items (0 to 1).

    scikit-learn's `jaccard_score(average="samples", zero_division=1)`.
    """
    n_hits, n_given, n_true = _count(given, labels, axis=1)
    return weighted_mean(_ratio(n_hits, n_given + n_true - n_hits), real_items(mask, len(given)))


@jax.jit
def subset_accuracy(
    given: Shaped[Array, "items labels"],
    labels: Shaped[Array, "items labels"],
    mask: Shaped[Array, "items"] | None = None,
) -> Float[Array, ""]:
    """Return the share of items that are given all of their labels and no other (0 to 1).

    scikit-learn's `accuracy_score` of multi-hot labels.
    """
    is_right = jnp.all((given != 0) == (labels != 0), axis=1)
    return weighted_mean(is_right.astype(jnp.float32), real_items(mask, len(given)))


@jax.jit
def f1_samples(
    given: Shaped[Array, "items labels"],
    labels: Shaped[Array, "items labels"],
    mask: Shaped[Array, "items"] | None = None,
) -> Float[Array, ""]:
    """Return the F1 of each item's labels, mean over the items (0 to 1).

    scikit-learn's `f1_score(average="samples", zero_division=1)`.
    """
    n_hits, n_given, n_true = _count(given, labels, axis=1)
    return weighted_mean(_ratio(2 * n_hits, n_given + n_true), real_items(mask, len(given)))


@jax.jit
def f1_micro(
    given: Shaped[Array, "items labels"],
    labels: Shaped[Array, "items labels"],
    mask: Shaped[Array, "items"] | None = None,
) -> Float[Array, ""]:
    """Return the F1 over all pairs of an item and a label (0 to 1): frequent labels count most.

    scikit-learn's `f1_score(average="micro", zero_division=1)`.
    """
    real = real_items(mask, len(given))
    n_hits, n_given, n_true = (jnp.sum(count) for count in _count(given, labels, axis=0, real=real))
    return jnp.where(real.any(), _ratio(2 * n_hits, n_given + n_true), jnp.nan)


@jax.jit
def f1_by_label(
    given: Shaped[Array, "items labels"],
    labels: Shaped[Array, "items labels"],
    mask: Shaped[Array, "items"] | None = None,
) -> Float[Array, "labels"]:
    """Return the F1 of each label over the items (0 to 1, or NaN)."""
    n_hits, n_given, n_true = _count(given, labels, axis=0, real=real_items(mask, len(given)))
    return jnp.where(n_true > 0, _ratio(2 * n_hits, n_given + n_true), jnp.nan)


@jax.jit
def f1_macro(
    given: Shaped[Array, "items labels"],
    labels: Shaped[Array, "items labels"],
    mask: Shaped[Array, "items"] | None = None,
    seen: Bool[Array, "labels"] | None = None,
) -> Float[Array, ""]:
    """Return the mean F1 of the labels that are seen in training and have a positive (0 to 1, or NaN).

    All labels are seen without `seen`.  scikit-learn's `f1_score(average="macro")` of these labels.
    """
    f1 = f1_by_label(given, labels, mask)
    scored = ~jnp.isnan(f1) if seen is None else seen & ~jnp.isnan(f1)
    return weighted_mean(jnp.where(scored, f1, 0), scored)


@jax.jit
def hamming_loss(
    given: Shaped[Array, "items labels"],
    labels: Shaped[Array, "items labels"],
    mask: Shaped[Array, "items"] | None = None,
) -> Float[Array, ""]:
    """Return the share of pairs of an item and a label that are decided wrong (0 to 1, 0 is best).

    scikit-learn's `hamming_loss`.
    """
    n_wrong = jnp.sum((given != 0) != (labels != 0), axis=1)
    return weighted_mean(n_wrong, real_items(mask, len(given))) / labels.shape[1]


# --- the table ----------------------------------------------------------------------------------------------


class Decided(NamedTuple):
    """Everything that a metric of decisions may be computed from."""

    given: Shaped[Array | np.ndarray, "items labels"]
    labels: Shaped[Array | np.ndarray, "items labels"]
    seen: Bool[Array | np.ndarray, "labels"]
    mask: Bool[Array | np.ndarray, "items"]


class Metric(NamedTuple):
    """A metric of decisions: its name in reports, the title of its column on the terminal, and its value."""

    name: str
    title: str
    measure: Callable[[Decided], Array]


# To add a metric, add a row.
DECISIONS: dict[str, Metric] = {
    "jaccard": Metric("Jaccard", "Jaccard", lambda d: jaccard(d.given, d.labels, d.mask)),
    "subset_accuracy": Metric("subset accuracy", "subset acc.", lambda d: subset_accuracy(d.given, d.labels, d.mask)),
    "f1_samples": Metric("F1, by item", "F1 samples", lambda d: f1_samples(d.given, d.labels, d.mask)),
    "f1_micro": Metric("F1, micro", "F1 micro", lambda d: f1_micro(d.given, d.labels, d.mask)),
    "f1_macro": Metric("F1, macro", "F1 macro", lambda d: f1_macro(d.given, d.labels, d.mask, d.seen)),
    "hamming_loss": Metric("Hamming loss", "Hamming", lambda d: hamming_loss(d.given, d.labels, d.mask)),
}


@jax.jit
def _measure(decided: Decided) -> list[Array]:
    """Return each metric, all in one program."""
    return [metric.measure(decided) for metric in DECISIONS.values()]


# --- how they are computed ----------------------------------------------------------------------------------


def _count(
    given: Shaped[Array, "items labels"],
    labels: Shaped[Array, "items labels"],
    axis: int,
    real: Bool[Array, "items"] | None = None,
) -> tuple[Int[Array, "n"], Int[Array, "n"], Int[Array, "n"]]:
    """Count along an axis the pairs both given and carried, those given, and those carried; of `real` items only."""
    is_given, is_true = given != 0, labels != 0
    if real is not None:
        is_given, is_true = is_given & real[:, None], is_true & real[:, None]
    return jnp.sum(is_given & is_true, axis=axis), jnp.sum(is_given, axis=axis), jnp.sum(is_true, axis=axis)


def _ratio(n: Int[Array, "..."], of: Int[Array, "..."]) -> Float[Array, "..."]:
    """Return n / of; 1 where there is nothing to give and nothing is given."""
    return jnp.where(of > 0, n / jnp.maximum(of, 1), 1)
