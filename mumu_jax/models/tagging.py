"""Networks of music tagging on log-mel spectrograms, beside musicnn: blocks of 3 × 3 convolutions.

Choi et al. 2016 ("fcn", as in Won et al. 2020), Choi et al. 2017 (convolutional and convolutional-recurrent: "crnn" as
in Won et al., "cnn_choi" and "crnn_choi" as published with weights), and Won et al.'s short-chunk networks.
"""

from functools import partial
from math import prod
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from mumu_jax.config import ModelSettings
from mumu_jax.models.batch_norm import BatchNorm, BatchNormOfPool, Members
from mumu_jax.models.head import Shallow, dropout
from mumu_jax.models.kernels import conv_moments
from mumu_jax.models.kernels.padded import ConvParameters, padded_conv
from mumu_jax.models.kernels.pooling import largest, max_pool_tiles
from mumu_jax.models.kernels.precision import product_precision
from mumu_jax.models.least_patch import check_not_empty
from mumu_jax.models.recurrent import GRU
from mumu_jax.models.registry import Output, fields_of, register

Size = tuple[int, int]  # frames × bins
SETTINGS = ("weights", "dropout", "precision")


class Form(NamedTuple):
    """The blocks of a network, and if two recurrent layers follow them."""

    filters: tuple[int, ...]
    pools: tuple[Size, ...]
    recurrent: bool
    choi: bool  # ELU, a norm for each frame of the input, Keras's recurrent layers; else as in Won et al. 2020


_CRNN = (64, 128, 128, 128), ((2, 2), (3, 3), (4, 4), (4, 4))
FORMS = {
    "fcn": Form((64, 128, 128, 128, 64), ((4, 2), (4, 2), (4, 2), (5, 3), (4, 4)), recurrent=False, choi=False),
    "crnn": Form(*_CRNN, recurrent=True, choi=False),
    "cnn_choi": Form((32, 128, 128, 192, 256), ((4, 2), (4, 2), (4, 2), (5, 3), (4, 4)), recurrent=False, choi=True),
    "crnn_choi": Form(*_CRNN, recurrent=True, choi=True),
}
RECURRENT_WIDTH = 32
NEVER_FALL = (nn.relu, nn.elu)  # activations that may follow a max-pool as well as precede it


class Tagger(nn.Module):
    """Blocks of convolution, norm, activation and max-pool; the largest values or recurrent layers; one dense layer.

    Convolutions compute in `dtype`, statistics, recurrent layers and the dense layer in float32.  Choi's form has
    weights for one number of frames, of which the recurrent network pads the ends, so that pools leave out no frame.
    """

    form: Form
    n_outputs: int
    unit_output: bool
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        patches: Float[Array, "items frames bins"],
        dropout_keys: Key[Array, " items"] | None = None,
        members: Members | None = None,
    ) -> tuple[Float[Array, "items outputs"], Float[Array, "items d"]]:
        """Return (output, embedding) of log-mel patches; one key an item turns dropout on."""
        form = self.form
        if form.choi:
            x = _padded(patches, form.pools) if form.recurrent else patches
            x = BatchNorm(self.dtype, name="input_bn")(x.swapaxes(1, 2), members).swapaxes(1, 2)[..., None]
        else:
            x = BatchNorm(self.dtype, name="input_bn")(patches[..., None], members)
        activation = nn.elu if form.choi else nn.relu
        # Choi's recurrent network drops a third of the last layer's share (0.3) in each block; the others do not.
        block_dropout = self.dropout / 3 if form.choi and form.recurrent else 0.0
        for i, (features, pool) in enumerate(zip(form.filters, form.pools, strict=True), start=1):
            x = Block(features, pool, activation, self.dtype, name=f"layer{i}")(x, members)
            x = dropout(x, dropout_keys, block_dropout, layer=i)
        x = check_not_empty(x, patches, [(pool, pool) for pool in form.pools]).astype(jnp.float32)
        if form.recurrent:
            x = x.reshape(*x.shape[:2], -1)
            for i in (0, 1):
                x = GRU(RECURRENT_WIDTH, keras=form.choi, name=f"gru{i}")(x)
            x = x[:, -1]
        else:
            x = largest(x)
        return Shallow(self.n_outputs, self.unit_output, self.dropout, name="output")(x, dropout_keys)


class ShortChunk(nn.Module):
    """Seven blocks that halve both axes, the largest value over time, a dense layer of 512 and the last one.

    Plain blocks end in a max-pool; residual ones begin with a stride of 2.  Convolutions and the first dense layer
    compute in `dtype`, statistics and the last layer in float32.
    """

    residual: bool
    n_outputs: int
    unit_output: bool
    filters: tuple[int, ...] = (128, 128, 256, 256, 256, 256, 512)
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        patches: Float[Array, "items frames bins"],
        dropout_keys: Key[Array, " items"] | None = None,
        members: Members | None = None,
    ) -> tuple[Float[Array, "items outputs"], Float[Array, "items d"]]:
        """Return (output, embedding) of log-mel patches; one key an item turns dropout on."""
        block = ResidualBlock if self.residual else partial(Block, pool=(2, 2), activation=nn.relu)
        x = BatchNorm(self.dtype, name="input_bn")(patches[..., None], members)
        for i, features in enumerate(self.filters, start=1):
            x = block(features, dtype=self.dtype, name=f"layer{i}")(x, members)
        x = largest(check_not_empty(x, patches, [((2, 2), (2, 2))] * len(self.filters)))
        x = nn.Dense(x.shape[-1], dtype=self.dtype, precision=product_precision(self.dtype), name="dense")(x)
        x = nn.relu(BatchNorm(self.dtype, name="dense_bn")(x, members)).astype(jnp.float32)
        return Shallow(self.n_outputs, self.unit_output, self.dropout, name="output")(x, dropout_keys)


class Block(nn.Module):
    """A 3 × 3 convolution, norm, activation and max-pool."""

    features: int
    pool: Size
    activation: Any
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "items frames bins c"], members: Members | None) -> Float[Array, "items t f d"]:
        if self.activation in NEVER_FALL and conv_moments.suits(x, self.pool):
            kernel, conv_bias = ConvParameters(self.features, 3, name="conv")(n_channels=1)
            pool = partial(conv_moments.pool_and_moments, x, kernel, window=self.pool)
            return self.activation(BatchNormOfPool(self.dtype, name="bn")(pool, conv_bias, members))
        x = padded_conv(self.features, 3, bias=True, dtype=self.dtype, name="conv")(x)
        return max_pool_tiles(self.activation(BatchNorm(self.dtype, name="bn")(x, members)), self.pool)


class ResidualBlock(nn.Module):
    """Two 3 × 3 convolutions, added to a third one of the input; a stride of 2."""

    features: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "items frames bins c"], members: Members | None) -> Float[Array, "items t f d"]:
        def conv_norm(x: Array, stride: int, number: int) -> Array:
            x = padded_conv(self.features, 3, stride, bias=True, dtype=self.dtype, name=f"conv_{number}")(x)
            return BatchNorm(self.dtype, name=f"bn_{number}")(x, members)

        y = conv_norm(nn.relu(conv_norm(x, 2, 1)), 1, 2)
        return nn.relu(y + conv_norm(x, 2, 3))


def _padded(patches: Float[Array, "items frames bins"], pools: tuple[Size, ...]) -> Float[Array, "items padded bins"]:
    """Pad both ends by zeros, so that the pools divide the number of frames: 1,366 become 1,440."""
    missing = -patches.shape[1] % prod(frames for frames, _ in pools)
    return jnp.pad(patches, ((0, 0), (missing // 2, missing - missing // 2), (0, 0)))


def _tagger(form: Form, settings: ModelSettings, output: Output) -> Tagger:
    filters = tuple(n // settings.width_divisor for n in form.filters)
    return Tagger(form._replace(filters=filters), **fields_of(settings, output))


def _short_chunk(residual: bool, settings: ModelSettings, output: Output) -> ShortChunk:
    filters = tuple(n // settings.width_divisor for n in ShortChunk.filters)
    return ShortChunk(residual, filters=filters, **fields_of(settings, output))


for _name, _form in FORMS.items():
    register(_name, sees=("mel",), settings=(*SETTINGS, "width_divisor"))(partial(_tagger, _form))
for _name, _residual in (("short_chunk", False), ("short_chunk_residual", True)):
    register(_name, sees=("mel",), settings=(*SETTINGS, "width_divisor"))(partial(_short_chunk, _residual))
