"""The output layer of every network, and the network that is nothing else."""

from flax import linen as nn
from jaxtyping import Array, Float, Key

from mumu_jax.models.dropout import dropout
from mumu_jax.models.kernels.precision import product_precision
from mumu_jax.objectives.cosine import l2_normalize


class Shallow(nn.Module):
    """One dense layer: to label logits, or (unit_output) to l2-normalised label factors.

    Oramas et al. 2017, section 5.1, step 3; with dropout of its input, the fusion network.
    """

    n_outputs: int
    unit_output: bool
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self, embedding: Float[Array, "items d"], dropout_keys: Key[Array, " items"] | None = None
    ) -> tuple[Float[Array, "items outputs"], Float[Array, "items d"]]:
        """(output, embedding): the embedding is the input of the last dense layer; one key an item turns dropout on."""
        embedding = dropout(embedding, dropout_keys, self.dropout, layer=0)
        output = nn.Dense(
            self.n_outputs,
            kernel_init=nn.initializers.glorot_uniform(),
            precision=product_precision(embedding.dtype),
            name="dense",
        )(embedding)
        return (l2_normalize(output) if self.unit_output else output), embedding
