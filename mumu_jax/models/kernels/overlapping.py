"""Max-pooling whose windows may overlap; like that of `pooling`, it records the place of each maximum.

XLA's own gradient compares all elements again with each maximum, and scatters.  On a CPU, it takes five times as long;
compiled for a GPU, a training step of `mel_vgg` moves 139 MB an example with it and 85 without, but for a TPU, which
has an instruction for it, 100 with it and 151 without.
"""

import math
from functools import partial, reduce
from itertools import chain, product
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from mumu_jax.models.kernels.backend import backend, stored
from mumu_jax.models.kernels.pooling import MOST_IN_A_BYTE, Phases, Window, in_order, max_and_place, max_pool_tiles


def max_pool(
    x: Float[Array, "items frames bins c"], window: Window, strides: Window, padding: int = 0
) -> Float[Array, "items t f c"]:
    """Return the largest value of each window; windows begin `strides` apart, the first ones in the padding.

    Raises ValueError if a window that is not its own stride has more than 255 elements.
    """
    if window == strides and not padding:
        return max_pool_tiles(x, window)
    if backend() == "tpu":
        sides: Any = ((padding, padding), (padding, padding))
        return nn.max_pool(x, window, strides, sides)
    if math.prod(window) > MOST_IN_A_BYTE:
        raise ValueError(f"window is {window}, more than {MOST_IN_A_BYTE} elements; choose a smaller one")
    pads = []
    for side, size, stride in zip(x.shape[1:3], window, strides, strict=True):
        n_windows = max(0, (side + 2 * padding - size) // stride + 1)
        pads.append((padding, stride * (n_windows + _reach(size, stride)) - side - padding, 0))
    least = jnp.array(-jnp.inf, x.dtype)
    return _pool(lax.pad(stored(x), least, [(0, 0, 0), *pads, (0, 0, 0)]), window, strides)


def _reach(size: int, stride: int) -> int:
    """Return how many strides a window reaches beyond that in which it begins."""
    return (size - 1) // stride


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _pool(x: Array, window: Window, strides: Window) -> Array:
    """Pool an input whose sides are the strides times the number of windows and what the last one reaches beyond."""
    return reduce(jnp.maximum, chain(*_elements(x, window, strides)))


def _elements(x: Array, window: Window, strides: Window) -> Phases:
    """Return an array for each element of the windows, by row and column."""
    (pt, pf), (st, sf), (more_t, more_f) = window, strides, map(_reach, window, strides)
    t, f = x.shape[1] // st - more_t, x.shape[2] // sf - more_f
    return tuple(tuple(x[:, i : i + st * t : st, j : j + sf * f : sf] for j in range(pf)) for i in range(pt))


def _forward(x: Array, window: Window, strides: Window) -> tuple[Array, Array]:
    y, place = max_and_place([_elements(x, window, strides)], window)
    return y, lax.optimization_barrier(place)


def _backward(window: Window, strides: Window, place: Array, g: Array) -> tuple[Array]:
    """Return the gradient by its polyphase components: an element sums over the windows that it is in."""
    (pt, pf), (st, sf), (more_t, more_f) = window, strides, map(_reach, window, strides)
    g = lax.optimization_barrier(g)
    n_items, t, f, channels = g.shape

    def phase(first_row: int, first_column: int) -> Array:
        total = jnp.zeros((n_items, t + more_t, f + more_f, channels), g.dtype)
        for i, j in product(range(first_row, pt, st), range(first_column, pf, sf)):
            pads = (0, 0), (i // st, more_t - i // st), (j // sf, more_f - j // sf), (0, 0)
            total += jnp.pad(jnp.where(place == pf * i + j, g, 0), pads)
        return total

    return (in_order(tuple(tuple(phase(i, j) for j in range(sf)) for i in range(st))),)


_pool.defvjp(_forward, _backward)
