"""Winograd's algorithm for 3 × 3 convolutions: 16 products for each tile of 2 × 2 outputs, instead of 36.

F(2, 3) of Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks": y = A [(G k) · (B x)] gives two
neighbours of a convolution with 3 taps from 4 products.  F(4, 3) would lose a digit, which moves the maxima of pools.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mumu_jax.models.kernels.backend import stored
from mumu_jax.models.kernels.chunks import cut_to_pieces, items_a_chunk, over_chunks, parts_of
from mumu_jax.models.kernels.plain import Padding
from mumu_jax.models.kernels.pooling import Phases, in_order
from mumu_jax.models.kernels.precision import product_precision

Coefficients = Sequence[Sequence[float]]

_B: Coefficients = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
_G: Coefficients = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))
_A: Coefficients = ((1, 1, 1, 0), (0, 1, -1, -1))
# For the kernel turned around, (G k)ᵢ is that of the kernel at this place: the input's gradient needs no new matrices.
_TURNED = (3, 1, 2, 0)

# Of a chunk's products, in bytes.  Measured on an AMD EPYC: products of half as many tiles are half as fast, and twice
# as many leave the cache.
CHUNK_BYTES = 10 * 2**20
LEAST_CHANNELS = 32


def suits(x_shape: tuple[int, ...], kernel_shape: tuple[int, ...], padding: Padding, dtype: Any) -> bool:
    """Return whether the algorithm is faster on a CPU than the other ways of a stride of 1, and as exact.

    With another number of items it may not be used, and results differ by rounding.  In bfloat16, sums of the input are
    rounded once more.  Measured on an AMD EPYC: few channels cost more to transform than to convolve; for fewer tiles
    than half the input's channels, so does the kernel.
    """
    (height, width), (_, _, cin, cout) = _output_size(x_shape, padding), kernel_shape
    n_tiles = x_shape[0] * -(-height // 2) * -(-width // 2)
    worthwhile = min(cin, cout) >= LEAST_CHANNELS and 2 * n_tiles >= cin
    # The input's gradient is padded by 2 minus the padding, which must not be negative.
    possible = kernel_shape[:2] == (3, 3) and max(map(max, padding)) <= 2
    return possible and worthwhile and dtype == jnp.float32


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve(
    x: Float[Array, "items h w cin"], kernel: Float[Array, "3 3 cin cout"], padding: Padding
) -> Float[Array, "items h2 w2 cout"]:
    """Convolve with a stride of 1, in chunks that stay in a CPU's cache; the gradient is computed in the same way."""
    return _convolve(x, kernel_matrices(kernel), padding)


def _convolve(x: Array, matrices: Array, padding: Padding, turned: bool = False) -> Array:
    """Convolve with the kernel of these matrices or, `turned`, with that of the input's gradient."""
    matrices, bands = stored(matrices), _Bands.of(x.shape, padding, matrices)

    def chunk(_: None, x: Array) -> tuple[None, Array]:
        y = products(stored(input_tiles(x, turned)), matrices, turned)
        return None, in_order(phases_of(stored(y), x.shape[1] - 2, x.shape[2] - 2, turned))

    y = over_chunks(chunk, None, bands.cut_input(x, padding), bands.chunk_size)[1]
    return y.reshape(len(x), -1, *y.shape[2:])[:, : bands.height, : bands.width]


def _forward(x: Array, kernel: Array, padding: Padding) -> tuple[Array, tuple[Array, Array]]:
    matrices = kernel_matrices(kernel)
    return _convolve(x, matrices, padding), (x, matrices)


def _backward(padding: Padding, residuals: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, matrices = residuals
    (top, bottom), (left, right) = padding
    g = stored(g)
    dx = _convolve(g, matrices, ((2 - top, 2 - bottom), (2 - left, 2 - right)), turned=True)

    def chunk(total: Array, part: tuple[Array, Array]) -> tuple[Array, None]:
        of_input, of_output = stored(input_tiles(part[0])), stored(output_tiles(part[1]))
        over_tiles = (((1,), (1,)), ((0,), (0,)))
        return total + lax.dot_general(of_input, of_output, over_tiles, product_precision(x.dtype)), None

    bands = _Bands.of(x.shape, padding, matrices)
    parts = bands.cut_input(x, padding), bands.cut_output(g)
    dmatrices, _ = over_chunks(chunk, jnp.zeros_like(matrices), parts, bands.chunk_size)
    return dx, kernel_gradient(stored(dmatrices))


convolve.defvjp(_forward, _backward)


def _output_size(x_shape: tuple[int, ...], padding: Padding) -> tuple[int, int]:
    height, width = (side + sum(pads) - 2 for side, pads in zip(x_shape[1:3], padding, strict=True))
    return height, width


class _Bands(NamedTuple):
    """The cut of each item's outputs into bands of whole rows of tiles, and the number of bands in a chunk."""

    height: int  # of the outputs
    width: int  # of the outputs
    n_rows: int  # of outputs in a band: two for each row of tiles
    n_bands: int  # of an item; the last one may have zeros below
    chunk_size: int

    @classmethod
    def of(cls, x_shape: tuple[int, ...], padding: Padding, matrices: Array) -> "_Bands":
        """Return as few bands as have products that stay in the cache."""
        height, width = _output_size(x_shape, padding)
        row_bytes = 16 * -(-width // 2) * max(matrices.shape[1:]) * matrices.dtype.itemsize
        n_bands, rows_of_tiles = parts_of(-(-height // 2), CHUNK_BYTES // row_bytes)
        chunk_size = items_a_chunk(x_shape[0] * n_bands, rows_of_tiles * row_bytes, CHUNK_BYTES)
        return cls(height, width, 2 * rows_of_tiles, n_bands, chunk_size)

    @property
    def n_missing(self) -> int:
        """Return the number of the last band's rows that are no outputs."""
        return self.n_bands * self.n_rows - self.height

    def cut_input(self, x: Array, padding: Padding) -> Float[Array, "bands h w cin"]:
        """Return what the bands' outputs see of the padded input; neighbours have two rows in common."""
        (top, bottom), (left, right) = padding
        x = jnp.pad(x, ((0, 0), (top, bottom + self.n_missing), (left, right + self.width % 2), (0, 0)))
        return x if self.n_bands == 1 else stored(cut_to_pieces(x, self.n_rows, overlap=2))

    def cut_output(self, g: Array) -> Float[Array, "bands h2 w2 cout"]:
        """Return the bands of the outputs' gradient."""
        g = jnp.pad(g, ((0, 0), (0, self.n_missing), (0, self.width % 2), (0, 0)))
        return g.reshape(-1, self.n_rows, *g.shape[2:])


# --- transformations --------------------------------------------------------------------------------------------


def kernel_matrices(kernel: Float[Array, "3 3 cin cout"]) -> Float[Array, "16 cin cout"]:
    """Return G k Gᵀ: a matrix for each of a tile's products.

    Computed by sums: as products of matrices they take twenty times as long on a CPU.
    """
    return jnp.stack([matrix for row in _combine(_G, kernel) for matrix in _combine(_G, row)])


def kernel_gradient(matrices: Float[Array, "16 cin cout"]) -> Float[Array, "3 3 cin cout"]:
    """Return Gᵀ m G: the kernel's gradient for that of its matrices."""
    rows = _combine(_transposed(_G), matrices.reshape(4, 4, *matrices.shape[1:]))
    return jnp.stack([jnp.stack(_combine(_transposed(_G), row)) for row in rows])


def input_tiles(x: Float[Array, "items h w cin"], turned: bool = False) -> Float[Array, "16 tiles cin"]:
    """Return B x Bᵀ of the 4 × 4 inputs of each tile; the sides of `x` are even, and longer by 2 than the outputs."""
    return _tiles([_B[i] for i in _TURNED] if turned else _B, x)


def output_tiles(g: Float[Array, "items h w cout"]) -> Float[Array, "16 tiles cout"]:
    """Return Aᵀ g A of the 2 × 2 outputs of each tile: its products' gradients for those of the outputs."""
    return _tiles(_transposed(_A), g)


def products(
    tiles: Float[Array, "16 tiles channels"], matrices: Float[Array, "16 cin cout"], turned: bool = False
) -> Float[Array, "16 tiles others"]:
    """Multiply the tiles of the inputs by the kernel's matrices; `turned`, by the transposed ones."""
    channels = ((2,), (2 if turned else 1,))
    return lax.dot_general(tiles, matrices, (channels, ((0,), (0,))), product_precision(tiles.dtype))


@partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def phases_of(y: Float[Array, "16 tiles cout"], height: int, width: int, turned: bool = False) -> Phases:
    """Return A y Aᵀ of the products: the outputs of the tiles, of which each row and column is a phase."""
    y = y.reshape(4, 4, -1, height // 2, width // 2, y.shape[2])
    coefficients = _output_coefficients(turned)
    return tuple(tuple(_combine(coefficients, row)) for row in _combine(coefficients, y))


def _phases_forward(y: Array, height: int, width: int, turned: bool) -> tuple[Phases, None]:
    return phases_of(y, height, width, turned), None


def _phases_backward(height: int, width: int, turned: bool, _: None, g: Phases) -> tuple[Array]:
    """Return Aᵀ g A.  JAX would pad the gradient of each of the slices to all products, and add these."""
    coefficients = _transposed(_output_coefficients(turned))
    # Stored: XLA for CPUs would find a pool's largest output again for each of the products.
    rows = [jnp.stack(_combine(coefficients, column)) for column in zip(*stored(g), strict=True)]
    return (jnp.stack(_combine(coefficients, rows), axis=1).reshape(16, -1, g[0][0].shape[3]),)


phases_of.defvjp(_phases_forward, _phases_backward)


def _output_coefficients(turned: bool) -> Coefficients:
    return [[row[i] for i in _TURNED] for row in _A] if turned else _A


def _tiles(coefficients: Coefficients, x: Array) -> Array:
    """Combine the rows, then the columns, of the tiles of `x`, which begin at every other place."""
    n_taps = len(coefficients[0])
    height, width = (side + 2 - n_taps for side in x.shape[1:3])
    # Stored: XLA for CPUs would combine the rows again for each column.
    rows = stored(jnp.stack(_combine(coefficients, [x[:, i : i + height : 2] for i in range(n_taps)])))
    columns = [rows[:, :, :, j : j + width : 2] for j in range(n_taps)]
    return jnp.stack(_combine(coefficients, columns), axis=1).reshape(16, -1, x.shape[3])


def _combine(coefficients: Coefficients, parts: Any) -> list[Any]:
    """Return the sum of `parts` times each row of coefficients."""
    return [_sum([(c, part) for c, part in zip(row, parts, strict=True) if c]) for row in coefficients]


def _sum(terms: list[tuple[float, Any]]) -> Any:
    total = None
    for c, part in terms:
        term = part if abs(c) == 1 else abs(c) * part
        if total is None:
            total = term if c > 0 else -term
        else:
            total = total + term if c > 0 else total - term
    return total


def _transposed(matrix: Coefficients) -> Coefficients:
    return tuple(zip(*matrix, strict=True))
