"""The audio CNNs of Oramas et al. 2017, section 6.1: blocks of convolution, max-pool and dropout."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from mumu_jax.config import ModelSettings
from mumu_jax.errors import UserError
from mumu_jax.models.batch_norm import BatchNorm, Members
from mumu_jax.models.head import Shallow, dropout
from mumu_jax.models.kernels.conv_pool import Padding, conv_pool
from mumu_jax.models.kernels.formulations import FIXED, Choose
from mumu_jax.models.registry import Output, fields_of, register

SETTINGS = ("kernel", "width", "width_divisor", "pooling", "dropout", "precision", "formulations")
LEAST_VARIANCE = 1e-4  # keeps the gradient of a standard deviation finite where all frames are alike
Size = tuple[int, int]  # frames × bins


class Variant(NamedTuple):
    """Kernel size, pool size and number of filters of each block, and the convolutions' padding."""

    kernels: tuple[Size, ...]
    pools: tuple[Size, ...]
    filters: tuple[int, ...]
    padding: Padding


_LOW, _HIGH = (64, 128, 128, 64), (256, 512, 1024, 1024)
_4X70 = ((4, 70), (4, 6), (4, 1), (1, 1)), ((4, 4), (4, 1), (4, 1), (1, 1))
_4X96 = ((4, 96), (4, 1), (4, 1), (1, 1)), ((4, 1), (4, 1), (4, 1), (1, 1))
_3X3 = ((3, 3),) * 4
# By width and kernel size, as `config.model` names them.
VARIANTS = {
    "low_4x70": Variant(*_4X70, _LOW, "valid"),
    "high_4x70": Variant(*_4X70, _HIGH, "valid"),
    "low_4x96": Variant(*_4X96, _LOW, "valid"),
    "high_4x96": Variant(*_4X96, _HIGH, "valid"),
    # The last pool of HIGH-3x3 spans 3 bins and LOW's 1: what fits the parameter counts of all four printed rows.
    "low_3x3": Variant(_3X3, ((4, 4), (4, 2), (5, 4), (1, 1)), _LOW, "same"),
    "high_3x3": Variant(_3X3, ((4, 4), (4, 2), (5, 4), (1, 3)), _HIGH, "same"),
}


class CNN(nn.Module):
    """Blocks, flatten, one dense layer.  The blocks compute in `dtype`, everything else in float32.

    With `pooling="statistics"` the dense layer sees, in place of the last block's values, the mean and the standard
    deviation over the frames of the patch and of each block, each on one scale by batch normalisation: fewer weights,
    which few songs suffice for.  Dropout is of these then.
    """

    variant: Variant
    n_outputs: int
    unit_output: bool
    pooling: str = "flatten"  # as in config.model
    dropout: float = 0.0
    dtype: Any = jnp.float32
    formulations: Choose = FIXED  # how the convolutions are computed

    @nn.compact
    def __call__(
        self,
        patches: Float[Array, "items frames bins"],
        dropout_keys: Key[Array, " items"] | None = None,
        members: Members | None = None,
    ) -> tuple[Float[Array, "items outputs"], Float[Array, "items d"]]:
        """Return (output, embedding) of standardised patches; one key an item turns dropout on.

        `members` is a training batch, whose own statistics normalise it.
        """
        x = patches[..., None].astype(self.dtype)
        of_frames = self.pooling == "statistics"
        summaries = [_statistics(x)] if of_frames else []
        for i, (size, pool, width) in enumerate(
            zip(self.variant.kernels, self.variant.pools, self.variant.filters, strict=True)
        ):
            shape = (*size, x.shape[-1], width)
            kernel = self.param(f"conv{i}_kernel", nn.initializers.glorot_uniform(), shape)
            bias = self.param(f"conv{i}_bias", nn.initializers.zeros_init(), (width,))
            x = conv_pool(x, kernel, bias, pool, self.variant.padding, self.formulations)
            if of_frames:
                summaries.append(_statistics(x))
            else:
                x = dropout(x, dropout_keys, self.dropout, layer=i)
        if of_frames:
            embedding = BatchNorm(name="statistics")(jnp.concatenate(summaries, axis=1), members)
            rate = self.dropout
        else:
            rate, embedding = 0.0, jnp.reshape(x, (x.shape[0], -1)).astype(jnp.float32)
        return Shallow(self.n_outputs, self.unit_output, rate, name="output")(embedding, dropout_keys)


def _statistics(x: Float[Array, "items frames bins channels"]) -> Float[Array, "items d"]:
    """Return the mean and the standard deviation over the frames of each bin and channel, in float32."""
    rows = jnp.reshape(x, (*x.shape[:2], -1)).astype(jnp.float32)
    std = jnp.sqrt(rows.var(axis=1) + LEAST_VARIANCE)
    return jnp.concatenate([rows.mean(axis=1), std], axis=1)


def variant_of(settings: ModelSettings) -> Variant:
    """Return the variant that `settings` name, its filters divided; raises UserError if there is none."""
    name = f"{settings.width}_{settings.kernel}"
    if name not in VARIANTS:
        raise UserError(
            f"config.model.width={settings.width!r} and config.model.kernel={settings.kernel!r} name no network; "
            f"choose one of {', '.join(VARIANTS)} (width_kernel)"
        )
    variant = VARIANTS[name]
    return variant._replace(filters=tuple(max(1, n // settings.width_divisor) for n in variant.filters))


@register("cnn", sees=("audio", "mel"), settings=SETTINGS)
def build_cnn(settings: ModelSettings, output: Output) -> CNN:
    """Build the CNN variant that `settings` name."""
    return CNN(variant=variant_of(settings), pooling=settings.pooling, **fields_of(settings, output))
