"""Fast algorithms: convolutions with fewer products, of sums of the input and sums of the kernel.

They compute neighbouring outputs together, and return them as polyphase components.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax

from mumu_jax.models.kernels.pooling import Phases, Window
from mumu_jax.models.kernels.precision import product_precision

# The two functions of a formulation.  (kernel, pool) → matrix; (input, matrix, the kernel's shape, pool) → the
# convolution, in pieces that cover the output's bins in order, each in phases that divide the pool.
Expand = Callable[[Any, Window], Any]
Apply = Callable[[Any, Any, tuple[int, ...], Window], tuple[Phases, ...]]

# F(2, 3) of Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks": y = A [(G k) · (B x)] gives two
# neighbours of a convolution with 3 taps from 4 products.  F(4, 3) loses a digit, which moves the pools' maxima.
_B = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
_G = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))
_A = ((1, 1, 1, 0), (0, 1, -1, -1))


def _combine(coefficients, parts):
    """Return the sum of `parts` times each row of coefficients, which are 0, 1 and −1."""
    combined = []
    for row in coefficients:
        first, *rest = [(c, part) for c, part in zip(row, parts, strict=True) if c]
        total = first[1] if first[0] > 0 else -first[1]
        for c, part in rest:
            total = total + part if c > 0 else total - part
        combined.append(total)
    return combined


def expand_winograd(kernel, pool):
    """Return G k Gᵀ: a matrix [cin, cout] for each of a tile's 16 products."""
    G = jnp.array(_G, kernel.dtype)
    spread = jnp.einsum("ai,ijcn,bj->abcn", G, kernel, G, precision=lax.Precision.HIGHEST)
    return spread.reshape(16, *kernel.shape[2:])


def apply_winograd(x, matrix, kernel_shape, pool):
    """Compute tiles of 2 × 2 outputs of a 3 × 3 kernel in 16 products for each input channel, instead of 36."""
    cout = kernel_shape[3]
    n_frames, n_bins = x.shape[1] - 2, x.shape[2] - 2
    frames = _combine(_B, [x[:, i : i + n_frames - 1 : 2] for i in range(4)])
    tiles = [tile for f in frames for tile in _combine(_B, [f[:, :, j : j + n_bins - 1 : 2] for j in range(4)])]
    tiles = jnp.stack([tile.reshape(-1, tile.shape[-1]) for tile in tiles])
    y = jnp.matmul(tiles, matrix, precision=product_precision(x.dtype))
    y = y.reshape(4, 4, -1, n_frames // 2, n_bins // 2, cout)
    return (_for_pool([_combine(_A, list(row)) for row in _combine(_A, list(y))], pool),)


def halved(expand_whole: Expand, apply_whole: Apply) -> tuple[Expand, Apply]:
    """Compute two neighbouring frames by three convolutions of half as many taps over time, instead of four.

    With the kernel's even and odd taps and the input's even and odd frames, y_even = k_even·x_even + k_odd·x_odd and
    y_odd = k_even·x_odd + k_odd·x_even_next have the product p = (k_even + k_odd)·x_odd in common: y_even = p +
    k_even·(x_even − x_odd), y_odd = p + k_odd·(x_even_next − x_odd).  The fast FIR algorithm of Mou and Duhamel 1991,
    "Short-Length FIR Filters and Their Use in Fast Nonrecursive Filtering"; it can be nested, and loses no digit.
    """

    def expand(kernel, pool):
        even, odd = kernel[0::2], kernel[1::2]
        return jnp.stack([expand_whole(taps, pool) for taps in (even + odd, even, odd)])

    def apply(x, matrix, kernel_shape, pool):
        half = (kernel_shape[0] // 2, *kernel_shape[1:])
        even, odd = x[:, 0::2], x[:, 1::2]
        inputs = (odd, even[:, :-1] - odd, even[:, 1:] - odd)
        products = [apply_whole(part, taps, half, pool) for part, taps in zip(inputs, matrix, strict=True)]
        return tuple(_for_pool(_sums(*piece), pool) for piece in zip(*products, strict=True))

    return expand, apply


def _sums(common, evens, odds) -> list[list[Any]]:
    """Return the phases of common + evens and of common + odds, their frames interleaved."""
    return [
        [one + other for one, other in zip(row, rest, strict=True)]
        for row, *both in zip(common, evens, odds, strict=True)
        for rest in both
    ]


def _for_pool(phases: list[list[Any]], pool) -> Phases:
    """Return the phases; join those of an axis along which their number does not divide the pool."""
    if pool[0] % len(phases):
        phases = [[_interleave(column, axis=1) for column in zip(*phases, strict=True)]]
    if pool[1] % len(phases[0]):
        phases = [[_interleave(row, axis=2)] for row in phases]
    return tuple(map(tuple, phases))


def _interleave(parts, axis: int):
    y = jnp.stack(parts, axis=axis + 1)
    return y.reshape(*y.shape[:axis], -1, *y.shape[axis + 2 :])
