"""Dropout that does not depend on which device, or which place in the batch, an item is at."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key


def dropout(
    x: Float[Array, "items *shape"], keys: Key[Array, " items"] | None, rate: float, layer: int
) -> Float[Array, "items *shape"]:
    """Zero a share `rate` of each item's values and scale up the rest; unchanged without keys or at rate 0.

    An item's noise is a function of its own key and of `layer`, which tells a network's dropout layers apart.
    """
    if keys is None or rate == 0:
        return x
    keep = jax.vmap(lambda key: jax.random.bernoulli(jax.random.fold_in(key, layer), 1 - rate, x.shape[1:]))(keys)
    return jnp.where(keep, x / (1 - rate), 0)
