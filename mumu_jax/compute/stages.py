"""Training in stages: after shares of the epochs, another algorithm or learning rate, from the best weights so far.

As Won et al. 2020 train: Adam, then SGD with a learning rate that falls twice.
"""

import math
import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Int

from mumu_jax.config import ALGORITHMS, OptimSettings
from mumu_jax.errors import UserError

LATER = re.compile(rf"({'|'.join(ALGORITHMS)}):(\d*\.?\d+(?:[eE][+-]?\d+)?)@(\d*\.?\d+)%")


class Stage(NamedTuple):
    """A part of training: its algorithm, its learning rate, and the epoch with which it begins, from 0."""

    algorithm: str
    learning_rate: float
    first_epoch: int


def stages_of(settings: OptimSettings, where: str = "config.optim") -> list[Stage]:
    """Return the first stage and those of `later`, in their order.

    Raises UserError if `later` cannot be read, is not in order, or stands beside a rate that falls by itself.
    """
    later = settings.later
    if later and settings.decay_epochs:
        raise UserError(
            f"{where}.later={later!r} and {where}.decay_epochs={settings.decay_epochs} both set the learning rate; "
            f"give --{where}.later= or --{where}.decay_epochs=0"
        )
    stages, shares = [Stage(settings.algorithm, settings.learning_rate, 0)], []
    for text in later.split(",") if later else []:
        parts = LATER.fullmatch(text.strip())
        rate, share = (float(parts[2]), Fraction(parts[3]) / 100) if parts else (0.0, Fraction(0))
        if parts is None or rate == 0 or not math.isfinite(rate) or not 0 < share < 1:
            raise UserError(
                f"{where}.later: {text!r} is not a stage such as 'sgd:0.001@40%': {', '.join(ALGORITHMS)}, a learning "
                "rate above 0, and the share of the epochs with which it begins, between 0 and 100 %; correct it"
            )
        stages.append(Stage(parts[1], rate, math.ceil(share * settings.max_epochs)))
        shares.append(share)
    if shares != sorted(shares):
        raise UserError(f"{where}.later={later!r} is not in order; sort the stages by their shares")
    return stages


def epoch_note(epoch: int, settings: OptimSettings) -> str:
    """Return an epoch's number, from 1, and its stage if there are several."""
    starts = [stage.first_epoch for stage in stages_of(settings)]
    stage = f" (stage {bisect_right(starts, epoch)} of {len(starts)})" if len(starts) > 1 else ""
    return f"epoch {epoch + 1}{stage}"


class Staged(NamedTuple):
    """The number of steps taken, and the state of each algorithm."""

    step: Int[Array, ""]
    states: tuple[Any, ...]


def staged(
    stages: Sequence[Stage], build: Callable[[str, float], optax.GradientTransformation], epoch_steps: int
) -> optax.GradientTransformation:
    """Build an optimizer whose algorithm and learning rate are those of the stage that a step falls into.

    `build` makes an algorithm by its name, for a rate.  An algorithm's moments begin with its first stage, and stay
    from one of its stages to the next.
    """
    names = list(dict.fromkeys(stage.algorithm for stage in stages))
    algorithms = [build(name, 1.0) for name in names]
    starts = jnp.array([stage.first_epoch * epoch_steps for stage in stages[1:]])
    which = jnp.array([names.index(stage.algorithm) for stage in stages])
    rates = jnp.array([stage.learning_rate for stage in stages])

    def init(params: Any) -> Staged:
        return Staged(jnp.zeros((), jnp.int32), tuple(tx.init(params) for tx in algorithms))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Staged]:
        def update_by(i: int) -> tuple[Any, tuple[Any, ...]]:
            its_updates, after = algorithms[i].update(updates, state.states[i], params)
            return its_updates, (*state.states[:i], after, *state.states[i + 1 :])

        stage = jnp.searchsorted(starts, state.step, side="right")
        updates, states = lax.switch(which[stage], [partial(update_by, i) for i in range(len(names))])
        return jax.tree.map(lambda leaf: rates[stage] * leaf, updates), Staged(state.step + 1, states)

    return optax.GradientTransformation(init, update)
