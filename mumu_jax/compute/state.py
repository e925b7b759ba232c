"""The state that training carries from step to step."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from mumu_jax.compute.network import Network, initial_variables


@struct.dataclass
class TrainState:
    """Parameters, running statistics, optimizer state, the number of steps taken, and the key that dropout and random
    views fold the step into.
    """

    step: Any  # [] int32
    params: Any
    opt_state: Any
    key: Any  # [] typed PRNG key
    batch_stats: Any  # of batch norm; {} where the network has none

    @property
    def variables(self) -> dict[str, Any]:
        """Return everything that predictions depend on."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def create_state(network: Network, tx: optax.GradientTransformation, item: Any, seed: int) -> TrainState:
    """Return the initial state for inputs of the shapes and dtypes of `item`; the same seed gives the same bytes."""
    init_key, item_key = jax.random.split(jax.random.key(seed))
    variables = initial_variables(network, init_key, item)
    params = variables["params"]
    return TrainState(jnp.zeros((), jnp.int32), params, tx.init(params), item_key, variables["batch_stats"])


def n_values(tree: Any) -> int:
    """Count the numbers in the arrays of `tree`, abstract ones too."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def abstract_variables(network: Network, item: Any) -> dict[str, Any]:
    """Return the shapes and dtypes of the initial variables, without allocating them."""
    return jax.eval_shape(lambda: create_state(network, optax.identity(), item, seed=0)).variables
