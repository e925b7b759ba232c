"""A convolution of one channel, its max-pool and the moments that batch normalisation needs; its values are not stored.

Normalisation, and an activation that never falls as its input grows, may follow the pool as well as precede it: there
are fewer values then.  The convolution's are 32 to 128 times as many as its inputs.  On a CPU, pieces of them stay in
the cache, where they become the pool's and the moments, and are computed again for the gradient.  With normalisation
and activation, this takes a third of the time of storing them.
"""

from functools import partial
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from mumu_jax.models.kernels.backend import backend, stored
from mumu_jax.models.kernels.chunks import cut_to_pieces, over_chunks, parts_of
from mumu_jax.models.kernels.pooling import MOST_IN_A_BYTE, Window, max_and_place, unpool
from mumu_jax.models.kernels.precision import product_precision
from mumu_jax.models.kernels.windows import add_at_inputs, copy_windows

PIECE_BYTES = 2**22  # of the convolution's values; measured on an AMD EPYC, where half and twice as many are as fast


class PoolAndMoments(NamedTuple):
    """The largest or smallest value of each window, and mean and variance of all values of each item."""

    values: Float[Array, "items t f channels"]
    mean: Float[Array, "items channels"]
    var: Float[Array, "items channels"]
    n_values: int  # of an item and channel, before the pool


def suits(x: Array, window: Window) -> bool:
    """Return whether a pooled convolution of `x` is computed faster in this way."""
    one_channel = x.shape[3] == 1 and x.dtype == jnp.float32
    is_pooled = len(x) > 0 and x.shape[1] >= window[0] and x.shape[2] >= window[1]
    return backend() == "cpu" and one_channel and is_pooled and prod(window) <= MOST_IN_A_BYTE


def pool_and_moments(
    x: Float[Array, "items frames bins 1"],
    kernel: Float[Array, "kt kf 1 channels"],
    scale: Float[Array, " channels"],
    window: Window,
) -> PoolAndMoments:
    """Return the pool and the moments of a convolution with zeros around `x`; the kernel's sides are odd.

    Of each window, the pool has the value that is the largest after a multiplication by `scale`.  The moments are of
    all positions, also of those that are left over behind the last window.
    """
    sign = jnp.where(lax.stop_gradient(scale) < 0, -1.0, 1.0)
    pooled: Any = _largest_and_moments(x, sign * kernel, window)
    largest, mean, var = pooled
    return PoolAndMoments(sign * largest, sign * mean, var, x.shape[1] * x.shape[2])


class _Pieces(NamedTuple):
    """The cut of each item's frames into pieces of whole windows; the last piece may have zeros at its end."""

    n_frames: int  # of an item
    n_pieces: int  # of an item
    size: int  # frames of a piece

    @classmethod
    def of(cls, x: Array, kernel: Array, window: Window) -> "_Pieces":
        """Return as few pieces as have values that stay in the cache."""
        window_bytes = window[0] * x.shape[2] * kernel.shape[3] * x.dtype.itemsize
        n_pieces, n_windows = parts_of(-(-x.shape[1] // window[0]), PIECE_BYTES // window_bytes)
        return cls(x.shape[1], n_pieces, n_windows * window[0])

    def cut_input(self, x: Array, kernel: Array) -> Float[Array, "pieces frames bins 1"]:
        """Return what the kernel sees of `x`, with zeros around it."""
        (before, behind), around_bins = _padding(kernel)
        missing = self.n_pieces * self.size - self.n_frames
        x = jnp.pad(x, ((0, 0), (before, behind + missing), around_bins, (0, 0)))
        return stored(cut_to_pieces(x, self.size, before + behind))

    def n_real(self, n_items: int) -> Int[Array, " pieces"]:
        """Return the number of each piece's frames that are an item's."""
        return jnp.tile(jnp.minimum(self.size, self.n_frames - self.size * jnp.arange(self.n_pieces)), n_items)

    def is_real(self, n_real: Int[Array, " pieces"]) -> Bool[Array, "pieces frames 1 1"]:
        """Return which frames of pieces are an item's."""
        return jnp.arange(self.size)[:, None, None] < n_real[:, None, None, None]


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _largest_and_moments(x: Array, kernel: Array, window: Window) -> tuple[Array, Array, Array]:
    return _forward(x, kernel, window)[0]


def _forward(x: Array, kernel: Array, window: Window) -> tuple[tuple[Array, Array, Array], tuple[Array, ...]]:
    (n_items, n_frames, n_bins, _), pieces = x.shape, _Pieces.of(x, kernel, window)

    matrix = kernel.reshape(-1, kernel.shape[3])

    def piece(_: None, part: tuple[Array, Array]) -> tuple[None, tuple[Array, ...]]:
        x, n_real = part
        y, real = _values(_windows(x, kernel), matrix, n_bins), pieces.is_real(n_real)
        mean = jnp.where(real, y, 0).sum((1, 2)) / (n_real[:, None] * n_bins)
        # Two passes: the mean square minus the squared mean would lose digits.
        squares = jnp.where(real, (y - mean[:, None, None]) ** 2, 0).sum((1, 2))
        largest, place = max_and_place([((y[:, :, : n_bins // window[1] * window[1]],),)], window)
        return None, (largest, place, mean, squares)

    n_real = pieces.n_real(n_items)
    _, (largest, place, means, squares) = over_chunks(piece, None, (pieces.cut_input(x, kernel), n_real), 1)
    largest = largest.reshape(n_items, -1, *largest.shape[2:])[:, : n_frames // window[0]]
    means, squares = (sums.reshape(n_items, pieces.n_pieces, -1) for sums in (means, squares))
    shares = (n_real / n_frames).reshape(n_items, pieces.n_pieces, 1)
    mean = (shares * means).sum(1)
    var = squares.sum(1) / (n_frames * n_bins) + (shares * (means - mean[:, None]) ** 2).sum(1)
    return (largest, mean, var), (x, kernel, place, mean)


def _backward(window: Window, residuals: tuple[Array, ...], given: tuple[Array, Array, Array]) -> tuple[Array, Array]:
    (x, kernel, place, mean), (g, of_mean, of_var) = residuals, given
    (n_items, n_frames, n_bins, _), pieces = x.shape, _Pieces.of(x, kernel, window)
    precision, matrix = product_precision(x.dtype), kernel.reshape(-1, kernel.shape[3])

    def piece(total: Array, part: tuple[Array, ...]) -> tuple[Array, Array]:
        x, n_real, g, place, *of_item = part
        windows, (offset, slope, mean) = _windows(x, kernel), (values[:, None, None] for values in of_item)
        y = _values(windows, matrix, n_bins)
        ((of_pool,),) = unpool(g, place, window, (1, 1))
        of_pool = jnp.pad(of_pool, ((0, 0), (0, 0), (0, n_bins - of_pool.shape[2]), (0, 0)))
        dy = jnp.where(pieces.is_real(n_real), of_pool + offset + slope * (y - mean), 0)
        columns = stored(dy.reshape(-1, dy.shape[3]))
        of_places = lax.dot_general(matrix, columns, (((1,), (1,)), ((), ())), precision)
        return total + jnp.matmul(windows.T, columns, precision=precision), of_places[None]

    g = jnp.pad(g, ((0, 0), (0, pieces.n_pieces * place.shape[1] - g.shape[1]), (0, 0), (0, 0)))
    of_items = of_mean / (n_frames * n_bins), 2 * of_var / (n_frames * n_bins), mean
    of_pieces = (jnp.repeat(values, pieces.n_pieces, axis=0) for values in of_items)
    parts = (pieces.cut_input(x, kernel), pieces.n_real(n_items), g.reshape(-1, *place.shape[1:]), place, *of_pieces)
    dmatrix, of_places = over_chunks(piece, jnp.zeros_like(matrix), parts, 1)
    of_places = of_places.reshape(n_items, pieces.n_pieces, *kernel.shape[:2], pieces.size, n_bins)
    of_frames = jnp.moveaxis(of_places, (2, 3), (0, 1)).reshape(*kernel.shape[:2], n_items, -1, n_bins)
    dx = add_at_inputs(of_frames[:, :, :, :n_frames], 1, _padding(kernel), x.shape[1:3])
    return dx[..., None], dmatrix.reshape(kernel.shape)


_largest_and_moments.defvjp(_forward, _backward)


def _padding(kernel: Array) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the zeros before and behind each axis with which no position is lost."""
    around_time, around_bins = (taps // 2 for taps in kernel.shape[:2])
    return (around_time, around_time), (around_bins, around_bins)


def _windows(x: Array, kernel: Array) -> Float[Array, "positions places"]:
    """Return what the kernel sees at each position of one piece."""
    size = x.shape[1] - kernel.shape[0] + 1, x.shape[2] - kernel.shape[1] + 1
    windows = copy_windows(x, kernel, 1, size)
    return windows.reshape(-1, windows.shape[3])


def _values(windows: Array, matrix: Array, n_bins: int) -> Float[Array, "1 frames bins channels"]:
    """Return one piece of the convolution."""
    y = stored(jnp.matmul(windows, matrix, precision=product_precision(windows.dtype)))
    return y.reshape(1, -1, n_bins, y.shape[1])
