"""The contrastive loss of two embeddings of each item: its own pair against those with the other items of the batch.

Ru et al. 2023, section 2.2: symmetric InfoNCE.  The batch is the whole one, over all devices: its size is part of the
method.
"""

import jax
import jax.numpy as jnp
from jax.lax import Precision
from jaxtyping import Array, Float

from mumu_jax.objectives.logits import at_least_float32

PAIRS, CONTRAST = "pairs", "contrast"  # the collection and the name by which a model hands embeddings to this loss
LEAST_TEMPERATURE = 0.01  # of a learned temperature, as in CLIP
FIRST_TEMPERATURE = 0.07  # Radford et al. 2021; Ru et al. say that it is learned


def contrastive_loss(
    first: Float[Array, "items d"],
    second: Float[Array, "items d"],
    log_temperature: Float[Array, ""],
    mask: Float[Array, " items"],
    axis: str | None = None,
) -> Float[Array, " items"]:
    """Return each item's loss in nats, the mean of both directions; 0 for padding, whose mask is 0.

    The embeddings are of length 1.  With `axis`, which names the devices, these are one device's items, and those of
    all devices are compared with.
    """
    first, second = at_least_float32(first), at_least_float32(second)
    every = (first, second, mask)
    offset = 0
    if axis is not None:
        every = jax.lax.all_gather(every, axis, tiled=True)
        offset = len(mask) * jax.lax.axis_index(axis)
    all_first, all_second, all_mask = every
    least = jnp.log(LEAST_TEMPERATURE)
    # The gradient passes through, so that a temperature below the least comes back.
    clipped = log_temperature + jax.lax.stop_gradient(jnp.maximum(log_temperature, least) - log_temperature)
    scale = jnp.exp(-clipped)
    own = offset + jnp.arange(len(mask))

    def one_way(rows: Array, columns: Array) -> Array:
        logits = scale * jnp.matmul(rows, columns.T, precision=Precision.HIGHEST)
        logits = jnp.where(all_mask > 0, logits, -jnp.inf)
        matches = scale * jnp.sum(rows * columns[own], axis=1)
        return jax.nn.logsumexp(logits, axis=1) - matches

    loss = (one_way(first, all_second) + one_way(second, all_first)) / 2
    return jnp.where(mask > 0, loss, 0)
