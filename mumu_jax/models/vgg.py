"""The VGG-like network published beside musicnn (Pons & Serra 2019, "Pre-trained convolutional neural networks")."""

from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from mumu_jax.models.batch_norm import BatchNorm, Members
from mumu_jax.models.head import Shallow, dropout
from mumu_jax.models.kernels.overlapping import max_pool
from mumu_jax.models.kernels.padded import padded_conv
from mumu_jax.models.least_patch import check_not_empty
from mumu_jax.models.registry import register

FILTERS = 128
# Of each block, window and stride of the max-pool, frames × bins: the first windows overlap in time, and skip bins.
POOLS = (((4, 1), (2, 2)), ((2, 2), (2, 2)), ((2, 2), (2, 2)), ((2, 2), (2, 2)), ((4, 4), (4, 4)))
EPSILON, MOMENTUM = 1e-3, 0.01  # TensorFlow's defaults


@register("vgg", sees=("mel",), settings=("weights", "dropout", "precision"))
class VGG(nn.Module):
    """Five blocks of convolution, ReLU, normalisation and max-pool, and one dense layer, on log-mel spectrograms.

    The dense layer sees all positions of the last block, so the weights are for one number of frames (published: 187).
    Blocks drop half the share of values that the last layer does, as published (0.25 and 0.5).
    """

    n_outputs: int
    unit_output: bool
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        patches: Float[Array, "items frames bins"],
        dropout_keys: Key[Array, " items"] | None = None,
        members: Members | None = None,
    ) -> tuple[Float[Array, "items outputs"], Float[Array, "items d"]]:
        """Return (output, embedding) of log-mel patches; one key an item turns dropout on."""
        norm = partial(BatchNorm, epsilon=EPSILON, momentum=MOMENTUM)
        x = norm(self.dtype, name="input_bn")(patches[..., None], members)
        for i, (window, strides) in enumerate(POOLS, start=1):
            x = nn.relu(padded_conv(FILTERS, 3, bias=True, dtype=self.dtype, name=f"conv{i}")(x))
            x = max_pool(norm(self.dtype, name=f"bn{i}")(x, members), window, strides)
            x = dropout(x, dropout_keys, self.dropout / 2, layer=i)
        x = check_not_empty(x, patches, POOLS).reshape(len(x), -1).astype(jnp.float32)
        return Shallow(self.n_outputs, self.unit_output, self.dropout, name="output")(x, dropout_keys)
