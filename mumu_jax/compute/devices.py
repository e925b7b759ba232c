"""Devices: a one-dimensional mesh, with the batch split over it and everything else on every device."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax.core import ShapedArray
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float

from mumu_jax.batch import Batch
from mumu_jax.compute.compiler_options import compiler_options
from mumu_jax.compute.network import Constants, Network
from mumu_jax.compute.state import TrainState
from mumu_jax.compute.step import train_chunk
from mumu_jax.errors import UserError

AXIS = "data"
WHOLE, SPLIT = PartitionSpec(), PartitionSpec(None, AXIS)  # on every device; a chunk's items over the devices

TrainChunk = Callable[[TrainState, Batch, Constants], tuple[TrainState, Float[Array, " steps"]]]


def make_mesh() -> Mesh:
    """Return a mesh of all devices in a row, those of one process side by side."""
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    return Mesh(np.array(devices), (AXIS,))


def check_batch_sizes(mesh: Mesh, **batch_sizes: int) -> None:
    """Raise UserError unless the devices divide each of the (global) batch sizes, given by section of the config."""
    for field, batch_size in batch_sizes.items():
        if batch_size % mesh.size:
            raise UserError(
                f"config.{field}.batch_size is {batch_size}, which {mesh.size} devices do not divide; "
                f"choose a multiple of {mesh.size}"
            )


def replicated(mesh: Mesh) -> NamedSharding:
    """Return the sharding of arrays that every device holds whole: parameters, optimizer state, constants."""
    return NamedSharding(mesh, PartitionSpec())


def split_items(mesh: Mesh, leading: int = 0) -> NamedSharding:
    """Return the sharding of arrays whose items are split over the devices, after `leading` other axes."""
    return NamedSharding(mesh, PartitionSpec(*[None] * leading, AXIS))


def put_replicated(tree: Any, mesh: Mesh) -> Any:
    """Put `tree` on every device."""
    return jax.device_put(tree, replicated(mesh))


def part_of_process(batch_size: int) -> slice:
    """Return which items of each batch this process reads."""
    size = batch_size // jax.process_count()
    return slice(jax.process_index() * size, (jax.process_index() + 1) * size)


def put_chunk(chunk: Batch, mesh: Mesh) -> Batch:
    """Put a chunk [steps, items, …] on the devices, its items split; `chunk` is this process's part of them."""
    sharding = split_items(mesh, leading=1)
    if jax.process_count() == 1:
        return jax.device_put(chunk, sharding)
    return jax.tree.map(partial(jax.make_array_from_process_local_data, sharding), chunk)


def abstract_chunk(shape: tuple[int, int], item: Any, n_labels: int, mesh: Mesh) -> Batch:
    """Return the shapes, dtypes and shardings of a chunk of `shape` (steps, items) of such inputs, to compile for."""

    def leaf(rest: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((*shape, *rest), dtype, sharding=split_items(mesh, leading=1))

    inputs = jax.tree.map(lambda one: leaf(one.shape, one.dtype), item)
    return Batch(inputs, leaf((n_labels,), np.uint8), leaf((), np.float32))


def compile_train_chunk(
    kind: str,
    mesh: Mesh,
    network: Network,
    tx: optax.GradientTransformation,
    arguments: tuple[TrainState, Batch, Constants],
) -> TrainChunk:
    """Compile `train_chunk` for arguments of these shapes, which may be abstract.

    It takes over the memory of the state it is given.  Both kinds take and give the same arrays, and run the program
    of one device's part on each device.
    """
    options = compiler_options(mesh.devices.flat[0])
    if mesh.size == 1:
        alone = partial(train_chunk, network=network, tx=tx)
        return jax.jit(alone, donate_argnums=0).lower(*arguments).compile(options)

    one_of_many = partial(train_chunk, network=network, tx=tx, axis=AXIS)
    if kind != "pmap":
        everywhere = on_each_device(one_of_many, mesh, in_specs=(WHOLE, SPLIT, WHOLE), out_specs=WHOLE)
        return jax.jit(everywhere, donate_argnums=0).lower(*arguments).compile(options)

    mapped = jax.pmap(
        one_of_many,
        axis_name=AXIS,
        in_axes=(None, 1, None),
        out_axes=None,  # pyright: ignore[reportArgumentType]
        devices=list(mesh.devices.flat),
        donate_argnums=0,
    )
    deal = jax.jit(partial(_deal, n_devices=mesh.size), out_shardings=split_items(mesh, leading=1))
    state, chunk, constants = arguments
    # Abstract values are of all processes; of arrays and their shapes pmap would ask for this process's part, and move
    # it through the host at every call.
    abstract = jax.tree.map(
        lambda leaf: ShapedArray(leaf.shape, leaf.dtype), (state, jax.eval_shape(deal, chunk), constants)
    )
    return _Dealing(deal, mapped.lower(*abstract).compile(options))


def on_each_device(program: Callable[..., Any], mesh: Mesh, in_specs: Any, out_specs: Any) -> Callable[..., Any]:
    """Run `program`, of one device's part of its arguments, on each device.

    Not left to XLA's own partitioning: that splits a layer that works through its batch piece by piece along the
    pieces, and moves data to do so.
    """
    return jax.shard_map(program, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)


class _Dealing(NamedTuple):
    """A program of one device's part that is called with whole chunks."""

    deal: Callable[[Batch], Batch]
    compiled: Any

    def __call__(self, state: TrainState, chunk: Batch, constants: Constants) -> Any:
        return self.compiled(state, self.deal(chunk), constants)

    def as_text(self) -> str:
        return self.compiled.as_text()


def _deal(chunk: Batch, n_devices: int) -> Batch:
    """Reshape [steps, items, …] to [steps, devices, items of a device, …]; each item stays on its device."""
    return jax.tree.map(lambda leaf: leaf.reshape(leaf.shape[0], n_devices, -1, *leaf.shape[2:]), chunk)
