"""The paper's COSINE targets: a vector for each label and each item, and back to scores.

Labels that occur together point the same way.  Oramas et al. 2017, section 4.1; M is the binary matrix of albums
and labels, X its PPMI, C the label factors, F the item factors.

Some labels and items have no direction, and theirs is a zero row.  A label is such a one if no album or every
album carries it, or if the factors kept do not reach it; an item, if none of its labels has a direction.
`has_direction` finds both, so that the caller can warn.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision
from jaxtyping import Array, Bool, Float, Shaped

# A shorter vector counts as zero: in float32 the gradient of its direction would overflow.
MIN_LENGTH = 1e-12

# What is smaller, relative to the largest, cannot be told from the rounding of a float32 SVD.
NEGLIGIBLE = 1e-5


@jax.jit
def ppmi(labels: Shaped[Array | np.ndarray, "albums labels"]) -> Float[Array, "labels labels"]:
    """Positive pointwise mutual information of each two labels, in nats; the diagonal is kept.

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
    """C = U_d √Σ_d of the SVD X ≈ UΣV; d is `n_factors`, or the numerical rank of X where that is smaller.

    The largest component of each column is positive (the first of them, where several are equal).  Call it on
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
    """F = M·C, each row of length 1, or zero for an item whose labels have no direction.

    `labels` is multi-hot, nonzero where an item carries a label.  Oramas et al. 2017, section 4.1.
    """
    M = (jnp.asarray(labels) != 0).astype(C.dtype)
    return l2_normalize(jnp.matmul(M, C, precision=Precision.HIGHEST))


@jax.jit
def cosine_scores(prediction: Float[Array, "items d"], C: Float[Array, "labels d"]) -> Float[Array, "items labels"]:
    """Cosine of each prediction with each label, -1 to 1.

    A label without a direction scores -1; a zero prediction scores 0 for all the others.
    Oramas et al. 2017, section 4.1.
    """
    cosine = jnp.matmul(l2_normalize(prediction), l2_normalize(C).T, precision=Precision.HIGHEST)
    return jnp.where(has_direction(C), cosine, -1)


def l2_normalize(vectors: Float[Array, "*rows d"]) -> Float[Array, "*rows d"]:
    """Each vector divided by its length; one without a direction becomes zero, and so does its gradient."""
    squared = jnp.sum(jnp.square(vectors), axis=-1, keepdims=True)
    zero = squared <= MIN_LENGTH**2  # False for NaN, which must come out as NaN
    return jnp.where(zero, 0, vectors / jnp.sqrt(jnp.where(zero, 1, squared)))


def has_direction(vectors: Float[Array, "*rows d"]) -> Bool[Array, "*rows"]:
    """False for the zero rows: labels or items that the factors do not describe."""
    return jnp.sum(jnp.square(vectors), axis=-1) > MIN_LENGTH**2


@partial(jax.jit, static_argnames="d")
def _keep_factors(
    U: Float[Array, "labels labels"], singular: Float[Array, "labels"], d: int
) -> Float[Array, "labels d"]:
    """U_d √Σ_d with defined signs, and exact zeros in the rows that are zero but for rounding."""
    C = _fix_signs(U[:, :d] * jnp.sqrt(singular[:d]))
    length = jnp.linalg.norm(C, axis=1, keepdims=True)
    return jnp.where(length > NEGLIGIBLE * jnp.max(length), C, 0)


def _fix_signs(C: Float[Array, "labels d"]) -> Float[Array, "labels d"]:
    """Flip columns so that the first of their largest components is positive, whatever the SVD's signs."""
    magnitude = jnp.abs(C)
    largest = jnp.argmax(magnitude > (1 - NEGLIGIBLE) * jnp.max(magnitude, axis=0), axis=0)
    return C * jnp.sign(jnp.take_along_axis(C, largest[None, :], axis=0))
