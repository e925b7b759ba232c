"""A convolution of one channel on a CPU of which only the pool and the moments are stored, for batch normalisation.

Normalisation and the activation behind it are monotonic, so they are applied after the pool, to a fraction of the
values.  The convolution's values are some 100 times as many as its inputs: pieces of them stay in the cache, where they
become the pool's and the moments, and are computed again for the gradient.  That takes a third of the time of storing
them.
"""

from functools import partial
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from mumu_jax.models.kernels.backend import backend, stored
from mumu_jax.models.kernels.chunks import cut, even_parts
from mumu_jax.models.kernels.pooling import MOST_IN_A_BYTE, Window, max_and_place, unpool
from mumu_jax.models.kernels.precision import product_precision
from mumu_jax.models.kernels.windows import copy_windows

PIECE_BYTES = 2**22  # of the convolution's values; measured on an AMD EPYC, where half and twice as many are as fast


class PoolAndMoments(NamedTuple):
    """The largest or smallest value of each window, and mean and variance of all values of each item."""

    values: Float[Array, "items t f channels"]
    mean: Float[Array, "items channels"]
    var: Float[Array, "items channels"]


def suits(x: Array, window: Window) -> bool:
    """Return whether a convolution of `x` is computed faster in this way."""
    one_channel = x.shape[3] == 1 and x.dtype == jnp.float32
    return backend() == "cpu" and one_channel and prod(window) <= MOST_IN_A_BYTE


def pool_and_moments(
    x: Float[Array, "items frames bins 1"],
    kernel: Float[Array, "kt kf 1 channels"],
    scale: Float[Array, " channels"],
    window: Window,
) -> PoolAndMoments:
    """Convolve with zeros around `x`, so that no position is lost, by a kernel of odd sides.

    Of each window, return the value that is the largest after a multiplication by `scale`.  The moments are of all
    positions, also of those that are left over behind the last window.
    """
    sign = jnp.where(lax.stop_gradient(scale) < 0, -1.0, 1.0)
    found: Any = _largest_and_moments(x, sign * kernel, window)
    return PoolAndMoments(sign * found.values, sign * found.mean, found.var)


class _Pieces(NamedTuple):
    """The cut of each item's frames into pieces of whole windows; the last piece may have zeros at its end."""

    n_frames: int  # of an item
    count: int
    size: int  # frames of a piece

    @classmethod
    def of(cls, x: Array, kernel: Array, window: Window) -> "_Pieces":
        window_bytes = window[0] * x.shape[2] * kernel.shape[3] * x.dtype.itemsize
        count, n_windows = even_parts(-(-x.shape[1] // window[0]), PIECE_BYTES // window_bytes)
        return cls(x.shape[1], count, n_windows * window[0])

    def cut(self, x: Array, kernel: Array) -> Float[Array, "pieces 1 frames bins 1"]:
        """Return what the kernel sees of `x`, with zeros around it."""
        around_time, around_bins = (taps // 2 for taps in kernel.shape[:2])
        missing = self.count * self.size - self.n_frames
        x = jnp.pad(x, ((0, 0), (around_time, around_time + missing), (around_bins, around_bins), (0, 0)))
        return stored(cut(x, self.size, 2 * around_time)[:, None])

    def n_real(self, n_items: int) -> Int[Array, " pieces"]:
        """Return the number of each piece's frames that are an item's."""
        return jnp.tile(jnp.minimum(self.size, self.n_frames - self.size * jnp.arange(self.count)), n_items)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _largest_and_moments(x: Array, kernel: Array, window: Window) -> PoolAndMoments:
    return _forward(x, kernel, window)[0]


def _forward(x: Array, kernel: Array, window: Window) -> tuple[PoolAndMoments, tuple[Array, ...]]:
    (n_items, n_frames, n_bins, _), pieces = x.shape, _Pieces.of(x, kernel, window)

    def piece(_: None, part: tuple[Array, Array]) -> tuple[None, tuple[Array, ...]]:
        x, n_real = part
        y, real = _values(_windows(x, kernel), kernel, n_bins), _is_real(pieces, n_real)
        mean = jnp.where(real, y, 0).sum((0, 1, 2)) / (n_real * n_bins)
        # Two passes: the mean square minus the squared mean would lose digits.
        squares = jnp.where(real, (y - mean) ** 2, 0).sum((0, 1, 2))
        largest, place = max_and_place([((y[:, :, : n_bins // window[1] * window[1]],),)], window)
        return None, (largest[0], place[0], mean, squares)

    n_real = pieces.n_real(n_items)
    _, (largest, place, means, squares) = lax.scan(piece, None, (pieces.cut(x, kernel), n_real))
    largest = largest.reshape(n_items, -1, *largest.shape[2:])[:, : n_frames // window[0]]
    means, squares = (sums.reshape(n_items, pieces.count, -1) for sums in (means, squares))
    shares = (n_real / n_frames).reshape(n_items, pieces.count, 1)
    mean = (shares * means).sum(1)
    var = squares.sum(1) / (n_frames * n_bins) + (shares * (means - mean[:, None]) ** 2).sum(1)
    return PoolAndMoments(largest, mean, var), (x, kernel, place, mean)


def _backward(window: Window, residuals: tuple[Array, ...], given: PoolAndMoments) -> tuple[Array, Array]:
    x, kernel, place, mean = residuals
    (n_items, n_frames, n_bins, _), pieces = x.shape, _Pieces.of(x, kernel, window)
    precision, matrix = product_precision(x.dtype), kernel.reshape(-1, kernel.shape[3])

    def piece(total: Array, part: tuple[Array, ...]) -> tuple[Array, Array]:
        x, n_real, g, place, offset, slope, mean = part
        windows = _windows(x, kernel)
        y = _values(windows, kernel, n_bins)
        ((of_pool,),) = unpool(g[None], place[None], window, (1, 1))
        of_pool = jnp.pad(of_pool, ((0, 0), (0, 0), (0, n_bins - of_pool.shape[2]), (0, 0)))
        dy = jnp.where(_is_real(pieces, n_real), of_pool + offset + slope * (y - mean), 0)
        columns = stored(dy.reshape(-1, dy.shape[3]))
        of_places = lax.dot_general(matrix, columns, (((1,), (1,)), ((), ())), precision)
        return total + jnp.matmul(windows.T, columns, precision=precision), of_places

    n_windows = pieces.count * pieces.size // window[0]
    g = jnp.pad(given.values, ((0, 0), (0, n_windows - given.values.shape[1]), (0, 0), (0, 0)))
    of_items = given.mean / (n_frames * n_bins), 2 * given.var / (n_frames * n_bins), mean
    of_pieces = (jnp.repeat(values, pieces.count, axis=0) for values in of_items)
    parts = (pieces.cut(x, kernel), pieces.n_real(n_items), g.reshape(-1, *place.shape[1:]), place, *of_pieces)
    dmatrix, of_places = lax.scan(piece, jnp.zeros_like(matrix), parts)
    of_places = of_places.reshape(n_items, pieces.count, len(matrix), pieces.size, n_bins).swapaxes(1, 2)
    dx = _added_where_inputs_are(of_places.reshape(n_items, len(matrix), -1, n_bins)[:, :, :n_frames], kernel)
    return dx[..., None], dmatrix.reshape(kernel.shape)


_largest_and_moments.defvjp(_forward, _backward)


def _windows(x: Array, kernel: Array) -> Float[Array, "positions places"]:
    """Return what the kernel sees at each position of one piece."""
    size = x.shape[1] - kernel.shape[0] + 1, x.shape[2] - kernel.shape[1] + 1
    (windows,) = copy_windows(x, kernel, 1, size)
    return windows.reshape(-1, windows.shape[3])


def _values(windows: Array, kernel: Array, n_bins: int) -> Float[Array, "1 frames bins channels"]:
    matrix = kernel.reshape(-1, kernel.shape[3])
    y = stored(jnp.matmul(windows, matrix, precision=product_precision(windows.dtype)))
    return y.reshape(1, -1, n_bins, y.shape[1])


def _is_real(pieces: _Pieces, n_real: Array) -> Array:
    return (jnp.arange(pieces.size) < n_real)[None, :, None, None]


def _added_where_inputs_are(of_places: Float[Array, "items places frames bins"], kernel: Array) -> Array:
    """Return the sum of each place's products, moved to the inputs that they are of."""
    n_rows, n_columns = kernel.shape[:2]
    zero, unmoved = jnp.zeros((), of_places.dtype), (0, 0, 0)

    def moved(row: int, column: int) -> Array:
        down, right = row - n_rows // 2, column - n_columns // 2
        pads = (unmoved, (down, -down, 0), (right, -right, 0))
        return lax.pad(of_places[:, row * n_columns + column], zero, pads)

    parts = [moved(row, column) for row in range(n_rows) for column in range(n_columns)]
    return sum(parts[1:], parts[0])
