"""The parts that every network shares: dropout, and the output layer, which alone is the shallow network.

The output layer is dense, or a graph network's: there the variables have a graph of the labels.
"""

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


GRAPH = "graph"  # the collection of variables that has a graph of the labels
GRAPH_WIDTH = 512  # of the first of a graph network's two layers


class Shallow(nn.Module):
    """One dense layer, with dropout of its input: to label logits, or (unit_output) to l2-normalised label factors.

    Alone, the album network of Oramas et al. 2017, section 5.1, step 3, and the fusion network.  With a graph of the
    labels, an item's logits are the products of its vector with the labels' vectors (Ru et al. 2023, section 2.4).
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
        if self.has_variable(GRAPH, "adjacency"):
            adjacency, features = (self.get_variable(GRAPH, name) for name in ("adjacency", "features"))
            of_labels = LabelVectors(embedding.shape[-1], name="labels")(adjacency, features)
            exact = product_precision(embedding.dtype)
            return jnp.matmul(embedding, of_labels.T, precision=exact), embedding
        output = nn.Dense(
            self.n_outputs,
            kernel_init=nn.initializers.glorot_uniform(),
            precision=product_precision(embedding.dtype),
            name="dense",
        )(embedding)
        return (l2_normalize(output) if self.unit_output else output), embedding


class LabelVectors(nn.Module):
    """A graph network of two layers without biases, LeakyReLU between them.

    Kipf and Welling 2017; the number of layers, their widths and the activation are ML-GCN's, for Ru et al. 2023 do not
    print theirs.
    """

    width: int

    @nn.compact
    def __call__(
        self, adjacency: Float[Array, "labels labels"], features: Float[Array, "labels d"]
    ) -> Float[Array, "labels width"]:
        """Return a vector for each label, of itself and its neighbours."""
        x, precision = features, product_precision(features.dtype)
        for i, width in enumerate((GRAPH_WIDTH, self.width)):
            kernel = self.param(f"kernel_{i}", nn.initializers.glorot_uniform(), (x.shape[1], width))
            x = nn.leaky_relu(x, 0.2) if i else x
            x = jnp.matmul(adjacency, jnp.matmul(x, kernel, precision=precision), precision=precision)
        return x


def output_layer(params: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the parameters of a network's `Shallow`, which is its last layer or the whole network."""
    return params.get("output", params)


@register("shallow", sees=("timbre", "descriptors", "fusion"), settings=("dropout",))
def build_shallow(settings: ModelSettings, output: Output) -> Shallow:
    """Build the shallow network that sees items themselves."""
    return Shallow(output.size, output.unit, settings.dropout)
