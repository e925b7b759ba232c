"""AlexNet as in torchvision (Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks").

Parameters have torchvision's names, with `_0` for `.0`.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from mumu_jax.models.head import Shallow, dropout
from mumu_jax.models.kernels.overlapping import max_pool
from mumu_jax.models.kernels.padded import padded_conv
from mumu_jax.models.kernels.precision import product_precision
from mumu_jax.models.registry import register

# Number in torchvision's list of layers → features, size, stride, padding, and if a max-pool follows.
CONVOLUTIONS = {
    0: (64, 11, 4, 2, True),
    3: (192, 5, 1, 2, True),
    6: (384, 3, 1, 1, False),
    8: (256, 3, 1, 1, False),
    10: (256, 3, 1, 1, True),
}
WIDTH = 4096


@register("alexnet", sees=("image",), settings=("weights", "dropout", "precision"))
class AlexNet(nn.Module):
    """A network of five convolutions and three dense layers.  All but the last compute in `dtype`."""

    n_outputs: int
    unit_output: bool
    dropout: float = 0.5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, images: Float[Array, "items 224 224 3"], dropout_keys: Key[Array, " items"] | None = None
    ) -> tuple[Float[Array, "items outputs"], Float[Array, "items d"]]:
        """Return (output, embedding) of standardised images; keys, one an item, enable dropout before hidden layers."""
        x = images.astype(self.dtype)
        for number, (features, size, stride, padding, pooled) in CONVOLUTIONS.items():
            name = f"features_{number}"
            x = nn.relu(padded_conv(features, size, stride, padding, bias=True, dtype=self.dtype, name=name)(x))
            x = max_pool(x, (3, 3), (2, 2)) if pooled else x
        x = x.transpose(0, 3, 1, 2).reshape(len(x), -1)  # channels first, the order of the published weights
        for number in (1, 4):
            x = dropout(x, dropout_keys, self.dropout, layer=number)
            dense = nn.Dense(
                WIDTH,
                dtype=self.dtype,
                precision=product_precision(self.dtype),
                kernel_init=nn.initializers.he_normal(),
                name=f"classifier_{number}",
            )
            x = nn.relu(dense(x))
        return Shallow(self.n_outputs, self.unit_output, name="output")(x.astype(jnp.float32))
