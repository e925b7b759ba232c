"""The audio CNNs of Oramas et al. 2017, section 6.1: four blocks of convolution, max-pool and dropout."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from mumu_jax.models.dropout import dropout
from mumu_jax.models.head import Shallow
from mumu_jax.models.kernels.conv_pool import Padding, conv_pool

Size = tuple[int, int]  # frames × bins


class Variant(NamedTuple):
    """Kernel and pool sizes of the four blocks, and the convolutions' padding."""

    kernels: tuple[Size, ...]
    pools: tuple[Size, ...]
    padding: Padding


_4X70 = Variant(((4, 70), (4, 6), (4, 1), (1, 1)), ((4, 4), (4, 1), (4, 1), (1, 1)), "valid")
_4X96 = Variant(((4, 96), (4, 1), (4, 1), (1, 1)), ((4, 1), (4, 1), (4, 1), (1, 1)), "valid")
# The last pool of HIGH-3x3 spans 3 bins and LOW's 1: what fits the parameter counts of all four printed rows.
_3X3_LOW = Variant(((3, 3),) * 4, ((4, 4), (4, 2), (5, 4), (1, 1)), "same")
_3X3_HIGH = Variant(((3, 3),) * 4, ((4, 4), (4, 2), (5, 4), (1, 3)), "same")

VARIANTS = {
    ("4x70", "low"): _4X70,
    ("4x70", "high"): _4X70,
    ("4x96", "low"): _4X96,
    ("4x96", "high"): _4X96,
    ("3x3", "low"): _3X3_LOW,
    ("3x3", "high"): _3X3_HIGH,
}
WIDTHS = {"low": (64, 128, 128, 64), "high": (256, 512, 1024, 1024)}


class CNN(nn.Module):
    """Four blocks, flatten, one dense layer.  The blocks compute in `dtype`, everything else in float32."""

    variant: Variant
    filters: tuple[int, ...]
    n_outputs: int
    unit_output: bool
    dropout: float = 0.0
    dtype: Any = jnp.float32
    backend: str | None = None  # whose formulations to use; by default JAX's own

    @nn.compact
    def __call__(
        self, patches: Float[Array, "items frames bins"], dropout_keys: Key[Array, " items"] | None = None
    ) -> tuple[Float[Array, "items outputs"], Float[Array, "items d"]]:
        """(output, embedding) of standardised log-CQT patches; one key an item turns dropout on."""
        x = patches[..., None].astype(self.dtype)
        for i, (size, pool, width) in enumerate(
            zip(self.variant.kernels, self.variant.pools, self.filters, strict=True)
        ):
            shape = (*size, x.shape[-1], width)
            kernel = self.param(f"conv{i}_kernel", nn.initializers.glorot_uniform(), shape)
            bias = self.param(f"conv{i}_bias", nn.initializers.zeros_init(), (width,))
            x = conv_pool(x, kernel, bias, pool, self.variant.padding, self.backend)
            x = dropout(x, dropout_keys, self.dropout, layer=i)
        embedding = jnp.reshape(x, (x.shape[0], -1)).astype(jnp.float32)
        return Shallow(self.n_outputs, self.unit_output, name="output")(embedding)
