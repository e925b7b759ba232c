"""How good scores are: by label (ROC-AUC, average precision) and by item (coverage, precision, nDCG at k).

All functions but `summarize` are jitted (`k` static) and share these rules:

* `scores` may be anything rankable: logits, probabilities, cosines.  `labels` are multi-hot, nonzero where an item
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
* Unseen labels.  `summarize` leaves out of both macro means the labels that have no positive in training, which
  nothing could have learnt, and counts them; the macro means are over the labels that are seen and have a
  positive and a negative item.  Precision, nDCG and coverage are over the whole label space.
* No real item.  Everything is NaN, except coverage, which is 0; `summarize` refuses it.

scikit-learn (float64) is the reference where it has the metric; float32 results agree with it to 1e-6.
"""

import math
from functools import partial

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
) -> dict[str, float | int]:
    """All metrics of one set of scores, on the host.

    `seen` is true for labels with a positive in training.  The keys: roc_auc_macro, pr_auc_macro (the mean average
    precision), coverage_at_k, precision_at_k and ndcg_at_k for k = 1, 3, 5, and the counts n_items (real ones),
    n_labels, n_labels_scored (in the macro means) and n_labels_unseen.  With fewer than k labels, k is their
    number; the key stays.  The macro means are NaN if no label can be scored.

    Raises ValueError if the shapes do not match, if there is no real item, or if a real item has a NaN score.
    Oramas et al. 2017, section 4.2.
    """
    real = np.ones(len(scores), bool) if mask is None else np.asarray(mask) != 0
    seen = np.asarray(seen)
    _check(scores, labels, seen, real)
    by_label, by_k = jax.device_get(_measure(scores, labels, real))
    scored = seen & np.isfinite(by_label["roc_auc_macro"])
    macro = {
        name: float(np.mean(by_label[name][scored], dtype=np.float64)) if scored.any() else float("nan")
        for name in ("roc_auc_macro", "pr_auc_macro")
    }
    counts = {
        "n_items": int(real.sum()),
        "n_labels": len(seen),
        "n_labels_scored": int(scored.sum()),
        "n_labels_unseen": int((~seen).sum()),
    }
    return macro | {name: float(value) for name, value in by_k.items()} | counts


def or_none(value: float) -> float | None:
    """A metric for JSON, which has no NaN, such as a macro mean over no label."""
    return value if math.isfinite(value) else None


@jax.jit
def roc_auc(
    scores: Float[Array, "items labels"],
    labels: Shaped[Array, "items labels"],
    mask: Shaped[Array, "items"] | None = None,
) -> Float[Array, "labels"]:
    """Probability that a positive item scores higher than a negative one, for each label (0 to 1, or NaN)."""
    return _roc_auc(*_tally(scores, labels, mask))


@jax.jit
def average_precision(
    scores: Float[Array, "items labels"],
    labels: Shaped[Array, "items labels"],
    mask: Shaped[Array, "items"] | None = None,
) -> Float[Array, "labels"]:
    """Sum over the thresholds of precision × rise in recall, for each label (0 to 1, or NaN).

    The step-wise area under the precision-recall curve, as in scikit-learn's `average_precision_score`.
    """
    return _average_precision(*_tally(scores, labels, mask))


@partial(jax.jit, static_argnames="k")
def top_labels(scores: Float[Array, "items labels"], k: int) -> Int[Array, "items k"]:
    """Columns of each item's k highest scores, best first; ties go to the lowest label index.

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
    """Share of the label space that reaches at least one item's top k (0 to 1).

    Oramas et al. 2017, section 4.2.
    """
    n_items, n_labels = scores.shape
    reached = jnp.zeros(n_labels, bool).at[top_labels(scores, k)].max(real_items(mask, n_items)[:, None])
    return jnp.mean(reached)


def coverage_by_chance(k: int, n_labels: int, n_items: int) -> float:
    """What random scores reach at k: the probability that a label is in at least one item's top k (0 to 1)."""
    return 1 - (1 - k / n_labels) ** n_items


@partial(jax.jit, static_argnames="k")
def precision_at_k(
    scores: Float[Array, "items labels"],
    labels: Shaped[Array, "items labels"],
    k: int,
    mask: Shaped[Array, "items"] | None = None,
) -> Float[Array, ""]:
    """Share of an item's top k that are its labels, mean over the items (0 to 1)."""
    return _mean(jnp.mean(_hits(scores, labels, k), axis=1), real_items(mask, len(scores)))


@partial(jax.jit, static_argnames="k")
def ndcg_at_k(
    scores: Float[Array, "items labels"],
    labels: Shaped[Array, "items labels"],
    k: int,
    mask: Shaped[Array, "items"] | None = None,
) -> Float[Array, ""]:
    """Discounted gain of an item's top k, relative to the best order's, mean over the items (0 to 1).

    A hit at rank r, from 1, gains 1 / log2(r + 1), as in scikit-learn's `ndcg_score` without ties.
    """
    discount = 1 / np.log2(np.arange(2, k + 2))
    best = np.cumsum(discount).astype(np.float32)
    n_relevant = jnp.sum(labels != 0, axis=1)
    gain = jnp.sum(_hits(scores, labels, k) * discount.astype(np.float32), axis=1)
    return _mean(gain / jnp.asarray(best)[jnp.clip(n_relevant, 1, k) - 1], real_items(mask, len(scores)))


@jax.jit
def _measure(
    scores: Float[Array, "items labels"], labels: Shaped[Array, "items labels"], mask: Bool[Array, "items"]
) -> tuple[dict[str, Float[Array, "labels"]], dict[str, Float[Array, ""]]]:
    """Everything that `summarize` needs, in one program: metrics by label, and metrics at each k."""
    tally = _tally(scores, labels, mask)
    by_label = {"roc_auc_macro": _roc_auc(*tally), "pr_auc_macro": _average_precision(*tally)}
    by_k = {}
    for k in KS:
        clipped = min(k, scores.shape[1])
        by_k[f"coverage_at_{k}"] = coverage_at_k(scores, clipped, mask)
        by_k[f"precision_at_{k}"] = precision_at_k(scores, labels, clipped, mask)
        by_k[f"ndcg_at_{k}"] = ndcg_at_k(scores, labels, clipped, mask)
    return by_label, by_k


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
    """Share of the positives ranked above a negative, ties counting half, mean over the negatives."""
    n_positives = jnp.sum(positives, axis=1)
    above_twice = 2 * jnp.cumsum(positives, axis=1) - positives
    auc = _mean(above_twice / jnp.maximum(2 * n_positives, 1)[:, None], negatives)
    return jnp.where(n_positives > 0, auc, jnp.nan)


def _average_precision(
    positives: Int[Array, "labels ranks"], negatives: Int[Array, "labels ranks"]
) -> Float[Array, "labels"]:
    """Precision at the rank of a positive, mean over the positives."""
    retrieved = jnp.cumsum(positives + negatives, axis=1)
    return _mean(jnp.cumsum(positives, axis=1) / jnp.maximum(retrieved, 1), positives)


def _hits(
    scores: Float[Array, "items labels"], labels: Shaped[Array, "items labels"], k: int
) -> Bool[Array, "items k"]:
    """Whether each of an item's top k, best first, is one of its labels."""
    return jnp.take_along_axis(labels != 0, top_labels(scores, k), axis=1)


def _mean(values: Float[Array, "... n"], weights: Shaped[Array, "... n"]) -> Float[Array, "..."]:
    """Mean over the last axis, weighted by counts or by a mask; NaN if all weights are 0."""
    return jnp.sum(values * weights, axis=-1) / jnp.sum(weights, axis=-1)


def _comparable(scores: Float[Array, "items labels"]) -> Float[Array, "items labels"]:
    """The scores with -inf for NaN and 0.0 for -0.0, so that sorting by bits is sorting by value."""
    bits = _bits(scores)
    scores = jnp.where(bits == jnp.iinfo(bits.dtype).min, 0, scores)  # `scores == 0` could match denormals
    return jnp.where(jnp.isnan(scores), -jnp.inf, scores)


def _sort_key(scores: Float[Array, "items labels"]) -> Int[Array, "items labels"]:
    """Integers in the order of the scores: sign and magnitude of the floats to two's complement."""
    bits = _bits(_comparable(scores))
    return jnp.where(bits < 0, bits ^ jnp.iinfo(bits.dtype).max, bits)


def _bits(scores: Float[Array, "items labels"]) -> Int[Array, "items labels"]:
    return lax.bitcast_convert_type(scores, f"int{jnp.finfo(scores.dtype).bits}")


def real_items(mask: Shaped[Array, "items"] | None, n_items: int) -> Bool[Array, "items"]:
    """True for real items, all where there is no mask."""
    return jnp.ones(n_items, bool) if mask is None else mask != 0
