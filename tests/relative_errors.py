"""Compare a network's values and gradients with those of another way to compute it."""

import jax
import jax.numpy as jnp


def relative_errors(ours, plain, *arguments):
    """Return the largest errors of the values and of each argument's gradient, as shares of the largest value."""
    y = jax.eval_shape(plain, *arguments)
    g = jax.random.normal(jax.random.key(9), y.shape, y.dtype)
    results = []
    for network in (ours, plain):
        y, pull = jax.vjp(network, *arguments)
        results.append((y, *jax.jit(pull)(g)))
    return [float(jnp.abs(one - other).max() / jnp.abs(other).max()) for one, other in zip(*results, strict=True)]
