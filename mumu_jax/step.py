"""The step: pure functions of (state, batch), with no knowledge of the loop, the files or the devices."""

import dataclasses
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float

from mumu_jax import objective
from mumu_jax.batch import Batch
from mumu_jax.objective import Constants
from mumu_jax.state import TrainState


class Network(NamedTuple):
    """What turns parameters into predictions; static under `jit`."""

    model: nn.Module
    kind: str  # of target: cosine or logistic


class Predictions(NamedTuple):
    """Of one batch: the mean loss and how many items it is the mean of, each item's scores and penultimate vector."""

    loss: Float[Array, ""]
    weight: Float[Array, ""]
    scores: Float[Array, "items labels"]
    embedding: Float[Array, "items d"]


def standardize(inputs: Float[Array, "items *shape"], constants: Constants) -> Float[Array, "items *shape"]:
    """Zero mean and unit variance at each position.  float16 comes in: the cast is here, on the device."""
    return (inputs.astype(jnp.float32) - constants.mean) / constants.std


def apply(
    network: Network, params: Any, inputs: Float[Array, "items *shape"], **how: Any
) -> tuple[Float[Array, "items outputs"], Float[Array, "items d"]]:
    """The network's (output, penultimate vectors) for standardised inputs."""
    output, embedding = cast(tuple[Array, Array], network.model.apply({"params": params}, inputs, **how))
    return output, embedding


def train_step(
    state: TrainState, batch: Batch, constants: Constants, network: Network, tx: optax.GradientTransformation
) -> tuple[TrainState, Float[Array, ""]]:
    """One optimisation step: (new state, mean loss over the batch's real items on all devices)."""

    def mean_loss(params: Any) -> Float[Array, ""]:
        dropout = {"dropout": jax.random.fold_in(state.key, state.step)}
        output, _ = apply(network, params, standardize(batch.inputs, constants), train=True, rngs=dropout)
        return objective.loss_and_weight(network.kind, output, batch.labels, constants, batch.mask)[0]

    loss, gradients = jax.value_and_grad(mean_loss)(state.params)
    updates, opt_state = tx.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return dataclasses.replace(state, step=state.step + 1, params=params, opt_state=opt_state), loss


def train_chunk(
    state: TrainState, chunk: Batch, constants: Constants, network: Network, tx: optax.GradientTransformation
) -> tuple[TrainState, Float[Array, " steps"]]:
    """As many steps as the chunk has batches, in one scan: (new state, each step's loss)."""
    return jax.lax.scan(lambda carry, batch: train_step(carry, batch, constants, network, tx), state, chunk)


def predict_step(params: Any, batch: Batch, constants: Constants, network: Network) -> Predictions:
    """Loss, scores and penultimate vectors of one batch, without dropout."""
    output, embedding = apply(network, params, standardize(batch.inputs, constants))
    loss, weight = objective.loss_and_weight(network.kind, output, batch.labels, constants, batch.mask)
    scores = objective.scores(network.kind, output, constants)
    return Predictions(loss, weight, scores, embedding)
