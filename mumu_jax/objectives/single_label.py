"""How good scores are where every item has exactly one label: accuracy at k, and what is taken for what.

The rules of `metrics` hold for scores and masks: an item's predicted label is the first of `metrics.top_labels`, so
that ties go to the lowest label index, NaN counts as -inf, and padding may hold anything.  `labels` are multi-hot with
exactly one nonzero a real item; `summarize` refuses others, the jitted functions take the lowest of several labels, or
label 0 for none, as the true one.

scikit-learn is the reference: the confusion matrix equals its own, the shares agree to 1e-6.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from mumu_jax.objectives.metrics import KS, real_items, top_labels


def summarize(
    scores: Float[Array | np.ndarray, "items labels"], labels: Shaped[Array | np.ndarray, "items labels"]
) -> dict[str, float | int]:
    """All metrics of one set of scores, on the host.

    The keys: accuracy_at_k for k = 1, 3, 5, precision_macro, recall_macro, f1_macro and n_items.  With fewer than k
    labels, k is their number; the key stays.  The macro means are over the labels that an item has or is predicted to
    have; a label that is never predicted has a precision of 0, one without items a recall of 0, as with
    scikit-learn's `average="macro", zero_division=0`.

    Raises ValueError if the shapes do not match, if there is no item, if an item has not exactly one label, or if it
    has a NaN score.  Greenfield and Paintsil, Album Covers Deserve Some Attention.
    """
    _check(scores, labels)
    accuracy = {f"accuracy_at_{k}": float(accuracy_at_k(scores, labels, min(k, scores.shape[1]))) for k in KS}
    matrix = np.asarray(confusion_matrix(scores, labels))
    n_hits, n_true, n_predicted = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    there = n_true + n_predicted > 0
    macro = {
        "precision_macro": n_hits / np.maximum(n_predicted, 1),
        "recall_macro": n_hits / np.maximum(n_true, 1),
        "f1_macro": 2 * n_hits / np.maximum(n_true + n_predicted, 1),
    }
    means = {name: float(np.mean(by_label[there])) for name, by_label in macro.items()}
    return accuracy | means | {"n_items": len(scores)}


@partial(jax.jit, static_argnames="k")
def accuracy_at_k(
    scores: Float[Array, "items labels"],
    labels: Shaped[Array, "items labels"],
    k: int,
    mask: Shaped[Array, "items"] | None = None,
) -> Float[Array, ""]:
    """Share of the items whose label is among their k highest scores (0 to 1, or NaN without a real item).

    Raises ValueError unless 1 <= k <= labels.
    """
    real = real_items(mask, len(scores))
    hit = jnp.any(top_labels(scores, k) == _true(labels)[:, None], axis=1)
    return jnp.sum(hit & real) / jnp.sum(real)


@jax.jit
def confusion_matrix(
    scores: Float[Array, "items labels"],
    labels: Shaped[Array, "items labels"],
    mask: Shaped[Array, "items"] | None = None,
) -> Int[Array, "labels labels"]:
    """How many items of each label, a row, are predicted to have each label, a column."""
    n_items, n_labels = scores.shape
    counts = jnp.zeros((n_labels, n_labels), jnp.int32)
    return counts.at[_true(labels), top_labels(scores, 1)[:, 0]].add(real_items(mask, n_items).astype(jnp.int32))


def accuracy_by_label(matrix: Int[Array | np.ndarray, "labels labels"]) -> Float[np.ndarray, "labels"]:
    """Share of each label's items that are predicted to have it (0 to 1, or NaN without an item): its recall.

    `matrix` is what `confusion_matrix` counted.
    """
    matrix = np.asarray(matrix)
    n_true = matrix.sum(axis=1)
    return np.where(n_true > 0, np.diag(matrix) / np.maximum(n_true, 1), np.nan)


def _check(scores: Float[Array | np.ndarray, "..."], labels: Shaped[Array | np.ndarray, "..."]) -> None:
    """Raise ValueError for what `summarize` cannot measure."""
    if labels.shape != scores.shape:
        raise ValueError(f"expected scores and labels of one shape, found {scores.shape} and {labels.shape}")
    if not len(scores):
        raise ValueError("there is no item to score; is the split empty?")
    n_labels = np.count_nonzero(np.asarray(labels), axis=1)
    wrong = np.flatnonzero(n_labels != 1)
    if len(wrong):
        raise ValueError(
            f"expected exactly one label an item, found {n_labels[wrong[0]]} in row {wrong[0]}, and another number "
            f"than one in {len(wrong)} of {len(scores)} rows; use single-label data, or the multi-label metrics"
        )
    n_nan = int(np.isnan(np.asarray(scores)).any(axis=1).sum())
    if n_nan:
        raise ValueError(f"{n_nan} of {len(scores)} items have NaN scores; look for NaN in the model's weights")


def _true(labels: Shaped[Array, "items labels"]) -> Int[Array, "items"]:
    return jnp.argmax(labels != 0, axis=1)
