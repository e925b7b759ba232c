"""Convolution, bias, ReLU and max-pool as one layer with its own gradient.

In every formulation, the layer equals `lax.conv_general_dilated`, bias, ReLU and a non-overlapping `reduce_window` max
up to rounding, forward and gradient (if no window holds a tie), and has the same parameters.

Three facts make it fast.  A non-overlapping pool drops positions beyond the last full window, so they are never
computed.  Bias and ReLU are monotonic, so they are applied after the pool, to a fraction of the values.  The values
between the product and the pool take far more bytes than those before or after: a CPU processes the batch in chunks
that stay in its cache, a TPU those of a banded product in chunks that stay in its vector memory, forward and backward,
and only the input and one byte for each pooled value are kept for the gradient.
"""

import math
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import nn as jnn
from jaxtyping import Array, Float

from mumu_jax.models.kernels.backend import backend, stored
from mumu_jax.models.kernels.chunks import cut_to_pieces, divisors, items_a_chunk, over_chunks
from mumu_jax.models.kernels.formulations import FIXED, FORMULATIONS, Choose, Convolution, supported
from mumu_jax.models.kernels.pooling import MOST_IN_A_BYTE, Window, max_and_place, max_pool_tiles, unpool

Padding = Literal["valid", "same"]

NOWHERE = MOST_IN_A_BYTE  # the place of a maximum that ReLU sets to zero

# On a CPU, a chunk's outputs before the pool may fill the larger of these two: a size that was measured to stay in the
# cache, although fast algorithms hold up to four times as much in products; and a few times the size of the matrix,
# because each chunk adds to the gradient of the whole matrix.
CACHED_BYTES = 2**21
CACHED_MATRICES = 2.5

# A TPU's vector memory, and how much of it a chunk's outputs before the pool may fill, beside its input, gradients and
# matrix.  Chosen from compiled programs, not timed: in chunks, HIGH-4x70 at 256 moves an eighth of the bytes (half of
# them on a v5p), and compiles in two thirds of the time.  By the compiler's estimate, its cycles are 14 % fewer on a
# v6e, as many on a v5e, and 19 % more on a v5p; those of other formulations go up as often as down.
VECTOR_MEMORY = 2**27
VECTOR_BYTES = 24e6


class _Layer(NamedTuple):
    """The static properties of a layer."""

    formulation: str
    kernel_shape: tuple[int, ...]
    pool: Window
    cached_bytes: float  # limit for a chunk's outputs before the pool

    def convolve(self, x, matrix):
        """Convolve: return pieces that cover the output's bins in order, each in phases that divide the pool."""
        return FORMULATIONS[self.formulation].apply(x, matrix.astype(x.dtype), self.kernel_shape, self.pool)

    def item_bytes(self, x, matrix) -> int:
        """Return the size of one item's outputs before the pool, in one piece: pieces are pooled one by one."""
        piece = jax.tree.leaves(jax.eval_shape(self.convolve, x[:1], matrix)[0])
        return sum(phase.size * phase.dtype.itemsize for phase in piece)

    def chunk_size(self, x, matrix) -> int:
        """Return the items of a chunk."""
        return items_a_chunk(len(x), self.item_bytes(x, matrix), self.cached_bytes)


def conv_pool(
    x: Float[Array, "items frames bins cin"],
    kernel: Float[Array, "kt kf cin cout"],
    bias: Float[Array, " cout"],
    pool: Window,
    padding: Padding,
    choose: Choose = FIXED,
) -> Float[Array, "items frames2 bins2 cout"]:
    """Apply convolution, bias, ReLU and max-pool over windows of `pool` without overlap, in the dtype of `x`."""
    if math.prod(pool) > MOST_IN_A_BYTE:
        return max_pool_tiles(conv_pool(x, kernel, bias, (1, 1), padding, choose), pool)
    x = stored(_crop(x, kernel.shape[:2], pool, padding), on="tpu")
    formulation = choose(backend(), len(x), Convolution(x.shape[1:], kernel.shape, pool, x.dtype.name))
    matrix = FORMULATIONS[formulation].expand(kernel, pool)
    layer = _Layer(formulation, tuple(kernel.shape), pool, math.inf)
    layer = layer._replace(cached_bytes=_cached_bytes(x, matrix, layer))
    y: Any = _conv_pool(_cut(x, matrix, layer), matrix, bias, layer)
    return y.reshape(len(x), -1, *y.shape[2:])  # joins the pieces of an item


def _cached_bytes(x, matrix, layer: _Layer) -> float:
    """Return the limit for a chunk's outputs before the pool.  A GPU's cache is too small to keep its units busy."""
    if backend() == "cpu":
        return max(CACHED_BYTES, CACHED_MATRICES * matrix.nbytes)
    banded, n_bytes = layer.formulation.endswith("banded"), len(x) * layer.item_bytes(x, matrix)
    return VECTOR_BYTES if backend() == "tpu" and banded and n_bytes > VECTOR_MEMORY else math.inf


def _cut(x, matrix, layer: _Layer):
    """Cut a one-channel input into more items of fewer frames, if an item's outputs would not stay in the cache.

    The pieces overlap by the kernel, which costs little with one channel.
    """
    item_bytes = layer.item_bytes(x, matrix)
    if x.shape[3] > 1 or item_bytes <= layer.cached_bytes:
        return x
    kt, pt = layer.kernel_shape[0], layer.pool[0]
    n_frames = x.shape[1] - kt + 1

    def is_supported(size: int) -> bool:
        shape = (1, size + kt - 1, *x.shape[2:])
        return layer.formulation in supported(shape, layer.kernel_shape, layer.pool)

    sizes = [size for size in (pt * n for n in divisors(n_frames // pt)) if is_supported(size)]
    size = max((size for size in sizes if size * item_bytes <= n_frames * layer.cached_bytes), default=min(sizes))
    return cut_to_pieces(x, size, kt - 1)


def _crop(x, kernel_size, pool: Window, padding: Padding):
    """Crop `x` to what the pooled outputs read, zero-padded so that a `valid` convolution yields exactly those."""
    pads, slices = [(0, 0)], [slice(None)]
    for size, k, p in zip(x.shape[1:3], kernel_size, pool, strict=True):
        low, high = ((k - 1) // 2, k // 2) if padding == "same" else (0, 0)
        n_out = (size + low + high - k + 1) // p * p
        stop = n_out + k - 1 - low  # the first row of x that no output reads
        pads.append((low, max(0, stop - size)))
        slices.append(slice(0, stop))
    x = x[(*slices, slice(None))]
    return jnp.pad(x, (*pads, (0, 0))) if any(map(any, pads)) else x


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _conv_pool(x, matrix, bias, layer: _Layer):
    return _pooled_and_places(x, matrix, bias, layer)[0]


def _pooled_and_places(x, matrix, bias, layer: _Layer):
    def forward(carry, x):
        pooled, places = max_and_place(layer.convolve(x, matrix), layer.pool)
        y = pooled + bias
        return carry, (jnn.relu(y).astype(x.dtype), jnp.where(y > 0, places, NOWHERE))

    return over_chunks(forward, None, x, layer.chunk_size(x, matrix))[1]


def _fwd(x, matrix, bias, layer: _Layer):
    differentiated = None if x.perturbed is False else ()  # not for the first layer's input, which saves a product
    x, matrix, bias = x.value, matrix.value, bias.value
    y, places = _pooled_and_places(x, matrix, bias, layer)
    return y, (x, matrix, places, differentiated)


def _bwd(layer: _Layer, residuals, g):
    x, matrix, places, differentiated = residuals

    def backward(total, given):
        x, g, places = given
        shapes = jax.eval_shape(layer.convolve, x, matrix)
        parts = zip(*(jnp.split(whole, len(shapes), axis=2) for whole in (g, places)), shapes, strict=True)
        dy = tuple(unpool(g, places, layer.pool, (len(phases), len(phases[0]))) for g, places, phases in parts)
        dx, dmatrix = jax.vjp(layer.convolve, x, matrix)[1](dy)
        return total + dmatrix, None if differentiated is None else dx

    zero = jnp.zeros(matrix.shape, jnp.float32)
    dmatrix, dx = over_chunks(backward, zero, (x, g, places), layer.chunk_size(x, matrix))
    dbias = jnp.sum(jnp.where(places != NOWHERE, g, 0), axis=(0, 1, 2), dtype=jnp.float32)
    return dx, dmatrix, dbias


_conv_pool.defvjp(_fwd, _bwd, symbolic_zeros=True)
