"""The text network of Oramas et al. 2017: two hidden layers on tf-idf vectors, ReLU and dropout after each.

Widths and dropout are the authors' code's (tartarus).
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from mumu_jax.batch import Sparse
from mumu_jax.models.head import Shallow, dropout
from mumu_jax.models.kernels.precision import product_precision
from mumu_jax.models.kernels.sparse import sparse_dense
from mumu_jax.models.registry import register


@register("mlp", sees=("text",), settings=("dropout", "precision"))
class MLP(nn.Module):
    """Hidden layers and one dense layer.  The hidden layers compute in `dtype`, everything else in float32."""

    n_outputs: int
    unit_output: bool
    widths: tuple[int, ...] = (2048, 2048)
    dropout: float = 0.5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, inputs: Sparse | Float[Array, "items terms"], dropout_keys: Key[Array, " items"] | None = None
    ) -> tuple[Float[Array, "items outputs"], Float[Array, "items d"]]:
        """Return (output, embedding) of rows, sparse or not; one key an item turns dropout on."""
        x: Any = inputs
        for i, width in enumerate(self.widths):
            n_inputs = x.n_columns if isinstance(x, Sparse) else x.shape[-1]
            kernel = self.param(f"hidden{i}_kernel", nn.initializers.glorot_uniform(), (n_inputs, width))
            bias = self.param(f"hidden{i}_bias", nn.initializers.zeros_init(), (width,))
            x = self._product(x, kernel) + bias.astype(self.dtype)
            x = dropout(nn.relu(x), dropout_keys, self.dropout, layer=i)
        return Shallow(self.n_outputs, self.unit_output, name="output")(x.astype(jnp.float32))

    def _product(self, x: Any, kernel: Array) -> Array:
        if isinstance(x, Sparse):
            return sparse_dense(x, kernel, self.dtype)
        return jnp.matmul(x.astype(self.dtype), kernel.astype(self.dtype), precision=product_precision(self.dtype))
