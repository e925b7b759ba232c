"""Devices: a one-dimensional mesh, with the batch split over it and everything else on every device."""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mumu_jax.batch import Batch
from mumu_jax.errors import UserError

AXIS = "data"


def make_mesh(batch_size: int) -> Mesh:
    """All devices in a row.  Raises UserError unless they divide the (global) batch."""
    devices = jax.devices()
    if batch_size % len(devices):
        raise UserError(
            f"config.optim.batch_size is {batch_size}, which {len(devices)} devices do not divide; "
            f"choose a multiple of {len(devices)}"
        )
    return Mesh(np.array(devices), (AXIS,))


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of what every device holds whole: parameters, optimizer state, constants."""
    return NamedSharding(mesh, PartitionSpec())


def put_replicated(tree: Any, mesh: Mesh) -> Any:
    return jax.device_put(tree, replicated(mesh))


def put_batch(batch: Batch, mesh: Mesh) -> Batch:
    """A batch, its items split over the devices."""
    return jax.device_put(batch, NamedSharding(mesh, PartitionSpec(AXIS)))


def put_chunk(chunk: Batch, mesh: Mesh) -> Batch:
    """A chunk [steps, items, …], its items split over the devices."""
    return jax.device_put(chunk, NamedSharding(mesh, PartitionSpec(None, AXIS)))
