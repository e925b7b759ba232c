"""Objectives whose output is a logit for each label: independent labels (LOGISTIC), and one label an item.

Losses are computed in float32 or better, whatever the network's precision, and all gradients are finite.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.nn import logsumexp
from jaxtyping import Array, Float, Shaped

from mumu_jax.objectives.objective import Fitted, Objective


@dataclass(frozen=True)
class Logistic(Objective):
    """Binary cross-entropy of each label on its own.  Oramas et al. 2017, section 5.1."""

    meaning: ClassVar[str] = "a probability for each genre, independent of the others"

    def loss(
        self, output: Float[Array, "items labels"], labels: Shaped[Array, "items labels"], fitted: Fitted
    ) -> tuple[Float[Array, " items"], Float[Array, " items"]]:
        """Return each item's binary cross-entropy in nats, the mean over its labels (0 or 1, or probabilities)."""
        loss = optax.sigmoid_binary_cross_entropy(at_least_float32(output), at_least_float32(labels)).mean(axis=-1)
        return loss, jnp.ones_like(loss)

    def readable(self, scores: Float[Array | np.ndarray, "items labels"]) -> Float[Array | np.ndarray, "items labels"]:
        """Return the probability of each label."""
        return jax.nn.sigmoid(scores)

    def of_patches(self, scores: Float[np.ndarray, "items patches labels"]) -> Float[np.ndarray, "items labels"]:
        """Return the logits of the mean probabilities."""
        log_p, log_not_p = (logsumexp(jax.nn.log_sigmoid(sign * scores), axis=1) for sign in (1, -1))
        return np.asarray(log_p - log_not_p)


@dataclass(frozen=True)
class Softmax(Objective):
    """Cross-entropy of an item's one label.  Greenfield & Paintsil, section 4.5."""

    single_label: ClassVar[bool] = True
    meaning: ClassVar[str] = "probabilities of an album's one genre, which sum to 1"

    def loss(
        self, output: Float[Array, "items labels"], labels: Shaped[Array, "items labels"], fitted: Fitted
    ) -> tuple[Float[Array, " items"], Float[Array, " items"]]:
        """Return each item's cross-entropy in nats; its labels (0 or 1, or probabilities) sum to 1."""
        loss = optax.softmax_cross_entropy(at_least_float32(output), at_least_float32(labels))
        return loss, jnp.ones_like(loss)

    def readable(self, scores: Float[Array | np.ndarray, "items labels"]) -> Float[Array | np.ndarray, "items labels"]:
        """Return the probability of each label."""
        return jax.nn.softmax(scores)

    def of_patches(self, scores: Float[np.ndarray, "items patches labels"]) -> Float[np.ndarray, "items labels"]:
        """Return the logarithms of the mean probabilities, but for what is the same for all patches."""
        return np.asarray(logsumexp(jax.nn.log_softmax(scores), axis=1))


@dataclass(frozen=True)
class Shares(Softmax):
    """Cross-entropy of an item's one label among sigmoids that are divided by their sum.

    Keras takes categorical cross-entropy of a sigmoid layer so, and the multiframe system trains with that (Jiménez
    and José, after Choi et al. 2017).
    """

    meaning: ClassVar[str] = "shares of an album's one genre, which sum to 1"

    def loss(
        self, output: Float[Array, "items labels"], labels: Shaped[Array, "items labels"], fitted: Fitted
    ) -> tuple[Float[Array, " items"], Float[Array, " items"]]:
        """Return each item's cross-entropy in nats; its labels (0 or 1, or probabilities) sum to 1."""
        return super().loss(jax.nn.log_sigmoid(at_least_float32(output)), labels, fitted)

    def scores(self, output: Float[Array, "items labels"], fitted: Fitted) -> Float[Array, "items labels"]:
        """Return the logarithm of each label's share."""
        return jax.nn.log_softmax(jax.nn.log_sigmoid(output))


def at_least_float32(x: Shaped[Array, "..."]) -> Float[Array, "..."]:
    """Return `x` as float32, or as it is if that is wider."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
