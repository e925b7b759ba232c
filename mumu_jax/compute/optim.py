"""The optimizers, and which parameters they update."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax

from mumu_jax.config import OptimSettings
from mumu_jax.models.batch_norm import trains


def make_optimizer(settings: OptimSettings, trainable: str = "", epoch_steps: int = 1) -> optax.GradientTransformation:
    """Build Adam, AdamW, or SGD with Nesterov's momentum for the parameters whose path `trainable` matches.

    The learning rate falls in steps, every `decay_epochs` epochs of `epoch_steps` steps each.
    """
    rate: Any = settings.learning_rate
    if settings.decay_epochs:
        n_steps = settings.decay_epochs * epoch_steps
        rate = optax.exponential_decay(rate, n_steps, settings.decay_factor, staircase=True)
    tx = ALGORITHMS[settings.algorithm].build(settings, rate)
    if not trainable:
        return tx

    def kinds(params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(
            lambda path, _: "trained" if trains(trainable, [key.key for key in path]) else "kept", params
        )

    return optax.multi_transform({"trained": tx, "kept": optax.set_to_zero()}, kinds)


def _adam(settings: OptimSettings, rate: Any) -> optax.GradientTransformation:
    return optax.adam(rate, b1=settings.b1, b2=settings.b2, eps=settings.eps)


def _adamw(settings: OptimSettings, rate: Any) -> optax.GradientTransformation:
    decay = settings.weight_decay
    return optax.adamw(rate, b1=settings.b1, b2=settings.b2, eps=settings.eps, weight_decay=decay)


def _sgd(settings: OptimSettings, rate: Any) -> optax.GradientTransformation:
    """Build SGD as in Torch: the decay is part of the gradient, and so of the momentum."""
    decay = optax.add_decayed_weights(settings.weight_decay)
    return optax.chain(decay, optax.sgd(rate, momentum=settings.momentum, nesterov=True))


class Algorithm(NamedTuple):
    """An optimisation algorithm: its builder, and the fields of OptimSettings that only some algorithms read."""

    build: Callable[[OptimSettings, Any], optax.GradientTransformation]
    settings: frozenset[str]


ALGORITHMS = {
    "adam": Algorithm(_adam, frozenset({"b1", "b2", "eps"})),
    "adamw": Algorithm(_adamw, frozenset({"b1", "b2", "eps", "weight_decay"})),
    "sgd": Algorithm(_sgd, frozenset({"momentum", "weight_decay"})),
}
