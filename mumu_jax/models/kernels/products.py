"""Products of rows and a kernel, as dense layers and 1 × 1 convolutions compute them.

On a CPU, XLA's own gradient of the kernel turns the gradients of the rows around while it computes them, in strides
that no cache likes: an eighth of a training step of ResNet-101, a fifth of ViT-B/16's.  Here the rows are put in order
for a plain product of matrices.
"""

from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from mumu_jax.models.kernels.backend import backend, stored


def dot_rows(
    x: Array, kernel: Array, dimension_numbers: Any, precision: Any = None, preferred_element_type: Any = None
) -> Array:
    """Compute `lax.dot_general` as `flax.linen.Dense` calls it: the last axis of `x` with the first of the kernel."""
    if backend() != "cpu" or preferred_element_type is not None:
        return lax.dot_general(x, kernel, dimension_numbers, precision, preferred_element_type)
    return multiply(x, kernel, precision)


def multiply(x: Array, kernel: Array, precision: Any) -> Array:
    """Multiply the rows of `x`, its last axis, by a matrix; for CPUs."""
    rows = stored(x).reshape(prod(x.shape[:-1]), x.shape[-1])
    y: Any = _multiply(rows, kernel, precision)
    return y.reshape(*x.shape[:-1], kernel.shape[1])


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _multiply(rows: Array, kernel: Array, precision: Any) -> Array:
    return jnp.matmul(rows, kernel, precision=precision)


def _forward(rows: Array, kernel: Array, precision: Any) -> tuple[Array, tuple[Array, Array]]:
    return _multiply(rows, kernel, precision), (rows, kernel)


def _backward(precision: Any, residuals: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    (rows, kernel), g = residuals, stored(g)
    if rows.shape[1] <= g.shape[1]:
        dkernel = jnp.matmul(stored(rows.T), g, precision=precision)
    else:  # transposes the smaller array, and then the product
        dkernel = stored(jnp.matmul(stored(g.T), rows, precision=precision)).T
    return jnp.matmul(g, kernel.T, precision=precision), dkernel


_multiply.defvjp(_forward, _backward)
