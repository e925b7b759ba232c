"""The step: pure functions of (state, batch), with no knowledge of the loop, the files or the devices."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from mumu_jax.batch import Batch
from mumu_jax.compute.network import Constants, Network, apply, apply_in_training, see
from mumu_jax.compute.state import TrainState
from mumu_jax.models.batch_norm import Members
from mumu_jax.objectives.contrastive import contrastive_loss

VIEW = 1 << 16  # folded into an item's key for its random view; no dropout layer has this number


class Predictions(NamedTuple):
    """A batch's summed loss and the number of items it covers, and each item's scores and penultimate vector."""

    loss_sum: Float[Array, ""]
    weight: Float[Array, ""]
    scores: Float[Array, "items labels"]
    embedding: Float[Array, "items d"]


def train_step(
    state: TrainState,
    batch: Batch,
    constants: Constants,
    network: Network,
    tx: optax.GradientTransformation,
    axis: str | None = None,
) -> tuple[TrainState, Float[Array, ""]]:
    """Take one optimisation step: return the new state and the mean loss over the batch's real items on all devices.

    With `axis`, which names the devices, `batch` is one device's part.
    """
    keys = _item_keys(state, len(batch.mask), axis)
    members = Members(batch.mask, axis, network.trainable)
    inputs = see(network, batch.inputs, constants, jax.vmap(jax.random.fold_in, (0, None))(keys, VIEW))

    def loss_sum(params: Any) -> tuple[Float[Array, ""], tuple[Float[Array, ""], Any]]:
        variables = {**state.variables, "params": params}
        trained = apply_in_training(network, variables, inputs, constants, keys, members)
        loss, weight = network.objective.summed_loss(trained.output, batch.labels, constants.fitted, batch.mask)
        if network.contrast:
            first, second, log_temperature = trained.pair
            of_pairs = contrastive_loss(first, second, log_temperature, batch.mask, axis).sum()
            loss = (1 - network.contrast) * loss + network.contrast * of_pairs
        return loss, (weight, trained.batch_stats)

    (loss, (weight, batch_stats)), gradients = jax.value_and_grad(loss_sum, has_aux=True)(state.params)
    if axis is not None:  # all at once, so that it becomes one message
        # Without the barrier, a GPU's compiler fuses the first sums' updates with later gradients, and sends two.
        loss, weight, gradients = jax.lax.psum(jax.lax.optimization_barrier((loss, weight, gradients)), axis)
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
    """Take a step for each of the chunk's batches, in one scan: return the new state and each step's loss."""
    return jax.lax.scan(lambda carry, batch: train_step(carry, batch, constants, network, tx, axis), state, chunk)


def predict_step(variables: Any, batch: Batch, constants: Constants, network: Network) -> Predictions:
    """Return loss, scores and penultimate vectors of one batch, without dropout."""
    output, embedding = apply(network, variables, see(network, batch.inputs, constants), constants)
    loss, weight = network.objective.summed_loss(output, batch.labels, constants.fitted, batch.mask)
    scores = network.objective.scores(output, constants.fitted)
    return Predictions(loss, weight, scores, embedding)


def _item_keys(state: TrainState, n_items: int, axis: str | None) -> Key[Array, " items"]:
    """Return a key for each item, from the step and its place in the whole batch, whatever the devices."""
    place = jnp.arange(n_items) + (0 if axis is None else n_items * jax.lax.axis_index(axis))
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.fold_in(state.key, state.step), place)
