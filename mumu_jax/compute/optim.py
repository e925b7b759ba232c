"""The optimizers, one after the other if training has stages, and which parameters they update."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax

from mumu_jax.compute.stages import staged, stages_of
from mumu_jax.config import OptimSettings
from mumu_jax.models.batch_norm import trains


def make_optimizer(settings: OptimSettings, trainable: str = "", epoch_steps: int = 1) -> optax.GradientTransformation:
    """Build the optimizers of all stages, for the parameters whose path `trainable` matches.

    The learning rate falls in steps, every `decay_epochs` epochs of `epoch_steps` steps each, or from stage to stage.
    """
    if settings.later:
        tx = staged(stages_of(settings), lambda name, rate: ALGORITHMS[name].build(settings, rate), epoch_steps)
    else:
        tx = ALGORITHMS[settings.algorithm].build(settings, _rate(settings, epoch_steps))
    if not trainable:
        return tx

    def kinds(params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(
            lambda path, _: "trained" if trains(trainable, [key.key for key in path]) else "kept", params
        )

    return optax.multi_transform({"trained": tx, "kept": optax.set_to_zero()}, kinds)


def _rate(settings: OptimSettings, epoch_steps: int) -> Any:
    if not settings.decay_epochs:
        return settings.learning_rate
    n_steps = settings.decay_epochs * epoch_steps
    return optax.exponential_decay(settings.learning_rate, n_steps, settings.decay_factor, staircase=True)


def _adam(settings: OptimSettings, rate: Any) -> optax.GradientTransformation:
    """Build Adam, with the decay as part of the gradient, as PyTorch's."""
    adam = optax.adam(rate, b1=settings.b1, b2=settings.b2, eps=settings.eps)
    return optax.chain(optax.add_decayed_weights(settings.weight_decay), adam) if settings.weight_decay else adam


def _adamw(settings: OptimSettings, rate: Any) -> optax.GradientTransformation:
    decay = settings.weight_decay
    return optax.adamw(rate, b1=settings.b1, b2=settings.b2, eps=settings.eps, weight_decay=decay)


def _sgd(settings: OptimSettings, rate: Any) -> optax.GradientTransformation:
    """Build SGD with Nesterov's momentum as PyTorch's: the decay is part of the gradient, and so of the momentum."""
    decay = optax.add_decayed_weights(settings.weight_decay)
    return optax.chain(decay, optax.sgd(rate, momentum=settings.momentum, nesterov=True))


class Algorithm(NamedTuple):
    """An optimisation algorithm: its builder, and the fields of OptimSettings that only some algorithms read."""

    build: Callable[[OptimSettings, Any], optax.GradientTransformation]
    settings: frozenset[str]


ALGORITHMS = {
    "adam": Algorithm(_adam, frozenset({"b1", "b2", "eps", "weight_decay"})),
    "adamw": Algorithm(_adamw, frozenset({"b1", "b2", "eps", "weight_decay"})),
    "sgd": Algorithm(_sgd, frozenset({"momentum", "weight_decay"})),
}
