"""Symmetric cross-modal attention of two modalities, whose embeddings are drawn together by a contrastive loss.

Ru et al. 2023, for songs and lyrics.  Where they print no sizes, these are choices: one head of 256, without biases,
with the residual and the norm of a transformer; the vector of an item has 512 values.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from mumu_jax.config import ModelSettings
from mumu_jax.models import attention
from mumu_jax.models.batch_norm import Members
from mumu_jax.models.head import Shallow
from mumu_jax.models.joint.encoders import (
    PAIRS_OF_MODALITIES,
    SETTINGS,
    Sequence,
    dense,
    encode,
    encoder_fields,
    without_bias,
)
from mumu_jax.models.registry import Output, register
from mumu_jax.objectives.contrastive import CONTRAST, FIRST_TEMPERATURE, PAIRS
from mumu_jax.objectives.cosine import l2_normalize

OWN = ("width", "heads", "fused", "fuse", "attention", "contrast", "projection")


class CrossAttention(nn.Module):
    """Two encoders; attention of each to the other; one dense layer of both, and the output layer.

    Without attention, the means of both sequences are joined in its place.
    """

    encoder: nn.Module  # of lyrics
    n_outputs: int
    unit_output: bool
    width: int = 256  # of the attention
    heads: int = 1
    attention: bool = True
    fuse: str = "flatten"
    fused: int = 512  # width of the vector of both
    contrast: float = 0.3  # above 0 if projections are compared
    projection: int = 256
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
        """Return (output, embedding) of a dict of two inputs; sow their projections as `pairs/contrast`."""
        names = sorted(inputs)  # as a jitted function has them
        first, second = (encode(name, inputs[name], self, dropout_keys, members) for name in names)
        if self.contrast:
            self._sow_pair({names[0]: first, names[1]: second})
        if self.attention:
            of_first, of_second = (CrossModal(self.width, self.heads, name=f"{name}_attention") for name in names)
            first, second = of_first(first, second), of_second(second, first)
        join = _flat if self.attention and self.fuse == "flatten" else Sequence.mean
        vector = dense(self.fused, "joint")(jnp.concatenate([join(first), join(second)], axis=1))
        return Shallow(self.n_outputs, self.unit_output, self.dropout, name="output")(vector, dropout_keys)

    def _sow_pair(self, sequences: dict[str, Sequence]) -> None:
        """Hand the projections of both modalities, of length 1, and the temperature to the loss."""
        pair = [
            l2_normalize(without_bias(self.projection, f"{name}_projection")(one.mean()))
            for name, one in sequences.items()
        ]
        log_temperature = self.param("log_temperature", nn.initializers.constant(jnp.log(FIRST_TEMPERATURE)), ())
        self.sow(PAIRS, CONTRAST, (*pair, log_temperature))


class CrossModal(nn.Module):
    """Attention of one sequence to another, added to it and normed."""

    width: int
    heads: int

    @nn.compact
    def __call__(self, queries: Sequence, others: Sequence) -> Sequence:
        """Return as many vectors as `queries` has."""
        attend = attention.Attention(self.width, self.heads, use_bias=False, name="attention")
        attended, residual = attend(queries.vectors, others.vectors, others.mask), queries.vectors
        if residual.shape[-1] != self.width:
            residual = without_bias(self.width, "residual")(residual)
        return Sequence(nn.LayerNorm(use_fast_variance=False, name="norm")(residual + attended), queries.mask)


def _flat(sequence: Sequence) -> Float[Array, "items values"]:
    """Return all vectors of an item as one; zeros in the place of padding."""
    vectors = sequence.vectors
    if sequence.mask is not None:
        vectors = jnp.where(sequence.mask[..., None], vectors, 0)
    return vectors.reshape(len(vectors), -1)


@register("joint_cross_attention", PAIRS_OF_MODALITIES, (*SETTINGS, *(f"joint.{name}" for name in OWN)))
def build(settings: ModelSettings, output: Output) -> CrossAttention:
    """Build the network of two modalities."""
    own = {name: getattr(settings.joint, name) for name in OWN}
    return CrossAttention(**encoder_fields(settings, output), **own)
