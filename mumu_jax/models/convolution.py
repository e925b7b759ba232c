"""Convolution followed by max-pooling, written as the matrix products that run fastest.

All formulations equal `lax.conv_general_dilated`, bias, ReLU and a non-overlapping `reduce_window` max to float32
rounding, forward and gradient (where no window holds a tie), and share its parameter layout
(frames, bins, in, out), so that parameters mean the same whichever one runs.

Two facts carry the speed.  A non-overlapping pool throws away what lies beyond the last full window, so that is
never computed.  A one-channel convolution fills no matrix unit, so the first layer multiplies the frames under the
kernel by a banded (Toeplitz) matrix that yields every frequency position at once.
"""

from typing import Literal

import jax.numpy as jnp
from jax import nn as jnn
from jaxtyping import Array, Float

Padding = Literal["valid", "same"]

# A banded matrix covers this many output bins (made whole windows of the pool): a wider band wastes products on
# zeros, and what lies between the product and the pool leaves the cache; a narrower one fills the matrix unit less.
BAND_BINS = 8


def conv_pool(
    x: Float[Array, "items frames bins cin"],
    kernel: Float[Array, "kt kf cin cout"],
    bias: Float[Array, " cout"],
    pool: tuple[int, int],
    padding: Padding,
) -> Float[Array, "items frames2 bins2 cout"]:
    """Convolution, max-pool over windows of `pool` (frames, bins) without overlap, bias, ReLU.

    Bias and ReLU come after the pool: they are monotonic, so the result is the same on 1/(pt·pf) of the values.
    """
    x = _crop(x, kernel.shape[:2], pool, padding)
    if _is_narrow_band(x, kernel):
        y = _pooled_bands(x, kernel, pool)
    else:
        y = max_pool(_im2col(x, kernel), pool)
    return jnn.relu(y + bias)


def max_pool(y: Float[Array, "items frames bins c"], pool: tuple[int, int]) -> Float[Array, "items t f c"]:
    """Non-overlapping max.  A reshape, because `reduce_window`'s gradient is a scatter."""
    (pt, pf), (items, frames, bins, channels) = pool, y.shape
    if pool == (1, 1):
        return y
    return y.reshape(items, frames // pt, pt, bins // pf, pf, channels).max(axis=(2, 4))


def _crop(x, kernel_size, pool, padding: Padding):
    """What the pooled outputs read of `x`, zero-padded so that a `valid` convolution yields them and no more."""
    pads, slices = [(0, 0)], [slice(None)]
    for size, k, p in zip(x.shape[1:3], kernel_size, pool, strict=True):
        low, high = ((k - 1) // 2, k // 2) if padding == "same" else (0, 0)
        n_out = (size + low + high - k + 1) // p * p
        stop = n_out + k - 1 - low  # first row of x that no output reads
        pads.append((low, max(0, stop - size)))
        slices.append(slice(0, stop))
    x = x[(*slices, slice(None))]
    return jnp.pad(x, (*pads, (0, 0))) if any(map(any, pads)) else x


def _is_narrow_band(x, kernel) -> bool:
    """One input channel, and a kernel so tall that its band is mostly full (but leaves several positions)."""
    return x.shape[3] == 1 and x.shape[2] / 2 < kernel.shape[1] < x.shape[2]


def _im2col(x, kernel):
    """Every window's values in a row, times the kernel as a matrix."""
    kt, kf, cin, cout = kernel.shape
    if kf == x.shape[2]:  # the kernel sees all bins, so they are channels: fewer and longer pieces to copy
        x, kf, cin = x.reshape(*x.shape[:2], 1, kf * cin), 1, kf * cin
    n_frames, n_bins = x.shape[1] - kt + 1, x.shape[2] - kf + 1
    columns = [x[:, i : i + n_frames, j : j + n_bins] for i in range(kt) for j in range(kf)]
    return jnp.concatenate(columns, axis=-1) @ kernel.reshape(kt * kf * cin, cout)


def _pooled_bands(x, kernel, pool: tuple[int, int]):
    """Frames under the kernel × a band of bins, times a Toeplitz matrix of the kernel; pooled band by band."""
    kt, kf, _, cout = kernel.shape
    n_frames, n_bins = x.shape[1] - kt + 1, x.shape[2] - kf + 1
    band = BAND_BINS if BAND_BINS % pool[1] == 0 and n_bins % BAND_BINS == 0 else n_bins
    span = band + kf - 1
    matrix = _toeplitz(kernel[:, :, 0], band).reshape(kt * span, band * cout)
    pooled = []
    for low in range(0, n_bins, band):
        rows = jnp.concatenate([x[:, i : i + n_frames, low : low + span, 0] for i in range(kt)], axis=-1)
        pooled.append(max_pool((rows @ matrix).reshape(*rows.shape[:2], band, cout), pool))
    return jnp.concatenate(pooled, axis=2)


def _toeplitz(kernel: Float[Array, "kt kf c"], band: int) -> Float[Array, "kt span band c"]:
    """T[t, i, j] = kernel[t, i − j], zero outside: the kernel shifted down one bin a column.

    Repeating the kernel padded to span + 1 and cutting the repetition into pieces of span shifts it by itself.
    """
    kt, kf, channels = kernel.shape
    span = band + kf - 1
    padded = jnp.pad(kernel, ((0, 0), (0, span + 1 - kf), (0, 0)))
    repeated = jnp.broadcast_to(padded[:, None], (kt, band, span + 1, channels))
    skewed = repeated.reshape(kt, band * (span + 1), channels)[:, : band * span]
    return skewed.reshape(kt, band, span, channels).swapaxes(1, 2)
