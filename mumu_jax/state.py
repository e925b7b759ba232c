"""What training carries from step to step."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct


@struct.dataclass
class TrainState:
    """Parameters, optimizer state, the number of steps taken, and the key that dropout folds the step into."""

    step: Any  # [] int32
    params: Any
    opt_state: Any
    key: Any  # [] typed PRNG key


def create_state(
    model: nn.Module, tx: optax.GradientTransformation, item_shape: tuple[int, ...], seed: int
) -> TrainState:
    """Initial state for items of `item_shape`; the same seed gives the same bytes."""
    init_key, dropout_key = jax.random.split(jax.random.key(seed))
    params = model.init(init_key, jnp.zeros((1, *item_shape), jnp.float32))["params"]
    return TrainState(jnp.zeros((), jnp.int32), params, tx.init(params), dropout_key)
