"""The parts that every network shares: dropout, and the output layer, which alone is the shallow network."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from mumu_jax.config import ModelSettings
from mumu_jax.models.kernels.precision import product_precision
from mumu_jax.models.registry import Output, register
from mumu_jax.objectives.cosine import l2_normalize


def dropout(
    x: Float[Array, "items *shape"], keys: Key[Array, " items"] | None, rate: float, layer: int
) -> Float[Array, "items *shape"]:
    """Zero a share `rate` of each item's values and scale up the rest; unchanged without keys or at rate 0.

    An item's noise is a function of its own key and of `layer`, which tells a network's dropout layers apart, and so
    does not depend on the device or the place in the batch.
    """
    if keys is None or rate == 0:
        return x
    keep = jax.vmap(lambda key: jax.random.bernoulli(jax.random.fold_in(key, layer), 1 - rate, x.shape[1:]))(keys)
    return jnp.where(keep, x / (1 - rate), 0)


class Shallow(nn.Module):
    """One dense layer, with dropout of its input: to label logits, or (unit_output) to l2-normalised label factors.

    Alone, the album network of Oramas et al. 2017, section 5.1, step 3, and the fusion network.
    """

    n_outputs: int
    unit_output: bool
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self, embedding: Float[Array, "items d"], dropout_keys: Key[Array, " items"] | None = None
    ) -> tuple[Float[Array, "items outputs"], Float[Array, "items d"]]:
        """Return (output, embedding): the embedding is the dense layer's input; one key an item turns dropout on."""
        embedding = dropout(embedding, dropout_keys, self.dropout, layer=0)
        output = nn.Dense(
            self.n_outputs,
            kernel_init=nn.initializers.glorot_uniform(),
            precision=product_precision(embedding.dtype),
            name="dense",
        )(embedding)
        return (l2_normalize(output) if self.unit_output else output), embedding


def output_layer(params: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the parameters of a network's `Shallow`, which is its last layer or the whole network."""
    return params.get("output", params)


@register("shallow", sees=("timbre", "descriptors", "fusion"), settings=("dropout",))
def build_shallow(settings: ModelSettings, output: Output) -> Shallow:
    """Build the shallow network that sees items themselves."""
    return Shallow(output.size, output.unit, settings.dropout)
