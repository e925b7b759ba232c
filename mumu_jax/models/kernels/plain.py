"""The plain convolution, which XLA computes as it thinks best."""

from collections.abc import Sequence
from typing import Any

from jax import lax
from jaxtyping import Array

CHANNELS_LAST = ("NHWC", "HWIO", "NHWC")
Padding = Sequence[tuple[int, int]]  # before and after each axis


def convolve(x: Array, kernel: Array, stride: int, padding: Padding, precision: Any) -> Array:
    """Convolve, with channels last: items, two axes and channels by two axes, channels and others."""
    strides, numbers = (stride, stride), CHANNELS_LAST
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=numbers, precision=precision)
