"""The losses, an item at a time, and the sum over a batch that a training step differentiates.

All are computed in float32 or better, whatever the network's precision, and all gradients are finite.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from mumu_jax.objectives.cosine import has_direction, l2_normalize


def binary_cross_entropy(
    logits: Float[Array, "items labels"], labels: Shaped[Array, "items labels"]
) -> Float[Array, "items"]:
    """Binary cross-entropy of each item, in nats, mean over its labels; the LOGISTIC loss.

    `labels` are 0 or 1 (or probabilities).  Oramas et al. 2017, section 5.1.
    """
    logits, labels = _at_least_float32(logits), _at_least_float32(labels)
    return jnp.mean(labels * jax.nn.softplus(-logits) + (1 - labels) * jax.nn.softplus(logits), axis=-1)


def softmax_cross_entropy(
    logits: Float[Array, "items labels"], labels: Shaped[Array, "items labels"]
) -> Float[Array, "items"]:
    """Cross-entropy of each item, in nats, between its one label and the softmax of its logits.

    `labels` are 0 or 1 (or probabilities), and sum to 1 for each item.  Greenfield & Paintsil, section 4.5.
    """
    logits, labels = _at_least_float32(logits), _at_least_float32(labels)
    return -jnp.sum(labels * jax.nn.log_softmax(logits), axis=-1)


def cosine_loss(
    prediction: Float[Array, "items d"], target: Float[Array, "items d"]
) -> tuple[Float[Array, "items"], Float[Array, "items"]]:
    """(1 - cos)/2 of each item, 0 to 1, and its weight: 0 for an item without a target direction, else 1.

    Only directions count, not lengths; a zero prediction loses 1/2.  Oramas et al. 2017, section 5.1.
    """
    prediction, target = _at_least_float32(prediction), _at_least_float32(target)
    cosine = jnp.sum(l2_normalize(prediction) * l2_normalize(target), axis=-1)
    return (1 - cosine) / 2, has_direction(target).astype(cosine.dtype)


def weighted_sum(values: Float[Array, "items"], weights: Shaped[Array, "items"]) -> Float[Array, ""]:
    """Sum of values × weights, such as the mask times a loss's own weight.

    Values of weight 0 may be anything, NaN included.
    """
    return jnp.sum(jnp.where(weights != 0, values, 0) * weights)


def _at_least_float32(x: Shaped[Array, "..."]) -> Float[Array, "..."]:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
