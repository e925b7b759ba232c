"""Networks that are trained in their output layer alone, or not at all, and are kept as if they were trained."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from mumu_jax.compute import devices
from mumu_jax.compute.network import VECTORS, Constants, Network, album_network, constants_of_vectors
from mumu_jax.compute.optim import make_optimizer
from mumu_jax.compute.state import TrainState, abstract_variables, create_state
from mumu_jax.config import OptimSettings
from mumu_jax.data.loader import Records, array_items
from mumu_jax.data.modalities.inputs import Inputs
from mumu_jax.models.batch_norm import trains
from mumu_jax.models.head import Shallow, output_layer
from mumu_jax.runs.folder import Trained, embedding_width
from mumu_jax.runs.prediction import predict_tracks
from mumu_jax.training.checkpoint import Checkpoints, Progress
from mumu_jax.training.feed import open_feeds
from mumu_jax.training.loop import Run, Task, fit


def is_frozen_before_output(network: Network, item: Any) -> bool:
    """Return True if only the output layer trains, so that an item's vector is the same in all epochs."""
    if not network.trainable or network.views:
        return False
    paths = flatten_dict(abstract_variables(network, item)["params"])
    return {path[0] for path in paths if trains(network.trainable, path)} == {"output"}


def fit_output_layer(
    network: Network,
    constants: Constants,
    start: Callable[[TrainState], TrainState],
    inputs: Inputs,
    records: Mapping[str, Records],
    run: Run,
) -> Any:
    """Train the output layer on vectors that the layers before it give once; return all variables.

    A track's vector is the mean over its patches.  Checkpoints of the output layer are in `run.workdir/output`, and of
    the whole network, when it is done, in `run.workdir/<inputs.level>`, as `fit` leaves them.
    """
    checkpoints = Checkpoints(run.workdir / inputs.level)
    state = initial_state(network, run.config.optim, inputs.item, run)
    if checkpoints.last_step() is not None:
        variables = checkpoints.restore_best(state.variables)
        checkpoints.close()
        return variables
    if checkpoints.frozen:  # by a call that was stopped
        state = replace(state, **checkpoints.frozen.put_back({}, state.variables))
    else:
        state = start(state)
        checkpoints.frozen.keep(state.variables, network.trainable)
    trunk = Trained(network, state.variables, constants)
    predictions = {
        split: predict_tracks(trunk, inputs, one, len(run.seen), run.stop.watch) for split, one in records.items()
    }
    splits = {split: array_items({VECTORS: one.embedding}, one.labels) for split, one in predictions.items()}
    feeds = open_feeds(splits, run.config.data, run.mesh)
    model: Any = network.model
    shallow = Network(
        Shallow(model.n_outputs, model.unit_output, model.dropout), network.objective, graph=network.graph
    )
    constants = constants_of_vectors(constants, embedding_width(trunk, inputs.item))
    found = fit(Task("output", shallow, constants, feeds["train"], feeds["val"], run.config.optim), run)
    state = replace(state, params={**state.params, "output": found["params"]})
    keep(checkpoints, state, run)
    return state.variables


def keep_output_layer(track: Trained, item: Any, run: Run) -> None:
    """Store the track network's output layer as the album network: of a mean vector, it makes the mean output."""
    checkpoints = Checkpoints(run.workdir / "album")
    if checkpoints.last_step() is not None:
        checkpoints.close()
        return
    network = album_network(run.config, len(run.seen), track.constants.fitted)
    vector = {VECTORS: jax.ShapeDtypeStruct((embedding_width(track, item),), np.float32)}
    state = initial_state(network, run.config.album_optim, vector, run)
    keep(checkpoints, replace(state, params=output_layer(track.variables["params"])), run)


def initial_state(network: Network, optim: OptimSettings, item: Any, run: Run) -> TrainState:
    start = partial(create_state, network, make_optimizer(optim, network.trainable), item, run.config.seed)
    return jax.jit(start, out_shardings=devices.replicated(run.mesh))()


def keep(checkpoints: Checkpoints, state: TrainState, run: Run) -> None:
    """Write the one checkpoint of a network that is done."""
    checkpoints.save(state, None, Progress(finished=True, metrics_bytes=run.log.position), {"next_chunk": 0})
    checkpoints.close()
