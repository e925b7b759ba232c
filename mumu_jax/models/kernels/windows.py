"""Convolutions on a CPU whose gradients are matrix products of what the kernel sees, its windows, and the outputs.

XLA's own gradients are neither fast nor products: inside a loop such as `lax.scan`, XLA for CPUs does not reorder their
axes, and computes the kernel's gradient 40 to 80 times as slowly.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mumu_jax.models.kernels.backend import stored
from mumu_jax.models.kernels.chunks import items_a_chunk, over_chunks
from mumu_jax.models.kernels.pooling import in_order

CHANNELS_LAST = ("NHWC", "HWIO", "NHWC")
Padding = Sequence[tuple[int, int]]  # before and after each axis

# Measured on an AMD EPYC: copies of all windows pay if there are at most so many for each value of a window.
FEW_WINDOWS = 2
# They are made in chunks of so many bytes, or of so many times those of the kernel, which each chunk reads or adds to.
CACHED_BYTES, CACHED_KERNELS = 2**22, 2.5


def plain(x: Array, kernel: Array, stride: int, padding: Padding, precision: Any) -> Array:
    """Convolve as XLA does by itself, with channels last."""
    strides, numbers = (stride, stride), CHANNELS_LAST
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=numbers, precision=precision)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def convolve(
    x: Float[Array, "items h w cin"], kernel: Float[Array, "kh kw cin cout"], stride: int, padding: Any, precision: Any
) -> Float[Array, "items h2 w2 cout"]:
    """Convolve; few windows are multiplied as well, because XLA's convolution takes up to 40 times as long for them."""
    size = _output_size(x, kernel, stride, padding)
    if not _are_few(len(x), size, kernel):
        return plain(x, kernel, stride, padding, precision)
    matrix = kernel.reshape(-1, kernel.shape[3])

    def chunk(_: None, x: Array) -> tuple[None, Array]:
        rows = _windows(x, kernel, stride, size)
        y = _product(rows.reshape(-1, rows.shape[3]), matrix, precision)
        return None, y.reshape(len(x), *size, -1).astype(x.dtype)

    return over_chunks(chunk, None, _padded(x, padding), _chunk_size(len(x), size, kernel))[1]


def _forward(x: Array, kernel: Array, stride: int, padding: Any, precision: Any) -> tuple[Array, tuple[Array, Array]]:
    return convolve(x, kernel, stride, padding, precision), (x, kernel)


def _backward(stride: int, padding: Any, precision: Any, kept: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    (x, kernel), g = kept, stored(g)
    sides = [side + sum(pads) for side, pads in zip(x.shape[1:3], padding, strict=True)]
    give = _given_by_places if _are_few(len(x), g.shape[1:3], kernel) else _given_by_phases
    dx = give(g, kernel, stride, sides, precision)
    (top, _), (left, _) = padding
    dx = dx[:, top : top + x.shape[1], left : left + x.shape[2]]
    return dx, _kernel_gradient(x, g, kernel, stride, padding, precision)


def _kernel_gradient(x: Array, g: Array, kernel: Array, stride: int, padding: Any, precision: Any) -> Array:
    """Return the products of the windows and the outputs' gradients: of all places at once, or place by place.

    All places are copied to become one matrix, which costs less than it saves if they are few or narrow.
    """
    size, n_items = g.shape[1:3], len(x)
    if x.shape[3] == 1 or _are_few(n_items, size, kernel):
        chunk_size = _chunk_size(n_items, size, kernel)

        def seen(x: Array) -> list[Array]:
            return [_windows(x, kernel, stride, size)]

    else:
        chunk_size = items_a_chunk(n_items, x[0].nbytes + g[0].nbytes, CACHED_BYTES)

        def seen(x: Array) -> list[Array]:
            return _seen_by_places(x, kernel, stride, size)

    def chunk(total: Array, part: tuple[Array, Array]) -> tuple[Array, None]:
        columns = part[1].reshape(-1, kernel.shape[3])
        products = [_product(one.reshape(-1, one.shape[3]).T, columns, precision) for one in seen(part[0])]
        return total + jnp.concatenate(products), None

    zero = jnp.zeros((kernel[..., 0].size, kernel.shape[3]), jnp.float32)
    total, _ = over_chunks(chunk, zero, (_padded(x, padding), g), chunk_size)
    return total.reshape(kernel.shape).astype(kernel.dtype)


def _given_by_places(g: Array, kernel: Array, stride: int, sides: Sequence[int], precision: Any) -> Array:
    """Return the padded input's gradient: products, which each place of the kernel gives to what it has seen."""
    size, (n_rows, n_columns, channels) = g.shape[1:3], kernel.shape[:3]
    matrix = kernel.reshape(-1, kernel.shape[3]).T

    def around(axis: int, place: int) -> tuple[int, int, int]:
        """Return how many zeros are before, behind and between the outputs for them to lie on their inputs."""
        return place, sides[axis] - place - (size[axis] - 1) * stride - 1, stride - 1

    def chunk(_: None, g: Array) -> tuple[None, Array]:
        products = stored(_product(g.reshape(-1, g.shape[3]), matrix, precision)).astype(g.dtype)
        places = products.reshape(*g.shape[:3], n_rows, n_columns, channels)
        nothing, none = jnp.zeros((), g.dtype), (0, 0, 0)
        given = [
            lax.pad(places[:, :, :, i, j], nothing, (none, around(0, i), around(1, j), none))
            for i in range(n_rows)
            for j in range(n_columns)
        ]
        return None, sum(given[1:], given[0])

    return over_chunks(chunk, None, g, _chunk_size(len(g), size, kernel))[1]


def _given_by_phases(g: Array, kernel: Array, stride: int, sides: Sequence[int], precision: Any) -> Array:
    """Return the padded input's gradient: a convolution for each place of the stride, which meets no dilation's zeros.

    Only every `stride`-th of the kernel's rows and columns sees the inputs of a phase: turned around, they convolve the
    outputs' gradient.
    """
    n_places = [-(-side // stride) for side in sides]
    short = [(0, max(0, stride - taps)) for taps in kernel.shape[:2]]  # no phase is without a place of the kernel
    kernel = jnp.pad(kernel, (*short, (0, 0), (0, 0)))

    def phase(i: int, j: int) -> Array:
        turned = jnp.flip(kernel[i::stride, j::stride], (0, 1)).transpose(0, 1, 3, 2)
        axes = zip(turned.shape[:2], n_places, g.shape[1:3], strict=True)
        return plain(g, turned, 1, [(taps - 1, n - n_outputs) for taps, n, n_outputs in axes], precision)

    return in_order(tuple(tuple(phase(i, j) for j in range(stride)) for i in range(stride)))


def _output_size(x: Array, kernel: Array, stride: int, padding: Any) -> tuple[int, int]:
    axes = zip(x.shape[1:3], padding, kernel.shape[:2], strict=True)
    height, width = ((side + sum(pads) - taps) // stride + 1 for side, pads, taps in axes)
    return height, width


def _are_few(n_items: int, size: tuple[int, ...], kernel: Array) -> bool:
    """Return whether the batch's windows are so few that copying them costs less than what products of them save."""
    return n_items * math.prod(size) <= FEW_WINDOWS * kernel[..., 0].size


def _chunk_size(n_items: int, size: tuple[int, ...], kernel: Array) -> int:
    """Return the items of a chunk of windows."""
    most_bytes = max(CACHED_BYTES, CACHED_KERNELS * kernel.nbytes)
    return items_a_chunk(n_items, math.prod(size) * kernel[..., 0].nbytes, most_bytes)


def _padded(x: Array, padding: Any) -> Array:
    return jnp.pad(x, ((0, 0), *padding, (0, 0)))


def _windows(padded: Array, kernel: Array, stride: int, size: tuple[int, ...]) -> Array:
    """Return what the kernel sees at each of its positions: [items, height, width, places × channels]."""
    return stored(jnp.concatenate(_seen_by_places(padded, kernel, stride, size), axis=3))


def _seen_by_places(padded: Array, kernel: Array, stride: int, size: tuple[int, ...]) -> list[Array]:
    """Return, for each place of the kernel, the inputs that it multiplies, where the outputs are."""
    height, width = ((n - 1) * stride + 1 for n in size)
    return [
        padded[:, i : i + height : stride, j : j + width : stride]
        for i in range(kernel.shape[0])
        for j in range(kernel.shape[1])
    ]


def _product(rows: Array, matrix: Array, precision: Any) -> Array:
    return jnp.matmul(rows, matrix, precision=precision, preferred_element_type=jnp.float32)


convolve.defvjp(_forward, _backward)
