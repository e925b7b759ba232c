"""Encoders: each modality as a sequence of vectors, with a mask of the real ones."""

from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Key

from mumu_jax.batch import Sparse
from mumu_jax.config import ModelSettings
from mumu_jax.models.batch_norm import BatchNorm, Members
from mumu_jax.models.bert import SETTINGS as OF_BERT
from mumu_jax.models.bert import build_encoder, is_token
from mumu_jax.models.head import Shallow
from mumu_jax.models.kernels.padded import padded_conv
from mumu_jax.models.kernels.pooling import max_pool_tiles
from mumu_jax.models.kernels.precision import product_precision
from mumu_jax.models.kernels.sparse import sparse_dense
from mumu_jax.models.registry import Output, fields_of, register

SONGS, OTHERS = ("mel", "audio"), ("lyrics", "text", "image", "timbre", "descriptors")
PAIRS_OF_MODALITIES = tuple(f"{song}+{other}" for song in SONGS for other in OTHERS)
FILTERS = (64, 128, 256, 256, 256)  # of the five blocks; Ru et al. 2023 print no more than that there are five
SETTINGS = ("dropout", "width_divisor", *OF_BERT)


class Sequence(NamedTuple):
    """Vectors of each item, float32, and which of them are real (None: all)."""

    vectors: Float[Array, "items places d"]
    mask: Bool[Array, "items places"] | None = None

    def mean(self) -> Float[Array, "items d"]:
        """Return the mean of the real vectors; 0 if there is none."""
        if self.mask is None:
            return self.vectors.mean(axis=1)
        real = self.mask[..., None]
        return jnp.where(real, self.vectors, 0).sum(axis=1) / jnp.maximum(real.sum(axis=1), 1)


def encode(name: str, x: Any, network: Any, keys: Key[Array, " items"] | None, members: Members | None) -> Sequence:
    """Return a modality's input as a sequence, within the `nn.compact` method of a joint network.

    What has no places of its own is one vector of the network's width.
    """
    if name == "lyrics":
        return Sequence(network.encoder(x, keys), is_token(x))
    if name in SONGS or name == "image":
        blocks = Blocks(network.divisor, network.dtype, name=f"{name}_encoder")
        return Sequence(blocks(x if name == "image" else x[..., None], members))
    return Sequence(Point(network.width, name=f"{name}_encoder")(x)[:, None])


def encoder_fields(settings: ModelSettings, output: Output) -> dict[str, Any]:
    """Return the fields that joint networks have in common."""
    return {**fields_of(settings, output), "encoder": build_encoder(settings), "divisor": settings.width_divisor}


class Blocks(nn.Module):
    """Five blocks of a 3 × 3 convolution, batch norm, ReLU and a max-pool, each of which halves both axes.

    The last pool leaves one row of bins: of 1,292 frames × 128 bins, 40 places.  Images keep both axes.
    """

    divisor: int  # of the numbers of filters
    dtype: Any

    @nn.compact
    def __call__(
        self, x: Float[Array, "items rows columns c"], members: Members | None = None
    ) -> Float[Array, "items places d"]:
        is_image = x.shape[-1] == 3
        least = 2 ** len(FILTERS)
        if x.shape[1] < least or x.shape[2] < least // 2:
            found = f"{x.shape[1]} × {x.shape[2]}"
            raise ValueError(f"five blocks need patches of at least {least} × {least // 2}, and these are of {found}")
        for i, n_filters in enumerate(FILTERS):
            is_last = i == len(FILTERS) - 1
            x = padded_conv(n_filters // self.divisor, 3, dtype=self.dtype, name=f"conv_{i + 1}")(x)
            x = nn.relu(BatchNorm(self.dtype, name=f"bn_{i + 1}")(x, members))
            x = max_pool_tiles(x, (2, x.shape[2] if is_last and not is_image else 2))
        return x.reshape(len(x), -1, x.shape[-1]).astype(jnp.float32)


@register("five_blocks", sees=SONGS, settings=("dropout", "precision", "width_divisor"))
def build_blocks(settings: ModelSettings, output: Output) -> "SongAlone":
    """Build the network that sees the song alone."""
    return SongAlone(divisor=settings.width_divisor, **fields_of(settings, output))


class SongAlone(nn.Module):
    """The five blocks, the mean of their places, and one dense layer."""

    n_outputs: int
    unit_output: bool
    divisor: int = 1
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        patches: Float[Array, "items frames bins"],
        dropout_keys: Key[Array, " items"] | None = None,
        members: Members | None = None,
    ) -> tuple[Float[Array, "items outputs"], Float[Array, "items d"]]:
        """Return (output, embedding) of log-mel or CQT patches."""
        places = Blocks(self.divisor, self.dtype, name="encoder")(patches[..., None], members)
        return Shallow(self.n_outputs, self.unit_output, self.dropout, name="output")(places.mean(axis=1), dropout_keys)


class Point(nn.Module):
    """One dense layer of numbers, or of a sparse row, and ReLU."""

    width: int

    @nn.compact
    def __call__(self, x: Any) -> Float[Array, "items width"]:
        if isinstance(x, Sparse):
            kernel = self.param("kernel", nn.initializers.glorot_uniform(), (x.n_columns, self.width))
            bias = self.param("bias", nn.initializers.zeros_init(), (self.width,))
            return nn.relu(sparse_dense(x, kernel) + bias)
        return nn.relu(nn.Dense(self.width, precision=product_precision(jnp.float32), name="dense")(x))


def dense(width: int, name: str, use_bias: bool = True) -> nn.Dense:
    """Return a dense layer of sequences, in float32."""
    init = nn.initializers.xavier_normal()
    return nn.Dense(width, use_bias=use_bias, precision=product_precision(jnp.float32), kernel_init=init, name=name)


without_bias = partial(dense, use_bias=False)
