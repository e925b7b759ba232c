"""The vision transformer ViT-B/16 (Dosovitskiy et al. 2021).

Parameters have torchvision's names; queries, keys and values come from one layer, `in_proj`, as there.
"""

from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from mumu_jax.models.attention import attend
from mumu_jax.models.head import Shallow
from mumu_jax.models.kernels.backend import stored
from mumu_jax.models.kernels.padded import padded_conv
from mumu_jax.models.kernels.precision import product_precision
from mumu_jax.models.kernels.products import dot_rows
from mumu_jax.models.registry import register

EPSILON = 1e-6  # torchvision's; other implementations have 1e-12


@register("vit_b16", sees=("image",), settings=("weights", "dropout", "precision"))
class ViT(nn.Module):
    """A transformer over patches and a class token, with one dense layer on the class token.

    The layers compute in `dtype`, their norms' statistics, the attention's weights and the dense layer in float32.
    """

    n_outputs: int
    unit_output: bool
    patch: int = 16  # pixels a side
    width: int = 768
    depth: int = 12
    heads: int = 12
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, images: Float[Array, "items height width 3"], dropout_keys: Key[Array, " items"] | None = None
    ) -> tuple[Float[Array, "items outputs"], Float[Array, "items d"]]:
        """Return (output, embedding) of standardised images; keys, one an item, enable dropout before the head."""
        patches = padded_conv(self.width, self.patch, self.patch, 0, bias=True, dtype=self.dtype, name="conv_proj")
        x = patches(images.astype(self.dtype)).reshape(len(images), -1, self.width)
        token = self.param("class_token", nn.initializers.zeros_init(), (1, 1, self.width))
        x = jnp.concatenate((jnp.broadcast_to(token, (len(x), 1, self.width)).astype(self.dtype), x), axis=1)
        positions = self.param("pos_embedding", nn.initializers.normal(0.02), (1, *x.shape[1:]))
        x = x + positions.astype(self.dtype)
        for i in range(self.depth):
            x = Layer(self.heads, self.dtype, name=f"encoder_layer_{i}")(x)
        x = _layer_norm(dtype=self.dtype, name="ln")(x[:, 0]).astype(jnp.float32)
        return Shallow(self.n_outputs, self.unit_output, self.dropout, name="output")(x, dropout_keys)


class Layer(nn.Module):
    """A transformer layer: self-attention and a perceptron of four times the width, each pre-normed and residual."""

    heads: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "items tokens d"]) -> Float[Array, "items tokens d"]:
        width, precision = x.shape[-1], product_precision(self.dtype)
        norm = partial(_layer_norm, dtype=self.dtype)
        init = nn.initializers.xavier_uniform()
        dense = partial(nn.Dense, dtype=self.dtype, precision=precision, kernel_init=init, dot_general=dot_rows)
        y = dense(3 * width, name="in_proj")(norm(name="ln_1")(x))
        queries, keys, values = jnp.split(y, 3, axis=-1)
        x = stored(x + dense(width, name="out_proj")(attend(queries, keys, values, self.heads)))
        y = dense(4 * width, name="mlp_0")(norm(name="ln_2")(x))
        return stored(x + dense(width, name="mlp_3")(nn.gelu(y, approximate=False)))


def _layer_norm(dtype: Any, name: str) -> nn.LayerNorm:
    # The fast variance, the mean square minus the squared mean, would lose digits.
    return nn.LayerNorm(epsilon=EPSILON, dtype=dtype, use_fast_variance=False, name=name)
