"""Musicnn (Pons et al. 2018, "End-to-end learning for music audio tagging at scale"), and Won's form of it.

Filters that span much of the frequencies (timbre) and filters that span much of the time (rhythm) see a log-mel
spectrogram; three convolutions over all their outputs follow, then the largest and the mean value of each over time.
Won et al. 2020 ("Evaluation of CNN-based automatic music tagging models") normalise before ReLU, and their temporal
filters see the mean over frequencies.
"""

from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from mumu_jax.config import ModelSettings
from mumu_jax.errors import UserError
from mumu_jax.models.batch_norm import EPSILON, MOMENTUM, BatchNorm, Members
from mumu_jax.models.head import Shallow, dropout
from mumu_jax.models.kernels.extremes import convolve_frames, convolve_to_extremes
from mumu_jax.models.kernels.pooling import largest, max_pool_tiles
from mumu_jax.models.kernels.precision import product_precision
from mumu_jax.models.registry import Output, fields_of, register

TIMBRAL_FILTERS, TEMPORAL_FILTERS = 204, 51  # of each length
TIMBRAL_FRAMES = MIDDLE_FRAMES = 7
# By `config.model.width`, the published sizes: filters of each middle layer, and width of the dense layer.
SIZES = {"low": (64, 200), "high": (512, 500)}


class Form(NamedTuple):
    """The differences between the two published forms."""

    timbral: tuple[int, ...]  # bins of the timbral filters: 0.4 and 0.7 of 96
    temporal: tuple[int, ...]  # frames of the temporal filters
    won: bool
    epsilon: float
    momentum: float


PONS = Form((38, 67), (128, 64, 32), won=False, epsilon=1e-3, momentum=0.01)  # TensorFlow's defaults
WON = Form((67, 38), (129, 65, 33), won=True, epsilon=EPSILON, momentum=MOMENTUM)


class Musicnn(nn.Module):
    """A network for log-mel spectrograms of any number of frames and 96 bins (or more).

    Convolutions and the dense layer compute in `dtype`, statistics, the pooling and the last layer in float32.
    """

    form: Form
    filters: int  # of each middle layer
    width: int  # of the dense layer
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
        norm = partial(BatchNorm, epsilon=form.epsilon, momentum=form.momentum)
        layer = partial(Layer, form, dtype=self.dtype)
        x = norm(self.dtype, name="input_bn")(patches[..., None], members)
        lines = x.mean(axis=2, keepdims=True) if form.won else x
        front = [
            *(layer(TIMBRAL_FILTERS, (TIMBRAL_FRAMES, n), name=f"timbral_{n}")(x, members) for n in form.timbral),
            *(layer(TEMPORAL_FILTERS, (n, 1), name=f"temporal_{n}")(lines, members) for n in form.temporal),
        ]
        maps = [jnp.concatenate(front, axis=-1)]
        for i in (1, 2, 3):
            y = layer(self.filters, (MIDDLE_FRAMES, maps[-1].shape[-1]), name=f"cnn{i}")(maps[-1][..., None], members)
            maps.append(y if i == 1 else y + maps[-1])
        x = jnp.concatenate(maps, axis=-1).astype(jnp.float32)
        extreme, mean = largest(x[:, :, None]), x.mean(axis=1)
        if form.won:
            x = jnp.concatenate((extreme, mean), axis=-1)
        else:
            x = jnp.stack((extreme, mean), axis=-1).reshape(len(x), -1)
            x = dropout(norm(name="pool_bn")(x, members), dropout_keys, self.dropout, layer=1)
        x = nn.Dense(self.width, dtype=self.dtype, precision=product_precision(self.dtype), name="dense")(x)
        x = relu_and_norm(x, norm(self.dtype, name="dense_bn"), members, norm_first=form.won)
        return Shallow(self.n_outputs, self.unit_output, self.dropout, name="output")(
            x.astype(jnp.float32), dropout_keys
        )


class Layer(nn.Module):
    """A convolution along time, ReLU and normalisation, and the maximum over the frequencies that it fits at."""

    form: Form
    features: int
    size: tuple[int, int]  # frames × bins
    dtype: Any

    @nn.compact
    def __call__(
        self, x: Float[Array, "items frames bins 1"], members: Members | None
    ) -> Float[Array, "items frames features"]:
        if self.size[1] > x.shape[2]:
            raise UserError(f"musicnn's filters span {self.size[1]} bins, and its input has {x.shape[2]}; use 96 bins")
        shape = (*self.size, 1, self.features)
        kernel = self.param("kernel", nn.initializers.glorot_uniform(), shape).astype(self.dtype)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,)).astype(self.dtype)
        norm = BatchNorm(self.dtype, self.form.epsilon, self.form.momentum, name="bn")
        at_all_bins = norm.takes_batch(members) or self.size[1] == x.shape[2]
        y = convolve_frames(x, kernel) if at_all_bins else convolve_to_extremes(x, kernel)
        y = relu_and_norm(y + bias, norm, members, norm_first=self.form.won)
        return max_pool_tiles(y, (1, y.shape[2]))[:, :, 0]


def relu_and_norm(x: Array, norm: BatchNorm, members: Members | None, norm_first: bool) -> Array:
    """Return ReLU and normalisation of `x`, in this order unless `norm_first`."""
    return nn.relu(norm(x, members)) if norm_first else norm(nn.relu(x), members)


def sizes_of(settings: ModelSettings) -> dict[str, int]:
    """Return the sizes that `config.model.width` names; raises UserError if it names none."""
    if settings.width not in SIZES:
        raise UserError(f"config.model.width is {settings.width!r}; choose one of {', '.join(SIZES)}")
    filters, width = SIZES[settings.width]
    return {"filters": filters, "width": width}


@register("musicnn", sees=("mel",), settings=("width", "weights", "dropout", "precision"))
def build_musicnn(settings: ModelSettings, output: Output) -> Musicnn:
    """Build musicnn in the size that `settings` name."""
    return Musicnn(PONS, **sizes_of(settings), **fields_of(settings, output))


@register("musicnn_won", sees=("mel",), settings=("width", "weights", "dropout", "precision"))
def build_musicnn_won(settings: ModelSettings, output: Output) -> Musicnn:
    """Build Won's form of musicnn in the size that `settings` name."""
    return Musicnn(WON, **sizes_of(settings), **fields_of(settings, output))
