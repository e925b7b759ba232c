"""Residual networks (He et al. 2016), with the stride of a bottleneck in its 3×3 convolution, as in torchvision.

Parameters have torchvision's names, with `_0` for `.0`.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from mumu_jax.config import ModelSettings
from mumu_jax.models.batch_norm import BatchNorm, Members
from mumu_jax.models.head import Shallow
from mumu_jax.models.kernels.backend import stored
from mumu_jax.models.kernels.overlapping import max_pool
from mumu_jax.models.kernels.padded import padded_conv
from mumu_jax.models.registry import Output, fields_of, register

# Depth → blocks of each of the four stages, and whether they are bottlenecks.
DEPTHS = {
    10: ((1, 1, 1, 1), False),
    14: ((1, 1, 1, 1), True),
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}
EXPANSION = 4  # output channels of a bottleneck, in multiples of its width


def resnet(depth: int, **fields: Any) -> "ResNet":
    """Return the network of a depth in `DEPTHS`; `fields` are the other fields of `ResNet`."""
    blocks, bottleneck = DEPTHS[depth]
    return ResNet(blocks=blocks, bottleneck=bottleneck, **fields)


class ResNet(nn.Module):
    """A residual network: a 7×7 convolution, stages of blocks, the mean over the image, one dense layer.

    The blocks compute in `dtype`, statistics and the dense layer in float32.
    """

    blocks: tuple[int, ...]  # of each stage
    bottleneck: bool
    n_outputs: int
    unit_output: bool
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "items height width 3"],
        dropout_keys: Key[Array, " items"] | None = None,
        members: Members | None = None,
    ) -> tuple[Float[Array, "items outputs"], Float[Array, "items d"]]:
        """Return (output, embedding) of standardised images; keys, one an item, enable dropout before the head."""
        x = padded_conv(64, 7, stride=2, dtype=self.dtype, name="conv1")(images.astype(self.dtype))
        x = nn.relu(BatchNorm(self.dtype, name="bn1")(x, members))
        x = max_pool(x, (3, 3), (2, 2), padding=1)
        for stage, n_blocks in enumerate(self.blocks):
            for i in range(n_blocks):
                stride = 2 if stage and not i else 1
                block = Block(64 * 2**stage, stride, self.bottleneck, self.dtype, name=f"layer{stage + 1}_{i}")
                x = block(x, members)
        x = jnp.mean(x, axis=(1, 2), dtype=jnp.float32)
        return Shallow(self.n_outputs, self.unit_output, self.dropout, name="output")(x, dropout_keys)


class Block(nn.Module):
    """A residual block: two 3×3 convolutions, or a bottleneck of 1×1, 3×3 and 1×1, added to the (projected) input."""

    width: int
    stride: int
    bottleneck: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "items h w cin"], members: Members | None = None
    ) -> Float[Array, "items h2 w2 cout"]:
        plain = ((self.width, 3, self.stride), (self.width, 3, 1))
        narrow = ((self.width, 1, 1), (self.width, 3, self.stride), (self.width * EXPANSION, 1, 1))
        layers = narrow if self.bottleneck else plain
        y = x
        for i, (features, size, stride) in enumerate(layers, start=1):
            y = padded_conv(features, size, stride, dtype=self.dtype, name=f"conv{i}")(y)
            y = BatchNorm(self.dtype, name=f"bn{i}")(y, members)
            y = nn.relu(y) if i < len(layers) else y
        if x.shape != y.shape:
            x = padded_conv(y.shape[-1], 1, self.stride, dtype=self.dtype, name="downsample_0")(x)
            x = BatchNorm(self.dtype, name="downsample_1")(x, members)
        return stored(nn.relu(x + y))


@register("resnet", sees=("image",), settings=("depth", "weights", "dropout", "precision"))
def build_resnet(settings: ModelSettings, output: Output) -> ResNet:
    """Build the ResNet of `settings.depth` layers."""
    return resnet(settings.depth, **fields_of(settings, output))
