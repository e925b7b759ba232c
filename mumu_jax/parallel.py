"""Devices: a one-dimensional mesh, with the batch split over it and everything else on every device."""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mumu_jax.batch import Batch
from mumu_jax.errors import UserError

AXIS = "data"


def make_mesh() -> Mesh:
    """All devices in a row."""
    return Mesh(np.array(jax.devices()), (AXIS,))


def check_batch_sizes(mesh: Mesh, **batch_sizes: int) -> None:
    """Raise UserError unless the devices divide each of the (global) batch sizes, given by field of the config."""
    for field, batch_size in batch_sizes.items():
        if batch_size % mesh.size:
            raise UserError(
                f"config.{field}.batch_size is {batch_size}, which {mesh.size} devices do not divide; "
                f"choose a multiple of {mesh.size}"
            )


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
