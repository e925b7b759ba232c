"""The convolutions of the published image and mel networks, with explicit padding.

With a stride of 2, Flax's SAME pads by (2, 3), and PyTorch's networks by (3, 3).

On a CPU, XLA's own gradients of convolutions are slow: they are computed in another way, with the same result.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array

from mumu_jax.models.kernels import winograd
from mumu_jax.models.kernels.backend import backend, stored
from mumu_jax.models.kernels.precision import product_precision
from mumu_jax.models.kernels.products import multiply

CHANNELS_LAST = ("NHWC", "HWIO", "NHWC")
# The gradient of a kernel is a convolution of these "windows", and slow if they are larger than this: 2 to 4 times as
# slow as matrix products on an AMD EPYC and an Intel Xeon with caches of 1 to 2 MB a core.
LARGE_BYTES = 2**23


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
    `x`), and others have the gradient below.
    """
    precision = product_precision(x.dtype) if precision is None else precision
    padding = tuple(map(tuple, padding))
    if backend() != "cpu":
        return _plain(x, kernel, stride, padding, precision)
    if kernel.shape[:2] == (1, 1) and padding == ((0, 0), (0, 0)):
        return multiply(x[:, ::stride, ::stride], kernel[0, 0], precision)
    if stride == 1 and winograd.suits(x.shape, kernel.shape, padding, x.dtype):
        return winograd.convolve(stored(x), kernel, padding)
    return _convolve_on_cpu(stored(x), kernel, stride, padding, precision)


def _plain(x: Array, kernel: Array, stride: int, padding: Any, precision: Any, **dilation: Any) -> Array:
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=CHANNELS_LAST, precision=precision, **dilation
    )


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _convolve_on_cpu(x: Array, kernel: Array, stride: int, padding: Any, precision: Any) -> Array:
    """Convolve, with gradients that are convolutions with channels last, or matrix products where these are faster.

    XLA's own gradients are neither: inside a loop such as `lax.scan`, XLA for CPUs does not reorder their axes, and
    computes the kernel's gradient 40 to 80 times as slowly.
    """
    return _plain(x, kernel, stride, padding, precision)


def _forward(x: Array, kernel: Array, stride: int, padding: Any, precision: Any) -> tuple[Array, tuple[Array, Array]]:
    return _convolve_on_cpu(x, kernel, stride, padding, precision), (x, kernel)


def _backward(stride: int, padding: Any, precision: Any, kept: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    (x, kernel), g = kept, stored(g)
    spans = [(n - 1) * stride + 1 for n in g.shape[1:3]]  # sides of the outputs, dilated by the stride
    # A kernel's size, an input's side, the padding before it, an outputs' span: of both axes.
    axes = list(zip(kernel.shape[:2], x.shape[1:3], (low for low, _ in padding), spans, strict=True))
    if x.shape[3] == 1:
        dkernel = _one_product(x, g, kernel, stride, padding, precision)
    elif g.size * g.dtype.itemsize > LARGE_BYTES:
        dkernel = _products(x, g, kernel, stride, padding, precision)
    else:
        # Each input channel under each output channel's gradient, summed over the items.
        pads = tuple((low, size - side - low + span - 1) for size, side, low, span in axes)
        by_channel, windows = x.transpose(3, 1, 2, 0), g.transpose(1, 2, 0, 3)
        dkernel = _plain(by_channel, windows, 1, pads, precision, rhs_dilation=(stride, stride)).transpose(1, 2, 0, 3)
    # The input's gradient: the dilated gradient of the outputs under the kernel, turned around.
    pads = tuple((size - 1 - low, side - span + low) for size, side, low, span in axes)
    turned = jnp.flip(kernel, (0, 1)).transpose(0, 1, 3, 2)
    return _plain(g, turned, 1, pads, precision, lhs_dilation=(stride, stride)), dkernel


def _one_product(x: Array, g: Array, kernel: Array, stride: int, padding: Any, precision: Any) -> Array:
    """Return the kernel's gradient for one input channel: all places of the kernel in one matrix product."""
    seen = jnp.concatenate(list(_seen_by_places(x, g, kernel, stride, padding)), axis=3)
    rows, columns = seen.reshape(-1, seen.shape[3]), g.reshape(-1, g.shape[3])
    return jnp.matmul(rows.T, columns, precision=precision).reshape(kernel.shape)


def _products(x: Array, g: Array, kernel: Array, stride: int, padding: Any, precision: Any) -> Array:
    """Return the kernel's gradient by a matrix product for each of its places, item by item: one fits in a cache."""

    def add_item(total: Array, item: tuple[Array, Array]) -> tuple[Array, None]:
        x, g = (part[None] for part in item)
        columns = g.reshape(-1, g.shape[3])
        products = [
            jnp.matmul(
                seen.reshape(-1, seen.shape[3]).T, columns, precision=precision, preferred_element_type=jnp.float32
            )
            for seen in _seen_by_places(x, g, kernel, stride, padding)
        ]
        return total + jnp.stack(products).reshape(kernel.shape), None

    return lax.scan(add_item, jnp.zeros(kernel.shape, jnp.float32), (x, g))[0].astype(kernel.dtype)


def _seen_by_places(x: Array, g: Array, kernel: Array, stride: int, padding: Any) -> Iterator[Array]:
    """Yield, for each place of the kernel, the inputs that it multiplies, where the outputs are."""
    padded = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    height, width = ((n - 1) * stride + 1 for n in g.shape[1:3])
    for i in range(kernel.shape[0]):
        for j in range(kernel.shape[1]):
            yield padded[:, i : i + height : stride, j : j + width : stride]


_convolve_on_cpu.defvjp(_forward, _backward)
