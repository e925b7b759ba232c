"""A split that lies on the devices, so that a chunk is gathered there and no host is in the way."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Int32, Shaped

from mumu_jax.batch import Batch
from mumu_jax.compute.devices import AXIS, SPLIT, WHOLE, on_each_device, replicated, split_items

Rows = Int32[Array | np.ndarray, "steps items"]


class Resident:
    """A split's inputs and labels, its rows dealt out over the devices of a mesh in equal blocks."""

    def __init__(self, inputs: Any, labels: Shaped[Array, "rows labels"], n_items: int, mesh: Mesh) -> None:
        self._arrays, self._mesh = (inputs, labels), mesh
        self._gather = jax.jit(partial(_gather, n_items=n_items, mesh=mesh), out_shardings=split_items(mesh, leading=1))

    def chunk(self, rows: Rows) -> Batch:
        """The chunk [steps, items, …] of these rows, split over the devices; zeros, masked, where a row is none."""
        return self._gather(self._arrays, _on_all_devices(rows, self._mesh))


def _on_all_devices(rows: Rows, mesh: Mesh) -> Array:
    """Without asking the other processes, as `device_put` does, whether theirs are the same."""
    return jax.make_array_from_callback(rows.shape, replicated(mesh), lambda part: rows[part])


def n_rows(n_items: int, mesh: Mesh) -> int:
    """How many rows the arrays of a split must have: zeros fill up what the devices do not divide."""
    return n_items + -n_items % mesh.size


def _gather(arrays: tuple[Any, Array], rows: Rows, n_items: int, mesh: Mesh) -> Batch:
    take: Callable[[Array, Rows], Array] = _take
    if mesh.size > 1:
        take = on_each_device(_take_from_all, mesh, in_specs=(PartitionSpec(AXIS), WHOLE), out_specs=SPLIT)
    inputs, labels = jax.tree.map(lambda array: take(array, rows), arrays)
    return Batch(inputs, labels, (rows < n_items).astype(jnp.float32))


def _take(array: Array, rows: Rows) -> Array:
    return jnp.take(array, rows, axis=0, mode="fill", fill_value=0)


def _take_from_all(block: Array, rows: Rows) -> Array:
    """On each device: its own rows of the whole chunk, zeros for the others'; then each gets the sum of its items."""
    here = rows - lax.axis_index(AXIS) * len(block)
    own = _take(block, jnp.where(here < 0, len(block), here))  # a negative row would count from the end
    return lax.psum_scatter(own, AXIS, scatter_dimension=1, tiled=True)
