"""An album network without training: `config.model.albums="mean"`."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np

from mumu_jax.compute import devices
from mumu_jax.compute.network import VECTORS, album_network
from mumu_jax.compute.optim import make_optimizer
from mumu_jax.compute.state import create_state
from mumu_jax.models.head import output_layer
from mumu_jax.runs.folder import Trained, embedding_width
from mumu_jax.training.checkpoint import Checkpoints, Progress
from mumu_jax.training.loop import Run


def keep_output_layer(track: Trained, item: Any, run: Run) -> None:
    """Store the track network's output layer as the album network: of a mean vector, it makes the mean output."""
    checkpoints = Checkpoints(run.workdir / "album")
    if checkpoints.last_step() is None:
        network = album_network(run.config, len(run.seen), track.constants.fitted)
        vector = {VECTORS: jax.ShapeDtypeStruct((embedding_width(track, item),), np.float32)}
        tx = make_optimizer(run.config.album_optim)
        start = partial(create_state, network, tx, vector, run.config.seed)
        state = jax.jit(start, out_shardings=devices.replicated(run.mesh))()
        state = replace(state, params=output_layer(track.variables["params"]))
        checkpoints.save(state, Progress(finished=True, metrics_bytes=run.log.position), {"next_chunk": 0})
    checkpoints.close()
