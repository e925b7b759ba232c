"""BERT (Devlin et al. 2019): an encoder of tokens, of any size, and the network of texts that ends in one dense layer.

Parameters have Hugging Face's names, shortened; `layouts.py` has the full ones.
"""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int32, Key

from mumu_jax.config import BertSettings, ModelSettings
from mumu_jax.models.attention import Attention
from mumu_jax.models.head import Shallow, dropout
from mumu_jax.models.kernels.precision import compute_dtype, product_precision
from mumu_jax.models.kernels.products import dot_rows
from mumu_jax.models.registry import Output, register

EPSILON = 1e-12
PADDING = 0  # the id of the token [PAD]
N_TYPES = 2  # of tokens: those of a first and of a second text
# What a family of networks with this encoder registers as its `settings`, beside its own.
SETTINGS = ("weights", "precision", *(f"bert.{field.name}" for field in dataclasses.fields(BertSettings)))

KERNEL_INIT = nn.initializers.normal(0.02)

Ids = Int32[Array, "items tokens"]
Keys = Key[Array, " items"]


def is_token(ids: Ids) -> Bool[Array, "items tokens"]:
    """Return which places hold a token, and no padding."""
    return ids != PADDING


class Encoder(nn.Module):
    """The encoder alone: a state for each token, from the sum of its word's, its place's and its type's vectors.

    The layers compute in `dtype`, their norms' statistics and the attention's weights in float32.  A network has it as
    its field `encoder`, so that published weights find it.
    """

    layers: int = 12
    width: int = 768
    heads: int = 12
    inner: int = 3072
    n_tokens: int = 30_522
    positions: int = 512
    frozen: bool = False
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, ids: Ids, dropout_keys: Keys | None = None) -> Float[Array, "items tokens width"]:
        """Return the states, float32, of texts of one type that end with padding, which no token attends to.

        Keys, one an item, enable dropout, but not if the encoder is frozen: then nothing in it has a gradient.
        """
        keys, mask = None if self.frozen else dropout_keys, is_token(ids)

        sizes = {"word": self.n_tokens, "position": self.positions, "token_type": N_TYPES}
        words, places, types = (
            self.param(f"{name}_embeddings", KERNEL_INIT, (n, self.width)) for name, n in sizes.items()
        )
        # An id that is not in the table becomes NaN, not another word.
        x = jnp.take(words, ids, axis=0) + places[: ids.shape[1]] + types[0]
        x = dropout(_layer_norm(self.dtype, name="layer_norm")(x), keys, self.dropout, layer=1)
        for i in range(self.layers):
            layer = Layer(self.heads, self.inner, self.dropout, 2 + 3 * i, self.dtype, name=f"layer_{i}")
            x = layer(x, mask, keys)
        x = x.astype(jnp.float32)
        return jax.lax.stop_gradient(x) if self.frozen else x


class Layer(nn.Module):
    """A layer of the encoder: self-attention and a perceptron, each residual and then normed."""

    heads: int
    inner: int
    dropout: float
    first_dropout: int  # the number of the first of its three dropout layers
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "items tokens d"], mask: Bool[Array, "items tokens"], keys: Keys | None
    ) -> Float[Array, "items tokens d"]:
        width, precision = x.shape[-1], product_precision(self.dtype)
        dense = partial(nn.Dense, dtype=self.dtype, precision=precision, kernel_init=KERNEL_INIT, dot_general=dot_rows)
        of_weights, of_attention, of_perceptron = (
            partial(dropout, keys=keys, rate=self.dropout, layer=self.first_dropout + i) for i in range(3)
        )
        attention = Attention(width, self.heads, kernel_init=KERNEL_INIT, dtype=self.dtype, name="attention")
        y = dense(width, name="attention_output")(attention(x, x, mask, of_weights))
        x = _layer_norm(self.dtype, name="attention_norm")(x + of_attention(y))
        y = nn.gelu(dense(self.inner, name="intermediate")(x), approximate=False)
        y = dense(width, name="output")(y)
        return _layer_norm(self.dtype, name="output_norm")(x + of_perceptron(y))


class Bert(nn.Module):
    """The mean of the encoder's states of a text's tokens, and one dense layer on it."""

    encoder: Encoder
    n_outputs: int
    unit_output: bool
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self, ids: Ids, dropout_keys: Keys | None = None
    ) -> tuple[Float[Array, "items outputs"], Float[Array, "items d"]]:
        """Return (output, embedding) of texts; keys, one an item, enable dropout."""
        x = mean_of_tokens(self.encoder(ids, dropout_keys), ids)
        return Shallow(self.n_outputs, self.unit_output, self.dropout, name="output")(x, dropout_keys)


def mean_of_tokens(states: Float[Array, "items tokens d"], ids: Ids) -> Float[Array, "items d"]:
    """Return the mean of the states of a text's tokens; zeros if it has none."""
    mask = is_token(ids)[..., None]
    return jnp.where(mask, states, 0).sum(axis=1) / jnp.maximum(mask.sum(axis=1), 1)


def build_encoder(settings: ModelSettings) -> Encoder:
    """Build the encoder that `settings.bert` describes."""
    dtype = compute_dtype(settings.precision)
    return Encoder(**dataclasses.asdict(settings.bert), dropout=settings.dropout, dtype=dtype)


@register("bert", sees=("lyrics",), settings=("dropout", *SETTINGS))
def build_bert(settings: ModelSettings, output: Output) -> Bert:
    """Build the network of texts."""
    return Bert(build_encoder(settings), output.size, output.unit, settings.dropout)


def _layer_norm(dtype: Any, name: str) -> nn.LayerNorm:
    # The fast variance, the mean square minus the squared mean, would lose digits.
    return nn.LayerNorm(epsilon=EPSILON, dtype=dtype, use_fast_variance=False, name=name)
