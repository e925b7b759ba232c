"""The optimizer."""

import optax

from mumu_jax.config import OptimSettings


def make_optimizer(settings: OptimSettings) -> optax.GradientTransformation:
    """Adam, as in the authors' code."""
    return optax.adam(settings.learning_rate, b1=settings.b1, b2=settings.b2, eps=settings.eps)
