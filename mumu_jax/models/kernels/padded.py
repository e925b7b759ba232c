"""The convolution and the max-pool of the published image networks, with explicit padding.

With a stride of 2, Flax's SAME pads by (2, 3), and PyTorch's networks by (3, 3).

On a CPU, XLA's own gradients of convolutions are slow: they are computed in another way, with the same result.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from mumu_jax.models.kernels.backend import backend
from mumu_jax.models.kernels.precision import product_precision

CHANNELS_LAST = ("NHWC", "HWIO", "NHWC")


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
    """Compute `lax.conv_general_dilated` as Flax calls it, with `rest` at its defaults: no dilation, one group.

    On a CPU, a 1 × 1 convolution is a matrix product, and others have the gradient below.
    """
    (stride, _), ((low, _), _) = strides, padding
    if backend() != "cpu":
        return _plain(x, kernel, stride, ((low, low),) * 2, precision)
    if kernel.shape[:2] == (1, 1) and low == 0:
        return jnp.einsum("nhwc,cd->nhwd", x[:, ::stride, ::stride], kernel[0, 0], precision=precision)
    return _convolve_on_cpu(x, kernel, stride, low, precision)


def _plain(x: Array, kernel: Array, stride: int, padding: Any, precision: Any, **dilation: Any) -> Array:
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=CHANNELS_LAST, precision=precision, **dilation
    )


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _convolve_on_cpu(x: Array, kernel: Array, stride: int, padding: int, precision: Any) -> Array:
    """Convolve, with gradients that are convolutions with channels last.

    XLA's own gradients are not: inside a loop such as `lax.scan`, XLA for CPUs does not reorder their axes, and
    computes the kernel's gradient 40 to 80 times as slowly.
    """
    return _plain(x, kernel, stride, ((padding, padding),) * 2, precision)


def _forward(x: Array, kernel: Array, stride: int, padding: int, precision: Any) -> tuple[Array, tuple[Array, Array]]:
    return _convolve_on_cpu(x, kernel, stride, padding, precision), (x, kernel)


def _backward(stride: int, padding: int, precision: Any, kept: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = kept
    size, sides = kernel.shape[0], x.shape[1:3]
    spans = [(n - 1) * stride + 1 for n in g.shape[1:3]]  # sides of the outputs, dilated by the stride
    # The kernel's gradient: each input channel under each output channel's gradient, summed over the items.
    pads = tuple((padding, size - side - padding + span - 1) for side, span in zip(sides, spans, strict=True))
    by_channel, windows = x.transpose(3, 1, 2, 0), g.transpose(1, 2, 0, 3)
    dkernel = _plain(by_channel, windows, 1, pads, precision, rhs_dilation=(stride, stride)).transpose(1, 2, 0, 3)
    # The input's gradient: the dilated gradient of the outputs under the kernel, turned around.
    before = size - 1 - padding
    pads = tuple((before, side - span - before + size - 1) for side, span in zip(sides, spans, strict=True))
    turned = jnp.flip(kernel, (0, 1)).transpose(0, 1, 3, 2)
    return _plain(g, turned, 1, pads, precision, lhs_dilation=(stride, stride)), dkernel


_convolve_on_cpu.defvjp(_forward, _backward)


def max_pool(
    x: Float[Array, "items height width channels"], padding: int
) -> Float[Array, "items height2 width2 channels"]:
    """Return the largest value of each 3 × 3 window, at every other position."""
    pads: Any = ((padding, padding),) * 2
    return nn.max_pool(x, (3, 3), (2, 2), pads)
