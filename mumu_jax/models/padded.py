"""The convolution and the max-pool of the published image networks, which say what they pad.

Flax's SAME pads a stride of 2 by (2, 3) where PyTorch's networks have (3, 3).
"""

from typing import Any

from flax import linen as nn
from jaxtyping import Array, Float

from mumu_jax.models.precision import product_precision


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
    """A square convolution of images that pads each side by `padding`, by default (size − 1) / 2."""
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
        name=name,
    )


def max_pool(
    x: Float[Array, "items height width channels"], padding: int
) -> Float[Array, "items height2 width2 channels"]:
    """The largest of each 3 × 3 window, at every other position."""
    pads: Any = ((padding, padding),) * 2
    return nn.max_pool(x, (3, 3), (2, 2), pads)
