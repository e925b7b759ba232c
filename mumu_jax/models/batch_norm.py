"""Batch normalisation as in PyTorch: the same momentum, and an unbiased running variance (Flax's is biased)."""

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

EPSILON = 1e-5  # PyTorch's defaults
MOMENTUM = 0.1  # the weight of the new statistics (Flax's and TensorFlow's convention would be 0.9)

Channels = Float[Array, " channels"]


def trains(trainable: str, path: Sequence[str]) -> bool:
    """Return whether the parameter at `path`, such as layer4_2/conv1/kernel, trains: if the expression is found in it.

    `trainable` is `config.model.trainable`; everything trains if it is empty.
    """
    return re.search(trainable, "/".join(path)) is not None


class Members(NamedTuple):
    """A training batch: which of its items are real, and the mesh axis that it is split over.

    With `axis`, `mask` covers one device's part, and statistics are computed over all parts together.  A layer is
    frozen if its scale does not train.
    """

    mask: Float[Array, " items"]
    axis: str | None = None
    trainable: str = ""


class BatchNorm(nn.Module):
    """A layer that gives each channel, the last axis, zero mean and unit variance, then a learned scale and bias.

    Statistics are float32, the result is `dtype`.  With `members`, a batch is normalised by its own statistics, and the
    running statistics (collection `batch_stats`) move towards them.  Without `members`, or if the layer is frozen, it
    is normalised by the running statistics, which do not change.
    """

    dtype: Any = jnp.float32
    epsilon: float = EPSILON
    momentum: float = MOMENTUM

    def takes_batch(self, members: Members | None) -> bool:
        """Return whether the layer normalises a batch by its own statistics."""
        return members is not None and trains(members.trainable, (*self.path, "scale"))

    @nn.compact
    def __call__(
        self, x: Float[Array, "items *places channels"], members: Members | None = None
    ) -> Float[Array, "items *places channels"]:
        shape = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones_init(), shape)
        bias = self.param("bias", nn.initializers.zeros_init(), shape)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        x = x.astype(jnp.float32)
        mean, var = running_mean.value, running_var.value
        if members is not None and self.takes_batch(members):
            mean, var, n = _moments(x, members)
            unbiased = var * n / jnp.maximum(n - 1, 1)
            running_mean.value = (1 - self.momentum) * running_mean.value + self.momentum * mean
            running_var.value = (1 - self.momentum) * running_var.value + self.momentum * unbiased
        return ((x - mean) * (lax.rsqrt(var + self.epsilon) * scale) + bias).astype(self.dtype)


def _moments(
    x: Float[Array, "items *places channels"], members: Members
) -> tuple[Channels, Channels, Float[Array, ""]]:
    """Return mean, variance and count of the real items' values in each channel, over all devices."""
    mask = members.mask.reshape(-1, *(1,) * (x.ndim - 1))
    axes = tuple(range(x.ndim - 1))

    def total(parts: Any) -> Any:
        return parts if members.axis is None else lax.psum(parts, members.axis)

    sums, n = total(((x * mask).sum(axes), members.mask.sum() * math.prod(x.shape[1:-1])))
    mean = sums / n
    # Two passes: the mean square minus the squared mean would lose digits.
    return mean, total(((x - mean) ** 2 * mask).sum(axes)) / n, n
