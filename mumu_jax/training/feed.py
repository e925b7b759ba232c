"""The way of a split to chunks on the devices: held there (resident) or read again each epoch (streaming).

Both give the same bytes in the same order.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import psutil
from jax import lax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Int32, Shaped

from mumu_jax.batch import Batch
from mumu_jax.compute.devices import (
    AXIS,
    SPLIT,
    WHOLE,
    on_each_device,
    part_of_process,
    put_chunk,
    replicated,
    split_items,
)
from mumu_jax.config import DataSettings
from mumu_jax.data.loader import Items, Schedule, read_blocks, stream
from mumu_jax.errors import UserError
from mumu_jax.system.allocator import keep_freed_chunks
from mumu_jax.system.lines import print_remark
from mumu_jax.system.memory import left_by_container
from mumu_jax.system.processes import is_main, least_of_all

# The share of a device's memory that splits may take up: activations and the optimizer need the rest.
RESIDENT_SHARE = 0.5

Rows = Int32[Array | np.ndarray, "steps items"]


class Resident:
    """A split's inputs and labels on the devices, its rows dealt out over the devices of a mesh in equal blocks."""

    def __init__(self, inputs: Any, labels: Shaped[Array, "rows labels"], n_items: int, mesh: Mesh) -> None:
        self._arrays, self._mesh = (inputs, labels), mesh
        self._gather = jax.jit(partial(_gather, n_items=n_items, mesh=mesh), out_shardings=split_items(mesh, leading=1))

    def chunk(self, rows: Rows) -> Batch:
        """Gather the chunk [steps, items, …] of these rows, split over the devices; padding is zero and masked."""
        return self._gather(self._arrays, _on_all_devices(rows, self._mesh))


def _on_all_devices(rows: Rows, mesh: Mesh) -> Array:
    """Put `rows` on all devices, without asking the other processes, as `device_put` does, if theirs are the same."""
    return jax.make_array_from_callback(rows.shape, replicated(mesh), lambda part: rows[part])


def n_rows(n_items: int, mesh: Mesh) -> int:
    """Return how many rows the arrays of a split must have for the devices to divide them; zeros fill them up."""
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
    """Take on each device its own rows of the whole chunk, zeros for the others'; then sum, and keep its own items."""
    here = rows - lax.axis_index(AXIS) * len(block)
    own = _take(block, jnp.where(here < 0, len(block), here))  # a negative row would count from the end
    return lax.psum_scatter(own, AXIS, scatter_dimension=1, tiled=True)


class Feed:
    """A split, ready to be served in any schedule; `mode` is `resident` or `streaming`."""

    def __init__(self, items: Items, mode: str, read_threads: int, mesh: Mesh) -> None:
        self.items, self.mode, self.mesh, self._threads = items, mode, mesh, read_threads
        self._resident = _load(items, mesh, read_threads) if mode == "resident" else None

    def chunks(self, schedule: Schedule, numbers: range) -> Iterator[Batch]:
        """Yield those chunks of the schedule, on the devices."""
        if self._resident is not None:
            return map(self._resident.chunk, map(schedule.rows, numbers))
        part = part_of_process(schedule.batch_size)
        host_chunks = stream(self.items, schedule, numbers, self._threads, part)
        return (jax.block_until_ready(put_chunk(chunk, self.mesh)) for chunk in host_chunks)


def open_feeds(splits: dict[str, Items], settings: DataSettings, mesh: Mesh) -> dict[str, Feed]:
    """Open a feed for each split, in order, resident while memory lasts; prints which, and how large they are."""
    feeds, left = {}, RESIDENT_SHARE * _memory_bytes(mesh)
    for name, items in splits.items():
        fits = items.n_bytes <= left and not items.random
        mode = settings.mode if settings.mode != "auto" else "resident" if fits else "streaming"
        size = f"{items.n_bytes / 1e9:.3f} GB"
        if mode == "resident" and not fits:
            raise UserError(
                f"config.data.mode='resident', but {name} needs {size} and {left / 1e9:.3f} GB are left for data; "
                "leave it out, or say 'streaming'"
            )
        if mode == "resident":
            left -= items.n_bytes
        if is_main():
            print_remark(f"{name}: {len(items):,} items, {size}, {mode}")
        feeds[name] = Feed(items, mode, settings.read_threads, mesh)
    return feeds


def _load(items: Items, mesh: Mesh, read_threads: int) -> Resident:
    """Read every row once, by the process whose device will hold it."""
    if jax.default_backend() == "cpu":
        keep_freed_chunks()
    rows, sharding = n_rows(len(items), mesh), split_items(mesh)
    shards: list[Any] = []
    places: dict[Any, Any] = dict(sharding.addressable_devices_indices_map((rows,)))
    for device, (part,) in places.items():
        start, stop, _ = part.indices(rows)
        whole = (items.empty(stop - start), np.empty((stop - start, items.n_labels), np.uint8))
        at = 0
        for block in read_blocks(items, start, stop, read_threads):
            jax.tree.map(partial(_put_at, at), whole, block)
            at += len(block[1])
        shards.append(jax.device_put(whole, device))

    def join(*leaves: jax.Array) -> jax.Array:
        return jax.make_array_from_single_device_arrays((rows, *leaves[0].shape[1:]), sharding, list(leaves))

    inputs, labels = jax.tree.map(join, *shards)
    return Resident(inputs, labels, len(items), mesh)


def _put_at(at: int, whole: np.ndarray, block: np.ndarray) -> None:
    whole[at : at + len(block)] = block


def _memory_bytes(mesh: Mesh) -> float:
    """Return the free memory of all devices: the smallest one's, times their number.  The same in all processes."""
    device = jax.local_devices()[0]
    stats = device.memory_stats()
    if stats is None:  # a CPU: its devices share the machine's memory, which also holds what is being read
        free = min(psutil.virtual_memory().available, left_by_container()) / 2 / jax.local_device_count()
    else:
        free = stats["bytes_limit"] - stats["bytes_in_use"]
    return least_of_all(free) * mesh.size
