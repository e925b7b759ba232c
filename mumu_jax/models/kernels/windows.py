"""Max-pooling whose windows may overlap; like that of `pooling`, it records the place of each maximum.

XLA's own gradient compares all elements again with each maximum, and scatters: on a CPU it takes five times as long.
"""

from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mumu_jax.models.kernels.backend import stored
from mumu_jax.models.kernels.pooling import Window, max_of_elements, max_pool_tiles


def max_pool(
    x: Float[Array, "items frames bins c"], window: Window, strides: Window, padding: int = 0
) -> Float[Array, "items t f c"]:
    """Return the largest value of each window; windows begin `strides` apart, the first ones in the padding."""
    if window == strides and not padding:
        return max_pool_tiles(x, window)
    pads = []
    for side, size, stride in zip(x.shape[1:3], window, strides, strict=True):
        n_windows = (side + 2 * padding - size) // stride + 1
        pads.append((padding, stride * (n_windows + _reach(size, stride)) - side - padding, 0))
    least = jnp.array(-jnp.inf, x.dtype)
    return _pool_windows(lax.pad(stored(x), least, [(0, 0, 0), *pads, (0, 0, 0)]), window, strides)


def _reach(size: int, stride: int) -> int:
    """Return how many strides a window reaches beyond that in which it begins."""
    return (size - 1) // stride


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _pool_windows(x: Array, window: Window, strides: Window) -> Array:
    """Pool an input of as many strides as there are windows, and those that the last one reaches into."""
    return _forward(x, window, strides)[0]


def _forward(x: Array, window: Window, strides: Window) -> tuple[Array, Array]:
    (st, sf), (more_t, more_f) = strides, map(_reach, window, strides)
    t, f = x.shape[1] // st - more_t, x.shape[2] // sf - more_f
    elements = [x[:, i : i + st * t : st, j : j + sf * f : sf] for i, j in product(*map(range, window))]
    y, place = max_of_elements(elements)
    return y, lax.optimization_barrier(place)


def _backward(window: Window, strides: Window, place: Array, g: Array) -> tuple[Array]:
    """Return the gradient, put together of its polyphase components: an element sums over the windows that it is in."""
    (pt, pf), (st, sf), (more_t, more_f) = window, strides, map(_reach, window, strides)
    g = lax.optimization_barrier(g)
    n_items, t, f, channels = g.shape

    def phase(first_row: int, first_column: int) -> Array:
        total = jnp.zeros((n_items, t + more_t, f + more_f, channels), g.dtype)
        for i, j in product(range(first_row, pt, st), range(first_column, pf, sf)):
            pads = (0, 0), (i // st, more_t - i // st), (j // sf, more_f - j // sf), (0, 0)
            total += jnp.pad(jnp.where(place == pf * i + j, g, 0), pads)
        return total

    y = jnp.stack([jnp.stack([phase(i, j) for j in range(sf)], axis=3) for i in range(st)], axis=2)
    return (y.reshape(n_items, st * (t + more_t), sf * (f + more_f), channels),)


_pool_windows.defvjp(_forward, _backward)
