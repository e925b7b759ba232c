"""The convolutions of the published image and mel networks, with explicit padding.

With a stride of 2, Flax's SAME pads by (2, 3), and PyTorch's networks by (3, 3).

On a CPU, XLA's own convolutions of few positions, and all of its gradients, are slow: they are computed in other ways,
with the same result.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array

from mumu_jax.models.kernels import plain, windows, winograd
from mumu_jax.models.kernels.backend import backend, stored
from mumu_jax.models.kernels.precision import product_precision
from mumu_jax.models.kernels.products import multiply

KERNEL_INIT = nn.initializers.he_normal()


class ConvParameters(nn.Module):
    """The parameters of a `padded_conv` with a bias, for a layer that convolves in another way."""

    features: int
    size: int

    @nn.compact
    def __call__(self, n_channels: int) -> tuple[Array, Array]:
        """Return kernel and bias."""
        kernel = self.param("kernel", KERNEL_INIT, (self.size, self.size, n_channels, self.features))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        return jnp.asarray(kernel), jnp.asarray(bias)


def padded_conv(
    features: int,
    size: int,
    stride: int = 1,
    padding: int | None = None,
    bias: bool = False,
    *,
    dtype: Any,
    name: str,
) -> nn.Conv:
    """Return a square convolution of images that pads each side by `padding`, by default (size − 1) / 2."""
    padding = (size - 1) // 2 if padding is None else padding
    return nn.Conv(
        features,
        (size, size),
        stride,
        padding=((padding, padding),) * 2,
        use_bias=bias,
        dtype=dtype,
        precision=product_precision(dtype),
        kernel_init=KERNEL_INIT,
        conv_general_dilated=_convolve,
        name=name,
    )


def _convolve(x: Array, kernel: Array, strides: Sequence[int], padding: Any, *, precision: Any, **rest: Any) -> Array:
    """Compute `lax.conv_general_dilated` as Flax calls it, with `rest` at its defaults: no dilation, one group."""
    return convolve(x, kernel, padding, strides[0], precision)


def convolve(x: Array, kernel: Array, padding: Any, stride: int = 1, precision: Any = None) -> Array:
    """Convolve, with channels last; `padding` is that before and after each axis; `precision` is as for `x` if None.

    On a CPU, a convolution whose windows do not overlap is a matrix product, a 3 × 3 one Winograd's if that is faster
    (in the precision of `x`), and others are as in `windows`; then `padding` is not negative.
    """
    precision = product_precision(x.dtype) if precision is None else precision
    padding = tuple(map(tuple, padding))
    if backend() != "cpu":
        return plain.convolve(x, kernel, stride, padding, precision)
    if padding == ((0, 0), (0, 0)) and (kernel.shape[:2] == (1, 1) or kernel.shape[:2] == (stride, stride)):
        return multiply(_tiles(x, kernel.shape[0], stride), kernel.reshape(-1, kernel.shape[3]), precision)
    if stride == 1 and winograd.suits(x.shape, kernel.shape, padding, x.dtype):
        return winograd.convolve(stored(x), kernel, padding)
    return windows.convolve(stored(x), kernel, stride, padding, precision)


def _tiles(x: Array, size: int, stride: int) -> Array:
    """Return windows that do not overlap: [items, height, width, places × channels]."""
    if size == 1:
        return x[:, ::stride, ::stride]
    n_items, height, width, channels = x.shape
    height, width = height // size, width // size
    x = x[:, : height * size, : width * size].reshape(n_items, height, size, width, size, channels)
    return x.swapaxes(2, 3).reshape(n_items, height, width, -1)
