"""The dense layer of an input that is mostly zero, such as a text's tf-idf: it reads only the kernel's rows it needs.

In every formulation, product and gradient equal those of the dense layer up to rounding.  This saves the products with
zeros, which are nearly all of the dense layer's.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mumu_jax.batch import Sparse
from mumu_jax.models.kernels.backend import backend
from mumu_jax.models.kernels.precision import product_precision

UNROLL = 4  # rows of an item that are added in one pass over the sums


def sparse_dense(
    inputs: Sparse, kernel: Float[Array, "terms width"], dtype: Any = jnp.float32
) -> Float[Array, "items width"]:
    """Return `inputs` times `kernel`, in `dtype`; sums are float32.  There is no gradient to the inputs."""
    product, gradient = fastest(backend(), inputs.columns.size, len(kernel))
    return _sparse_dense(jax.tree.map(jnp.asarray, inputs), kernel, _Layer(product, gradient, dtype))


def densify(inputs: Sparse, n_terms: int) -> Float[Array, "items terms"]:
    """Return the rows with their zeros.  Padding is a term of value 0, at any column."""
    items = jnp.arange(len(inputs.columns))[:, None]
    zeros = jnp.zeros((len(inputs.columns), n_terms), inputs.values.dtype)
    return zeros.at[items, inputs.columns].add(inputs.values)


class _Layer(NamedTuple):
    """The static properties of the layer."""

    product: str
    gradient: str
    dtype: Any


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _sparse_dense(inputs: Sparse, kernel, layer: _Layer):
    return PRODUCTS[layer.product](inputs, kernel, layer.dtype).astype(layer.dtype)


def _fwd(inputs: Sparse, kernel, layer: _Layer):
    return _sparse_dense(inputs, kernel, layer), (inputs, len(kernel))


def _bwd(layer: _Layer, residuals, g):
    inputs, n_terms = residuals
    return None, GRADIENTS[layer.gradient](inputs, g, n_terms)


_sparse_dense.defvjp(_fwd, _bwd)


def _product_dense(inputs: Sparse, kernel, dtype):
    return _dot(densify(inputs, len(kernel)).astype(dtype), kernel.astype(dtype))


def _product_gathered(inputs: Sparse, kernel, dtype):
    """Sum all rows of all items at once: the reduction reads them in place, without a copy."""
    return jnp.sum(kernel[inputs.columns] * inputs.values[..., None], axis=1)


def _product_in_turn(inputs: Sparse, kernel, dtype):
    """Add one row of each item at a time: the sums stay in the cache."""

    def add(i, total):
        return total + kernel[inputs.columns[:, i]] * inputs.values[:, i, None]

    zeros = jnp.zeros((len(inputs.columns), kernel.shape[1]), jnp.float32)
    return lax.fori_loop(0, inputs.columns.shape[1], add, zeros, unroll=UNROLL)


def _gradient_dense(inputs: Sparse, g, n_terms: int):
    return _dot(densify(inputs, n_terms).astype(g.dtype).T, g)


def _gradient_in_turn(inputs: Sparse, g, n_terms: int):
    """Add one row at a time to the kernel's gradient."""
    n_items, nnz = inputs.columns.shape
    columns, values, g = inputs.columns.reshape(-1), inputs.values.reshape(-1), g.astype(jnp.float32)

    def add(i, total):
        row = lax.dynamic_index_in_dim(total, columns[i]) + values[i] * lax.dynamic_index_in_dim(g, i // nnz)
        return lax.dynamic_update_index_in_dim(total, row, columns[i], 0)

    return lax.fori_loop(0, n_items * nnz, add, jnp.zeros((n_terms, g.shape[1]), jnp.float32))


def _dot(a, b):
    return jnp.matmul(a, b, precision=product_precision(a.dtype), preferred_element_type=jnp.float32)


PRODUCTS: dict[str, Callable[..., Any]] = {
    "dense": _product_dense,
    "gathered": _product_gathered,
    "in turn": _product_in_turn,
}
GRADIENTS: dict[str, Callable[..., Any]] = {"dense": _gradient_dense, "in turn": _gradient_in_turn}


def fastest(backend: str, n_rows: int, n_terms: int) -> tuple[str, str]:
    """Return the product and the gradient to use on `backend` for `n_rows` rows of a kernel that has `n_terms`.

    Measured on a CPU.  For accelerators, chosen from the bytes that are read, not timed; scatters are avoided there,
    because they add in no fixed order.
    """
    if backend == "cpu":
        return "in turn", "in turn"
    return ("gathered" if n_rows < n_terms else "dense"), "dense"
