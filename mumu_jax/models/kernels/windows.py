"""Convolutions on a CPU with faster gradients than XLA's, by products of windows: what the kernel sees at one position.

The kernel's gradient is a product of the input's windows and the outputs' gradient.  The input's is one as well where
windows are few, and else a convolution for each phase of the stride.  XLA's own: inside a loop such as `lax.scan`, XLA
for CPUs does not reorder their axes, and computes the kernel's gradient 40 to 80 times as slowly.
"""

from collections.abc import Sequence
from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mumu_jax.models.kernels import plain
from mumu_jax.models.kernels.backend import stored
from mumu_jax.models.kernels.chunks import items_a_chunk, over_chunks
from mumu_jax.models.kernels.plain import Padding
from mumu_jax.models.kernels.pooling import in_order

# Measured on an AMD EPYC with 3 to 512 channels: copies of all windows pay if there are at most so many for each value
# of a window, of at most so many places.
FEW_WINDOWS, MOST_PLACES = 2, 49
# They are made in chunks of so many bytes, or of so many times those of the kernel, which each chunk reads or adds to.
CACHED_BYTES, CACHED_KERNELS = 2**22, 2.5


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def convolve(
    x: Float[Array, "items h w cin"],
    kernel: Float[Array, "kh kw cin cout"],
    stride: int,
    padding: Padding,
    precision: Any,
) -> Float[Array, "items h2 w2 cout"]:
    """Convolve with channels last; where the batch has few windows, as a product of them and the kernel.

    `padding` is that before and after each axis, and not negative.  XLA's convolution of few positions takes up to 40
    times as long as the product.  With another number of items another way may be used, and results differ by rounding.
    """
    size = _output_size(x, kernel, stride, padding)
    if not _are_few(len(x), size, kernel):
        return plain.convolve(x, kernel, stride, padding, precision)
    matrix = kernel.reshape(-1, kernel.shape[3])

    def chunk(_: None, x: Array) -> tuple[None, Array]:
        windows = copy_windows(_pad(x, padding), kernel, stride, size)
        y = _multiply(windows.reshape(-1, windows.shape[3]), matrix, precision)
        return None, y.reshape(len(x), *size, kernel.shape[3]).astype(x.dtype)

    return over_chunks(chunk, None, x, _chunk_size(len(x), size, kernel))[1]


def _forward(
    x: Array, kernel: Array, stride: int, padding: Padding, precision: Any
) -> tuple[Array, tuple[Array, Array]]:
    return convolve(x, kernel, stride, padding, precision), (x, kernel)


def _backward(
    stride: int, padding: Padding, precision: Any, residuals: tuple[Array, Array], g: Array
) -> tuple[Array, Array]:
    (x, kernel), g = residuals, stored(g)
    by_products = _are_few(len(x), g.shape[1:3], kernel)
    input_gradient = _input_gradient_by_products if by_products else _input_gradient_by_phases
    dx = input_gradient(g, kernel, stride, padding, x.shape[1:3], precision)
    return dx, _kernel_gradient(x, g, kernel, stride, padding, precision)


def _kernel_gradient(x: Array, g: Array, kernel: Array, stride: int, padding: Padding, precision: Any) -> Array:
    """Return the kernel's gradient: products of windows and the outputs' gradient, of all places or of one by one.

    All places are copied to become one matrix, which costs less than it saves if windows are few or have one channel.
    """
    size, n_items = g.shape[1:3], len(x)
    at_once = x.shape[3] == 1 or _are_few(n_items, size, kernel)
    item_bytes = (x.nbytes + g.nbytes) // n_items
    chunk_size = _chunk_size(n_items, size, kernel) if at_once else items_a_chunk(n_items, item_bytes, CACHED_BYTES)

    def chunk(total: Array, part: tuple[Array, Array]) -> tuple[Array, None]:
        x, g = part
        seen = _pad(x, padding), kernel, stride, size
        parts = [copy_windows(*seen)] if at_once else _slice_by_places(*seen)
        columns = g.reshape(-1, g.shape[3])
        factors = [rows.reshape(-1, rows.shape[3]).T for rows in parts]
        return total + jnp.concatenate([_multiply(rows, columns, precision) for rows in factors]), None

    zero = jnp.zeros((prod(kernel.shape[:3]), kernel.shape[3]), jnp.float32)
    total, _ = over_chunks(chunk, zero, (x, g), chunk_size)
    return total.reshape(kernel.shape).astype(kernel.dtype)


def _input_gradient_by_products(
    g: Array, kernel: Array, stride: int, padding: Padding, sides: Sequence[int], precision: Any
) -> Array:
    """Return the input's gradient: each place's product with the outputs' gradient, added where its inputs are."""
    matrix = kernel.reshape(-1, kernel.shape[3]).T

    def chunk(_: None, g: Array) -> tuple[None, Array]:
        products = stored(_multiply(g.reshape(-1, g.shape[3]), matrix, precision))
        places = jnp.moveaxis(products.reshape(*g.shape[:3], *kernel.shape[:3]), (3, 4), (0, 1))
        return None, add_at_inputs(places, stride, padding, sides).astype(g.dtype)

    return over_chunks(chunk, None, g, _chunk_size(len(g), g.shape[1:3], kernel))[1]


def add_at_inputs(
    places: Float[Array, "kh kw items h2 w2 *rest"], stride: int, padding: Padding, sides: Sequence[int]
) -> Float[Array, "items h w *rest"]:
    """Return the sum of what each place of the kernel gives at the outputs' positions, moved to the inputs it sees."""
    (n_rows, n_columns), size, zero = places.shape[:2], places.shape[3:5], jnp.zeros((), places.dtype)
    unpadded = (0, 0, 0)

    def pads_of(axis: int, place: int) -> tuple[int, int, int]:
        """Return how many zeros are before, behind and between the outputs for them to lie on their inputs."""
        first = place - padding[axis][0]
        return first, sides[axis] - first - (size[axis] - 1) * stride - 1, stride - 1

    parts = [
        lax.pad(places[i, j], zero, (unpadded, pads_of(0, i), pads_of(1, j), *[unpadded] * (places.ndim - 5)))
        for i in range(n_rows)
        for j in range(n_columns)
    ]
    return sum(parts[1:], parts[0])


def _input_gradient_by_phases(
    g: Array, kernel: Array, stride: int, padding: Padding, sides: Sequence[int], precision: Any
) -> Array:
    """Return the input's gradient: a convolution for each phase of the stride, which meets no zeros between outputs.

    Only every `stride`-th of the kernel's rows and columns sees the inputs of a phase: turned around, they convolve the
    outputs' gradient.
    """
    n_places = [-(-side // stride) for side in sides]
    short = [(0, max(0, stride - taps)) for taps in kernel.shape[:2]]  # no phase is without a place of the kernel
    kernel = jnp.pad(kernel, (*short, (0, 0), (0, 0)))

    def phase(i: int, j: int) -> Array:
        # The first output that sees the phase's first input, and that input's place in the stride.
        (first_row, row), (first_column, column) = (
            divmod(place + low, stride) for place, (low, _) in zip((i, j), padding, strict=True)
        )
        turned = jnp.flip(kernel[row::stride, column::stride], (0, 1)).transpose(0, 1, 3, 2)
        axes = zip(turned.shape[:2], n_places, g.shape[1:3], (first_row, first_column), strict=True)
        pads = [(taps - 1 - first, n - n_outputs + first) for taps, n, n_outputs, first in axes]
        return plain.convolve(g, turned, 1, pads, precision)

    phases = tuple(tuple(phase(i, j) for j in range(stride)) for i in range(stride))
    return in_order(phases)[:, : sides[0], : sides[1]]


def _output_size(x: Array, kernel: Array, stride: int, padding: Padding) -> tuple[int, int]:
    axes = zip(x.shape[1:3], padding, kernel.shape[:2], strict=True)
    height, width = (max(0, (side + sum(pads) - taps) // stride + 1) for side, pads, taps in axes)
    return height, width


def _are_few(n_items: int, size: tuple[int, ...], kernel: Array) -> bool:
    """Return whether the batch's windows are so few that copying them costs less than what products of them save."""
    n_windows, n_values = n_items * prod(size), prod(kernel.shape[:3])
    return 0 < n_windows <= FEW_WINDOWS * n_values and prod(kernel.shape[:2]) <= MOST_PLACES


def _chunk_size(n_items: int, size: tuple[int, ...], kernel: Array) -> int:
    """Return the number of items in a chunk of windows that stays in the cache."""
    item_bytes = prod(size) * prod(kernel.shape[:3]) * kernel.dtype.itemsize
    return items_a_chunk(n_items, item_bytes, max(CACHED_BYTES, CACHED_KERNELS * kernel.nbytes))


def _pad(x: Array, padding: Padding) -> Array:
    return jnp.pad(x, ((0, 0), *padding, (0, 0)))


def copy_windows(
    padded: Array, kernel: Array, stride: int, size: tuple[int, ...]
) -> Float[Array, "items h2 w2 places_channels"]:
    """Return what the kernel sees at each of its positions: its places, and the channels of each."""
    return stored(jnp.concatenate(_slice_by_places(padded, kernel, stride, size), axis=3))


def _slice_by_places(padded: Array, kernel: Array, stride: int, size: tuple[int, ...]) -> list[Array]:
    """Return, for each place of the kernel, the inputs that it multiplies, where the outputs are."""
    height, width = (max(0, (n - 1) * stride + 1) for n in size)
    return [
        padded[:, i : i + height : stride, j : j + width : stride]
        for i in range(kernel.shape[0])
        for j in range(kernel.shape[1])
    ]


def _multiply(rows: Array, matrix: Array, precision: Any) -> Array:
    return jnp.matmul(rows, matrix, precision=precision, preferred_element_type=jnp.float32)


convolve.defvjp(_forward, _backward)
