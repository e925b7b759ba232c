"""Dense co-attention of two modalities (Nguyen and Okatani, CVPR 2018), here of songs and lyrics or others.

Three layers in which each place of a sequence attends to all places of the other one, and to three learned empty ones
that it may choose where nothing there concerns it.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Key

from mumu_jax.config import ModelSettings
from mumu_jax.models.batch_norm import Members
from mumu_jax.models.head import Shallow, dropout
from mumu_jax.models.joint.encoders import (
    PAIRS_OF_MODALITIES,
    SETTINGS,
    Sequence,
    dense,
    encode,
    encoder_fields,
    without_bias,
)
from mumu_jax.models.kernels.precision import product_precision
from mumu_jax.models.registry import Output, register

OWN = ("width", "heads", "depth", "empty")
FIRST_DROPOUT = 1 << 12  # the numbers below are those of the encoder's dropout layers
EXACT = product_precision(jnp.float32)


class CoAttention(nn.Module):
    """Two encoders, layers of co-attention, a summary of each sequence, and the output layer."""

    encoder: nn.Module  # of lyrics
    n_outputs: int
    unit_output: bool
    width: int = 1024
    heads: int = 4
    depth: int = 3
    empty: int = 3
    divisor: int = 1
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        inputs: dict[str, Any],
        dropout_keys: Key[Array, " items"] | None = None,
        members: Members | None = None,
    ) -> tuple[Float[Array, "items outputs"], Float[Array, "items d"]]:
        """Return (output, embedding) of a dict of two inputs."""
        width, heads = self.width, self.heads
        sequences = {}
        for name in sorted(inputs):  # as a jitted function has them
            encoded = encode(name, inputs[name], self, dropout_keys, members)
            sequences[name] = encoded._replace(vectors=dense(width, f"{name}_width")(encoded.vectors))
        for depth in range(self.depth):
            layer = Layer(heads, self.empty, self.dropout, FIRST_DROPOUT + 2 * depth, name=f"layer_{depth}")
            sequences = layer(sequences, dropout_keys)
        summaries = [Summary(heads, name=f"{name}_summary")(one) for name, one in sequences.items()]
        vector = nn.relu(dense(width, "joint")(jnp.concatenate(summaries, axis=1)))
        return Shallow(self.n_outputs, self.unit_output, self.dropout, name="output")(vector, dropout_keys)


class Layer(nn.Module):
    """One layer of co-attention, in both directions by one matrix of affinities for each head."""

    heads: int
    empty: int
    dropout: float
    number: int  # of its first dropout layer

    @nn.compact
    def __call__(
        self, sequences: dict[str, Sequence], dropout_keys: Key[Array, " items"] | None
    ) -> dict[str, Sequence]:
        with_empty = {name: self._with_empty(name, one) for name, one in sequences.items()}
        first, second = with_empty.values()
        heads = [self._heads(name, one.vectors) for name, one in with_empty.items()]
        scale = heads[0].shape[-1] ** -0.5
        affinity = jnp.einsum("nphd,nqhd->nhpq", *heads, precision=EXACT) * scale
        attended = [
            _mean_of_heads(affinity, second),
            _mean_of_heads(affinity.swapaxes(2, 3), first),
        ]
        layers = {}
        for i, ((name, one), other) in enumerate(zip(sequences.items(), attended, strict=True)):
            joined = jnp.concatenate((one.vectors, other[:, self.empty :]), axis=-1)
            change = nn.relu(dense(one.vectors.shape[-1], f"{name}_change")(joined))
            change = dropout(change, dropout_keys, self.dropout, layer=self.number + i)
            layers[name] = one._replace(vectors=one.vectors + change)
        return layers

    def _with_empty(self, name: str, one: Sequence) -> Sequence:
        """Return the sequence with the learned empty places before it."""
        n, places, width = one.vectors.shape
        empty = self.param(f"{name}_empty", nn.initializers.xavier_normal(), (self.empty, width))
        vectors = jnp.concatenate((jnp.broadcast_to(empty, (n, *empty.shape)), one.vectors), axis=1)
        mask = jnp.ones((n, places), bool) if one.mask is None else one.mask
        return Sequence(vectors, jnp.concatenate((jnp.ones((n, self.empty), bool), mask), axis=1))

    def _heads(self, name: str, vectors: Float[Array, "items places d"]) -> Float[Array, "items places heads d_head"]:
        projected = without_bias(vectors.shape[-1], f"{name}_affinity")(vectors)
        return projected.reshape(*projected.shape[:2], self.heads, -1)


def _mean_of_heads(
    affinity: Float[Array, "items heads queries places"], attended: Sequence
) -> Float[Array, "items queries d"]:
    """Return the mean over the heads of what they attend to: the vectors as they are, not projected."""
    weights = jax.nn.softmax(_masked(affinity, attended.mask), axis=-1).mean(axis=1)
    return jnp.matmul(weights, attended.vectors, precision=EXACT)


def _masked(
    scores: Float[Array, "items heads *queries places"], mask: Bool[Array, "items places"] | None
) -> Float[Array, "items heads *queries places"]:
    """Return scores that are as low as they get where a place is padding."""
    if mask is None:
        return scores
    shape = (len(mask), *(1,) * (scores.ndim - 2), mask.shape[1])
    return jnp.where(mask.reshape(shape), scores, jnp.finfo(scores.dtype).min)


class Summary(nn.Module):
    """A sequence as one vector: the mean over heads of its means, weighted by what a small network says of places."""

    heads: int

    @nn.compact
    def __call__(self, sequence: Sequence) -> Float[Array, "items d"]:
        hidden = nn.relu(dense(sequence.vectors.shape[-1], "hidden")(sequence.vectors))
        scores = dense(self.heads, "scores")(hidden).swapaxes(1, 2)
        weights = jax.nn.softmax(_masked(scores, sequence.mask), axis=-1).mean(axis=1)
        return jnp.einsum("np,npd->nd", weights, sequence.vectors, precision=EXACT)


@register("joint_coattention", PAIRS_OF_MODALITIES, (*SETTINGS, *(f"joint.{name}" for name in OWN)))
def build(settings: ModelSettings, output: Output) -> CoAttention:
    """Build the network of two modalities."""
    own = {name: getattr(settings.joint, name) for name in OWN}
    return CoAttention(**encoder_fields(settings, output), **own)
