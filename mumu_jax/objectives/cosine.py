"""The paper's COSINE objective: a target vector for each label and each item, and scores from predicted vectors.

Labels that occur together point the same way.  Oramas et al. 2017, section 4.1; M is the binary matrix of albums
and labels, X its PPMI, C the label factors, F the item factors.

Some labels and items have no direction; their vector is zero.  A label has none if no album or every album carries
it, or if the factors kept do not reach it; an item has none if none of its labels has one.  `has_direction` finds
both, so that the caller can warn.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision
from jaxtyping import Array, Bool, Float, Shaped

from mumu_jax.objectives.logits import at_least_float32
from mumu_jax.objectives.objective import Fitted, Objective

# A shorter vector counts as zero: in float32 the gradient of its direction would overflow.
MIN_LENGTH = 1e-12

# What is smaller, relative to the largest, cannot be told from the rounding of a float32 SVD.
NEGLIGIBLE = 1e-5


@dataclass(frozen=True)
class Cosine(Objective):
    """Cosine distance to the target vector of an item.  Oramas et al. 2017, sections 4.1 and 5.1."""

    n_factors: int

    settings: ClassVar[frozenset[str]] = frozenset({"n_factors"})
    unit_output: ClassVar[bool] = True
    meaning: ClassVar[str] = "cosines between an item's vector and each genre's, from −1 to 1; only their order counts"
    unseen: ClassVar[str] = "they are scored by their factors alone, which the labels that they share albums with give"
    untargeted: ClassVar[str] = "have no label factor: they score -1, and albums with no other label do not train"

    def fit(self, labels: Shaped[np.ndarray, "albums labels"]) -> dict[str, Array]:
        """Fit the label factors.  Raises ValueError if no label has a direction."""
        return {"label_factors": label_factors(ppmi(labels), self.n_factors)}

    def n_outputs(self, n_labels: int, fitted: Fitted) -> int:
        """Return the number of label factors."""
        return fitted["label_factors"].shape[1] if fitted else min(self.n_factors, n_labels)

    def has_target(self, n_labels: int, fitted: Fitted) -> Bool[np.ndarray, " labels"]:
        """Return which labels have a direction."""
        return np.asarray(has_direction(jnp.asarray(fitted["label_factors"])))

    def loss(
        self, output: Float[Array, "items d"], labels: Shaped[Array, "items labels"], fitted: Fitted
    ) -> tuple[Float[Array, " items"], Float[Array, " items"]]:
        """Return (1 - cos)/2 of each item, 0 to 1, and 0 for an item whose labels have no direction, else 1."""
        return cosine_loss(output, item_factors(labels, fitted["label_factors"]))

    def scores(self, output: Float[Array, "items d"], fitted: Fitted) -> Float[Array, "items labels"]:
        """Return the cosine of each output with each label's factors."""
        return cosine_scores(output, fitted["label_factors"])


@jax.jit
def ppmi(labels: Shaped[Array | np.ndarray, "albums labels"]) -> Float[Array, "labels labels"]:
    """Return the positive pointwise mutual information of each two labels, in nats; the diagonal is kept.

    `labels` is multi-hot, nonzero where an album carries a label.  A label without an album has zeros.
    Oramas et al. 2017, equation (1).
    """
    M = (jnp.asarray(labels) != 0).astype(jnp.float32)
    together = jnp.matmul(M.T, M, precision=Precision.HIGHEST)  # counts: exact up to 2^24 albums
    count = jnp.diagonal(together)
    defined = together > 0
    ratio = together * M.shape[0] / jnp.where(defined, jnp.outer(count, count), 1)
    return jnp.maximum(0, jnp.log(jnp.where(defined, ratio, 1)))


def label_factors(ppmi: Float[Array | np.ndarray, "labels labels"], n_factors: int) -> Float[Array, "labels d"]:
    """Return C = U_d √Σ_d of the SVD X ≈ UΣV; d is `n_factors`, or the numerical rank of X if that is smaller.

    The largest component of each column is positive (the first of them, if several are equal).  Call it on
    the host, outside `jit`: the shape of the result depends on the values.

    Raises ValueError if `n_factors` is below 1, or if X is zero and no label has a direction.
    Oramas et al. 2017, section 4.1.
    """
    if n_factors < 1:
        raise ValueError(f"n_factors is {n_factors}; it must be at least 1")
    U, singular, _ = jnp.linalg.svd(jnp.asarray(ppmi))
    rank = int(np.sum(np.asarray(singular) > NEGLIGIBLE * singular[0]))
    if rank == 0:
        raise ValueError(
            "the PPMI of the labels is zero, so they have no factors: every label is on all albums or on none; "
            "train with logistic targets instead"
        )
    return _keep_factors(U, singular, min(n_factors, rank))


@jax.jit
def item_factors(
    labels: Shaped[Array | np.ndarray, "items labels"], C: Float[Array, "labels d"]
) -> Float[Array, "items d"]:
    """Return F = M·C, each row of length 1, or zero for an item whose labels have no direction.

    `labels` is multi-hot, nonzero if an item carries a label.  Oramas et al. 2017, section 4.1.
    """
    M = (jnp.asarray(labels) != 0).astype(C.dtype)
    return l2_normalize(jnp.matmul(M, C, precision=Precision.HIGHEST))


@jax.jit
def cosine_scores(prediction: Float[Array, "items d"], C: Float[Array, "labels d"]) -> Float[Array, "items labels"]:
    """Return the cosine of each prediction with each label, -1 to 1.

    A label without a direction scores -1; a zero prediction scores 0 for all the others.
    Oramas et al. 2017, section 4.1.
    """
    cosine = jnp.matmul(l2_normalize(prediction), l2_normalize(C).T, precision=Precision.HIGHEST)
    return jnp.where(has_direction(C), cosine, -1)


def cosine_loss(
    prediction: Float[Array, "items d"], target: Float[Array, "items d"]
) -> tuple[Float[Array, " items"], Float[Array, " items"]]:
    """Return (1 - cos)/2 of each item, 0 to 1, and its weight: 0 for an item without a target direction, else 1.

    Only directions count, not lengths; a zero prediction loses 1/2.  Computed in float32 or better, with finite
    gradients.  Oramas et al. 2017, section 5.1.
    """
    prediction, target = at_least_float32(prediction), at_least_float32(target)
    cosine = jnp.sum(l2_normalize(prediction) * l2_normalize(target), axis=-1)
    return (1 - cosine) / 2, has_direction(target).astype(cosine.dtype)


def l2_normalize(vectors: Float[Array, "*rows d"]) -> Float[Array, "*rows d"]:
    """Divide each vector by its length; one without a direction becomes zero, and so does its gradient."""
    squared = jnp.sum(jnp.square(vectors), axis=-1, keepdims=True)
    zero = squared <= MIN_LENGTH**2  # False for NaN, which must come out as NaN
    return jnp.where(zero, 0, vectors / jnp.sqrt(jnp.where(zero, 1, squared)))


def has_direction(vectors: Float[Array, "*rows d"]) -> Bool[Array, "*rows"]:
    """Return False for zero rows: labels or items that the factors do not describe."""
    return jnp.sum(jnp.square(vectors), axis=-1) > MIN_LENGTH**2


@partial(jax.jit, static_argnames="d")
def _keep_factors(
    U: Float[Array, "labels labels"], singular: Float[Array, "labels"], d: int
) -> Float[Array, "labels d"]:
    """Return U_d √Σ_d with defined signs, and exact zeros in rows that are zero but for rounding."""
    C = _fix_signs(U[:, :d] * jnp.sqrt(singular[:d]))
    length = jnp.linalg.norm(C, axis=1, keepdims=True)
    return jnp.where(length > NEGLIGIBLE * jnp.max(length), C, 0)


def _fix_signs(C: Float[Array, "labels d"]) -> Float[Array, "labels d"]:
    """Flip columns so that the first of their largest components is positive, whatever the SVD's signs."""
    magnitude = jnp.abs(C)
    largest = jnp.argmax(magnitude > (1 - NEGLIGIBLE) * jnp.max(magnitude, axis=0), axis=0)
    return C * jnp.sign(jnp.take_along_axis(C, largest[None, :], axis=0))
