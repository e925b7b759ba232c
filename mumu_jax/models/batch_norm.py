"""Batch normalisation as PyTorch's: the same momentum, and a running variance that is unbiased (Flax's is not)."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from mumu_jax.models.trainable import trains

EPSILON = 1e-5
MOMENTUM = 0.1  # the share of the new statistics; Flax calls 0.9 what PyTorch calls 0.1

Channels = Float[Array, " channels"]


class Members(NamedTuple):
    """The batch whose own statistics normalise it: which items are real, and the axis that names the devices.

    With `axis`, `mask` is of one device's part, and the statistics are of all parts together.  A layer whose scale
    `trainable` has no match for is frozen.
    """

    mask: Float[Array, " items"]
    axis: str | None = None
    trainable: str = ""


class BatchNorm(nn.Module):
    """Per channel: zero mean, unit variance, then scale and bias.  Statistics are float32, the result is `dtype`.

    With `members`, a batch is normalised by its own statistics, and the running ones, collection `batch_stats`, move
    towards them; without, or where the layer is frozen, by the running ones, and they stay: they must not drift.
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "items height width channels"], members: Members | None = None
    ) -> Float[Array, "items height width channels"]:
        shape = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones_init(), shape)
        bias = self.param("bias", nn.initializers.zeros_init(), shape)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        x = x.astype(jnp.float32)
        mean, var = running_mean.value, running_var.value
        if members is not None and trains(members.trainable, (*self.path, "scale")):
            mean, var, n = _moments(x, members)
            unbiased = var * n / jnp.maximum(n - 1, 1)
            running_mean.value = (1 - MOMENTUM) * running_mean.value + MOMENTUM * mean
            running_var.value = (1 - MOMENTUM) * running_var.value + MOMENTUM * unbiased
        return ((x - mean) * (lax.rsqrt(var + EPSILON) * scale) + bias).astype(self.dtype)


def _moments(
    x: Float[Array, "items height width channels"], members: Members
) -> tuple[Channels, Channels, Float[Array, ""]]:
    """Mean, variance and count of the real items' values in each channel, over all devices."""
    mask = members.mask[:, None, None, None]

    def total(parts: Any) -> Any:
        return parts if members.axis is None else lax.psum(parts, members.axis)

    sums, n = total(((x * mask).sum((0, 1, 2)), members.mask.sum() * x.shape[1] * x.shape[2]))
    mean = sums / n
    # In two passes: the mean square less the squared mean loses digits.
    return mean, total(((x - mean) ** 2 * mask).sum((0, 1, 2))) / n, n
