"""Densely connected networks (Huang et al. 2017).

Parameters have torchvision's names below `features`, with `_` for the dots between modules.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from mumu_jax.models.batch_norm import BatchNorm, Members
from mumu_jax.models.head import Shallow
from mumu_jax.models.kernels.overlapping import max_pool
from mumu_jax.models.kernels.padded import padded_conv
from mumu_jax.models.registry import register

GROWTH = 32  # channels added by each layer
BOTTLENECK = 4 * GROWTH
BLOCKS_201 = (6, 12, 48, 32)


@register("densenet201", sees=("image",), settings=("weights", "dropout", "precision"))
class DenseNet(nn.Module):
    """A dense network: a 7×7 convolution, blocks of layers that see all earlier ones, the mean, one dense layer.

    The blocks compute in `dtype`, statistics and the dense layer in float32.
    """

    n_outputs: int
    unit_output: bool
    blocks: tuple[int, ...] = BLOCKS_201
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

        def norm_relu(x: Array, name: str) -> Array:
            return nn.relu(BatchNorm(self.dtype, name=name)(x, members))

        x = padded_conv(2 * GROWTH, 7, stride=2, dtype=self.dtype, name="conv0")(images.astype(self.dtype))
        x = max_pool(norm_relu(x, "norm0"), (3, 3), (2, 2), padding=1)
        for b, n_layers in enumerate(self.blocks, start=1):
            for i in range(1, n_layers + 1):
                new = Layer(self.dtype, name=f"denseblock{b}_denselayer{i}")(x, members)
                x = jnp.concatenate((x, new), axis=-1)
            if b < len(self.blocks):
                x = norm_relu(x, f"transition{b}_norm")
                x = padded_conv(x.shape[-1] // 2, 1, dtype=self.dtype, name=f"transition{b}_conv")(x)
                x = nn.avg_pool(x, (2, 2), (2, 2))
        x = norm_relu(x, f"norm{len(self.blocks) + 1}")
        x = jnp.mean(x, axis=(1, 2), dtype=jnp.float32)
        return Shallow(self.n_outputs, self.unit_output, self.dropout, name="output")(x, dropout_keys)


class Layer(nn.Module):
    """A layer that returns `GROWTH` new channels: a 1×1 and a 3×3 convolution, each after its norm and ReLU."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "items h w c"], members: Members | None = None
    ) -> Float[Array, "items h w growth"]:
        for i, (features, size) in enumerate(((BOTTLENECK, 1), (GROWTH, 3)), start=1):
            x = nn.relu(BatchNorm(self.dtype, name=f"norm{i}")(x, members))
            x = padded_conv(features, size, dtype=self.dtype, name=f"conv{i}")(x)
        return x
