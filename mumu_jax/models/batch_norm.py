"""Batch normalisation as in PyTorch: the same momentum, and an unbiased running variance (Flax's is biased)."""

import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from mumu_jax.models.kernels.conv_moments import PoolAndMoments

EPSILON = 1e-5  # PyTorch's defaults
MOMENTUM = 0.1  # the weight of the new statistics (Flax's and TensorFlow's convention would be 0.9)

Channels = Float[Array | np.ndarray, " channels"]


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


class _Norm(nn.Module):
    """The settings, parameters and running statistics of batch normalisation; statistics are float32."""

    dtype: Any = jnp.float32
    epsilon: float = EPSILON
    momentum: float = MOMENTUM

    def takes_batch(self, members: Members | None) -> bool:
        """Return whether the layer normalises a batch by its own statistics."""
        return members is not None and trains(members.trainable, (*self.path, "scale"))

    def _parameters(self, n_channels: int) -> tuple[Channels, Channels]:
        """Return scale and bias."""
        scale = self.param("scale", nn.initializers.ones_init(), (n_channels,))
        return scale, self.param("bias", nn.initializers.zeros_init(), (n_channels,))

    def _running(self, n_channels: int) -> "_Running":
        """Return the running statistics."""
        mean = self.variable("batch_stats", "mean", jnp.zeros, (n_channels,), jnp.float32)
        return _Running(mean, self.variable("batch_stats", "var", jnp.ones, (n_channels,), jnp.float32))

    def _update(self, running: "_Running", mean: Channels, var: Channels, count: Float[Array, ""]) -> None:
        """Move the running statistics towards a batch's, which are of `count` values in each channel."""
        unbiased = var * count / jnp.maximum(count - 1, 1)
        running.mean.value = (1 - self.momentum) * running.mean.value + self.momentum * mean
        running.var.value = (1 - self.momentum) * running.var.value + self.momentum * unbiased


class BatchNorm(_Norm):
    """A layer that gives each channel, the last axis, zero mean and unit variance, then a learned scale and bias.

    Statistics are float32, the result is `dtype`.  With `members`, a batch is normalised by its own statistics, and the
    running statistics (collection `batch_stats`) move towards them.  Without `members`, or if the layer is frozen, it
    is normalised by the running statistics, which do not change.
    """

    @nn.compact
    def __call__(
        self, x: Float[Array, "items *places channels"], members: Members | None = None
    ) -> Float[Array, "items *places channels"]:
        (scale, bias), running = self._parameters(x.shape[-1]), self._running(x.shape[-1])
        if members is None or not self.takes_batch(members):
            mean, var = running.mean.value, running.var.value
            return _scale(x, mean, lax.rsqrt(var + self.epsilon), scale, bias).astype(self.dtype)
        mean, var, count = _moments(lax.stop_gradient(x), members)
        self._update(running, mean, var, count)
        statistics = _Statistics(mean, lax.rsqrt(var + self.epsilon), count, members.mask)
        return _normalise(x, scale, bias, statistics, members.axis, self.dtype)


class BatchNormOfPool(_Norm):
    """`BatchNorm` of a convolution with a bias, then max-pool, by the moments of all values and the pooled ones alone.

    A batch's own mean contains the convolution's bias, which cancels there, and has no gradient.  It is a part of the
    running mean.
    """

    @nn.compact
    def __call__(
        self, pool: Callable[[Array], PoolAndMoments], conv_bias: Channels, members: Members | None = None
    ) -> Float[Array, "items t f channels"]:
        """Normalise what `pool` returns for the scale: values and moments of the convolution without its bias."""
        (scale, bias), running = self._parameters(conv_bias.shape[0]), self._running(conv_bias.shape[0])
        pooled = pool(jnp.asarray(scale))
        if members is None or not self.takes_batch(members):
            mean, var = running.mean.value - conv_bias, running.var.value
        else:
            mean, var, n_items = _moments_of_items(pooled, members)
            self._update(running, mean + conv_bias, var, n_items * pooled.n_values)
        return _scale(pooled.values, mean, lax.rsqrt(var + self.epsilon), scale, bias).astype(self.dtype)


class _Running(NamedTuple):
    """The running statistics."""

    mean: nn.Variable
    var: nn.Variable


class _Statistics(NamedTuple):
    """The statistics that normalise a training batch."""

    mean: Channels
    inverse: Channels  # of the standard deviation
    count: Float[Array, ""]  # of each channel's values in real items, on all devices
    mask: Float[Array, " items"]


@partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _normalise(
    x: Array, scale: Channels, bias: Channels, statistics: _Statistics, axis: str | None, dtype: Any
) -> Array:
    """Normalise a batch by its own statistics, whose dependence on `x` is in the gradient.

    JAX's own gradient goes back through mean and variance one after the other, and reads the batch twice as often.
    """
    return _scale(x, statistics.mean, statistics.inverse, scale, bias).astype(dtype)


def _scale(x: Array, mean: Channels, inverse: Channels, scale: Channels, bias: Channels) -> Array:
    """Return `x` with zero mean and unit variance, then scale and bias; `inverse` is that of the standard deviation."""
    return (x.astype(jnp.float32) - mean) * (inverse * scale) + bias


def _forward(x: Array, scale: Channels, bias: Channels, statistics: _Statistics, axis: str | None, dtype: Any) -> Any:
    return _normalise(x, scale, bias, statistics, axis, dtype), (x, scale, statistics)


def _backward(axis: str | None, dtype: Any, residuals: Any, g: Array) -> tuple[Array, Channels, Channels, None]:
    x, scale, (mean, inverse, count, mask) = residuals
    g = g.astype(jnp.float32)
    centred = x.astype(jnp.float32) - mean
    axes = tuple(range(x.ndim - 1))
    dbias, dscale = g.sum(axes), (g * centred).sum(axes) * inverse
    total_dbias, total_dscale = _total((dbias, dscale), axis)
    shares = mask.reshape(-1, *(1,) * (x.ndim - 1)) / count
    dx = (g - shares * (total_dbias + centred * (inverse * total_dscale))) * (inverse * scale)
    return dx.astype(x.dtype), dscale, dbias, None


_normalise.defvjp(_forward, _backward)


def _moments(
    x: Float[Array, "items *places channels"], members: Members
) -> tuple[Channels, Channels, Float[Array, ""]]:
    """Return mean, variance and count of the real items' values in each channel, over all devices."""
    x, mask, places = x.astype(jnp.float32), members.mask, tuple(range(1, x.ndim - 1))

    def sum_real(values: Array) -> Channels:
        return (values.sum(places) * mask[:, None]).sum(0)

    sums, count = _total((sum_real(x), mask.sum() * math.prod(x.shape[1:-1])), members.axis)
    mean = sums / count
    # Two passes: the mean square minus the squared mean would lose digits.
    return mean, _total(sum_real((x - mean) ** 2), members.axis) / count, count


def _moments_of_items(pooled: PoolAndMoments, members: Members) -> tuple[Channels, Channels, Float[Array, ""]]:
    """Return mean and variance of the real items' values in each channel, and the number of these items."""
    mask = members.mask[:, None]
    sums, n_items = _total(((pooled.mean * mask).sum(0), mask.sum()), members.axis)
    mean = sums / n_items
    squares = pooled.var + (pooled.mean - mean) ** 2
    return mean, _total((squares * mask).sum(0), members.axis) / n_items, n_items


def _total(parts: Any, axis: str | None) -> Any:
    """Return the sums of all devices' parts."""
    return parts if axis is None else lax.psum(parts, axis)
