"""A convolution's values at all frequencies, or only the largest and the smallest of them.

A maximum over frequencies of monotonic functions of a convolution (a bias, ReLU, normalisation by running statistics,
whose scale may be negative) is the larger one of these functions of its two extremes.  So the convolution's values, a
hundred times as many as its input's, need not be stored.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mumu_jax.models.kernels.backend import backend
from mumu_jax.models.kernels.formulations import BAND_BINS, FORMULATIONS
from mumu_jax.models.kernels.padded import convolve

Spectrograms = Float[Array, "items frames bins 1"]
Kernel = Float[Array, "time frequency 1 channels"]


def convolve_frames(x: Spectrograms, kernel: Kernel) -> Float[Array, "items frames positions channels"]:
    """Return the convolution: of each frame (zeros pad the ends), at all positions of the kernel inside the bins."""
    around, n_positions = _around(kernel), x.shape[2] - kernel.shape[1] + 1
    if n_positions == 1:  # all bins as channels: the gradients do not slide the kernel over them
        return convolve(x.swapaxes(2, 3), kernel.swapaxes(1, 2), (around, (0, 0)))
    if backend() != "cpu":
        return convolve(x, kernel, (around, (0, 0)))
    x = jnp.pad(x, ((0, 0), around, (0, 0), (0, 0)))
    if kernel.shape[1] == 1:
        return _banded(x.swapaxes(1, 2), kernel.swapaxes(0, 1)).swapaxes(1, 2)
    return _banded(x, kernel)


def convolve_to_extremes(x: Spectrograms, kernel: Kernel) -> Float[Array, "items frames 2 channels"]:
    """Return the largest and the smallest value of `convolve_frames` over the positions."""
    padding, bins_axis = (_around(kernel), (0, 0)), 2
    if kernel.shape[1] == 1:  # measured: on a CPU, a sixth faster with frames as the convolution's inner axis
        x, kernel, padding, bins_axis = x.swapaxes(1, 2), kernel.swapaxes(0, 1), padding[::-1], 1

    def extremes(x: Array) -> Array:
        y = convolve(x, kernel, padding)
        return jnp.stack((y.max(bins_axis), y.min(bins_axis)), axis=2)

    if backend() != "cpu":
        return extremes(x)
    # One item at a time: its values, 9 MB, stay in a CPU's caches, and those of a batch do not.
    return lax.map(lambda item: extremes(item[None])[0], x)


def _around(kernel: Kernel) -> tuple[int, int]:
    """Return the zeros before and after the frames, as TensorFlow's SAME: an even kernel sees one frame more after."""
    n_taps = kernel.shape[0]
    return (n_taps - 1) // 2, n_taps // 2


def _banded(x: Spectrograms, kernel: Kernel) -> Float[Array, "items fewer positions channels"]:
    """Convolve along wide kernels as matrix products, whose gradients are, too: measured, six times as fast."""
    n_positions = x.shape[2] - kernel.shape[1] + 1
    x = jnp.pad(x, ((0, 0), (0, 0), (0, -n_positions % BAND_BINS), (0, 0)))
    banded, pool = FORMULATIONS["banded"], (1, 1)
    pieces = banded.apply(x, banded.expand(kernel, pool), kernel.shape, pool)
    return jnp.concatenate([phases[0][0] for phases in pieces], axis=2)[:, :, :n_positions]
