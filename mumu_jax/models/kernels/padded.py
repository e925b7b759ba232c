"""The convolutions of the published image and mel networks, with explicit padding.

With a stride of 2, Flax's SAME pads by (2, 3), and PyTorch's networks by (3, 3).

On a CPU, XLA's own gradients of convolutions are slow: they are computed in another way, with the same result.
"""

from collections.abc import Sequence
from typing import Any

from flax import linen as nn
from jaxtyping import Array

from mumu_jax.models.kernels import windows, winograd
from mumu_jax.models.kernels.backend import backend, stored
from mumu_jax.models.kernels.precision import product_precision
from mumu_jax.models.kernels.products import multiply


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
        kernel_init=nn.initializers.he_normal(),
        conv_general_dilated=_convolve,
        name=name,
    )


def _convolve(x: Array, kernel: Array, strides: Sequence[int], padding: Any, *, precision: Any, **rest: Any) -> Array:
    """Compute `lax.conv_general_dilated` as Flax calls it, with `rest` at its defaults: no dilation, one group."""
    return convolve(x, kernel, padding, strides[0], precision)


def convolve(x: Array, kernel: Array, padding: Any, stride: int = 1, precision: Any = None) -> Array:
    """Convolve, with channels last; `padding` is that before and after each axis; `precision` is as for `x` if None.

    On a CPU, a 1 × 1 convolution is a matrix product, a 3 × 3 one Winograd's if that is faster (in the precision of
    `x`), and others are products of windows, or have such gradients.
    """
    precision = product_precision(x.dtype) if precision is None else precision
    padding = tuple(map(tuple, padding))
    if backend() != "cpu":
        return windows.plain(x, kernel, stride, padding, precision)
    if kernel.shape[:2] == (1, 1) and padding == ((0, 0), (0, 0)):
        return multiply(x[:, ::stride, ::stride], kernel[0, 0], precision)
    if stride == 1 and winograd.suits(x.shape, kernel.shape, padding, x.dtype):
        return winograd.convolve(stored(x), kernel, padding)
    return windows.convolve(stored(x), kernel, stride, padding, precision)
