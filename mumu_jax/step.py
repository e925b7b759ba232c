"""The step: pure functions of (state, batch), with no knowledge of the loop, the files or the devices."""

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float, Key

from mumu_jax import objective
from mumu_jax.batch import Batch, Sparse
from mumu_jax.models.batch_norm import Members
from mumu_jax.objective import Constants
from mumu_jax.state import TrainState


class Network(NamedTuple):
    """What turns variables (parameters and running statistics) into predictions; static under `jit`."""

    model: nn.Module
    kind: str  # of target: cosine or logistic


class Predictions(NamedTuple):
    """Of one batch: the sum of the loss and of how many items, each item's scores and penultimate vector."""

    loss_sum: Float[Array, ""]
    weight: Float[Array, ""]
    scores: Float[Array, "items labels"]
    embedding: Float[Array, "items d"]


def standardize(inputs: Float[Array, "items *shape"] | Sparse, constants: Constants) -> Any:
    """Zero mean and unit variance at each position.  float16 comes in: the cast is here, on the device.

    Sparse rows stay as they are: without their zeros they would not be sparse.
    """
    if isinstance(inputs, Sparse):
        return inputs
    return (inputs.astype(jnp.float32) - constants.mean) / constants.std


def apply(
    network: Network,
    variables: Any,
    inputs: Any,
) -> tuple[Float[Array, "items outputs"], Float[Array, "items d"]]:
    """The network's (output, penultimate vectors) for standardised inputs."""
    output, embedding = cast(tuple[Array, Array], network.model.apply(variables, inputs))
    return output, embedding


def apply_in_training(
    network: Network, variables: Any, inputs: Any, dropout_keys: Key[Array, " items"], members: Members
) -> tuple[Float[Array, "items outputs"], Any]:
    """(output, new running statistics): with dropout, and normalised by the statistics of the batch itself."""
    given = (members,) if variables["batch_stats"] else ()
    (output, _), new = network.model.apply(variables, inputs, dropout_keys, *given, mutable=["batch_stats"])
    return output, new.get("batch_stats", {})


def train_step(
    state: TrainState,
    batch: Batch,
    constants: Constants,
    network: Network,
    tx: optax.GradientTransformation,
    axis: str | None = None,
) -> tuple[TrainState, Float[Array, ""]]:
    """One optimisation step: (new state, mean loss over the batch's real items on all devices).

    With `axis`, which names the devices, `batch` is one device's part.
    """
    keys = _dropout_keys(state, len(batch.mask), axis)

    def loss_sum(params: Any) -> tuple[Float[Array, ""], tuple[Float[Array, ""], Any]]:
        variables = {**state.variables, "params": params}
        inputs, members = standardize(batch.inputs, constants), Members(batch.mask, axis)
        output, batch_stats = apply_in_training(network, variables, inputs, keys, members)
        loss, weight = objective.loss_sum_and_weight(network.kind, output, batch.labels, constants, batch.mask)
        return loss, (weight, batch_stats)

    (loss, (weight, batch_stats)), gradients = jax.value_and_grad(loss_sum, has_aux=True)(state.params)
    if axis is not None:  # all at once, so that it becomes one message
        loss, weight, gradients = jax.lax.psum((loss, weight, gradients), axis)
    scale = 1 / jnp.maximum(weight, 1)
    gradients = jax.tree.map(lambda leaf: leaf * scale, gradients)
    updates, opt_state = tx.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    stepped = TrainState(state.step + 1, params, opt_state, state.key, batch_stats)
    return stepped, loss * scale


def train_chunk(
    state: TrainState,
    chunk: Batch,
    constants: Constants,
    network: Network,
    tx: optax.GradientTransformation,
    axis: str | None = None,
) -> tuple[TrainState, Float[Array, " steps"]]:
    """As many steps as the chunk has batches, in one scan: (new state, each step's loss)."""
    return jax.lax.scan(lambda carry, batch: train_step(carry, batch, constants, network, tx, axis), state, chunk)


def predict_step(variables: Any, batch: Batch, constants: Constants, network: Network) -> Predictions:
    """Loss, scores and penultimate vectors of one batch, without dropout."""
    output, embedding = apply(network, variables, standardize(batch.inputs, constants))
    loss, weight = objective.loss_sum_and_weight(network.kind, output, batch.labels, constants, batch.mask)
    scores = objective.scores(network.kind, output, constants)
    return Predictions(loss, weight, scores, embedding)


def _dropout_keys(state: TrainState, n_items: int, axis: str | None) -> Key[Array, " items"]:
    """A key for each item, from the step and its place in the whole batch, whatever the devices."""
    place = jnp.arange(n_items) + (0 if axis is None else n_items * jax.lax.axis_index(axis))
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.fold_in(state.key, state.step), place)
