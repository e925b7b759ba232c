"""A split that is held on the devices, and the chunks that are gathered there.

Rows are dealt out at random, once, so that whatever order a schedule has, each device needs about as much of every
other one: a chunk's items move from the device that holds them to the one that computes them, and nothing else does.
The host knows both places, and sends the plan.  Of records that random patches are cut from, all frames are held, one
record behind the other, and the patches are cut before they move.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, Int32, Shaped

from mumu_jax.batch import Batch
from mumu_jax.compute.devices import AXIS, SPLIT, on_each_device, replicated, split_items
from mumu_jax.data.loader import Cut, Items
from mumu_jax.system.allocator import keep_freed_chunks
from mumu_jax.training.blocks import Ragged, read_blocks

Rows = Int32[np.ndarray, "steps items"]
Uniforms = Float[np.ndarray, "steps items"]
Dealt = Int32[np.ndarray, "devices rows"]  # the rows of the split that each device holds; beyond its end, padding
Lengths = Int32[np.ndarray, "devices rows"]  # the frames of each record, as it is dealt


class Patches(NamedTuple):
    """Patches among the frames of a device: the first frame of each, and the frames from there to the record's end."""

    starts: Any  # [*n] int32
    lengths: Any  # [*n] int32, 0 for padding


class Pick(NamedTuple):
    """Items among those of a device: their places there, for padding the one behind the last; and their patches."""

    places: Any  # [*n] int32
    patches: dict[str, Patches]  # by modality, of those that are seen in random patches


class Share(NamedTuple):
    """Inputs and labels that are dealt out over the devices; in place of random patches, the frames of all records."""

    inputs: dict[str, Any]
    labels: Any  # [rows labels] uint8


class Resident:
    """A split on the devices of a mesh."""

    def __init__(self, items: Items, mesh: Mesh, dealt: Dealt, share: Share, lengths: dict[str, Lengths]) -> None:
        self._items, self._mesh, self._dealt = items, mesh, dealt
        self._share, self._lengths = share, lengths
        self._owners, self._places = _places_of(dealt)
        self._firsts = {name: _firsts(lengths) for name, lengths in self._lengths.items()}
        gather = partial(gather_alone, items=items) if mesh.size == 1 else partial(gather_dealt, items=items, mesh=mesh)
        self.gather = jax.jit(gather, out_shardings=split_items(mesh, leading=1))

    @classmethod
    def load(cls, items: Items, mesh: Mesh, read_threads: int) -> "Resident":
        """Read the split to the devices."""
        dealt = deal(len(items), mesh.size)
        return cls(items, mesh, dealt, *_load(items, dealt, mesh, read_threads))

    def chunk(self, rows: Rows, uniforms: Uniforms) -> Batch:
        """Gather the chunk [steps, items, …] of these rows, split over the devices; padding is zero and masked."""
        return self.gather(*self.arguments(rows, uniforms))

    def arguments(self, rows: Rows, uniforms: Uniforms) -> tuple[Any, ...]:
        """Return what `gather` takes for a chunk."""
        real = rows < len(self._items)
        dealt = np.where(real, rows, 0)
        owners, places = self._owners[dealt], self._places[dealt]
        patches = {name: self._cut(name, owners, places, real, uniforms) for name in self._items.cuts}
        n_places = self._dealt.shape[1]
        picked = Pick(np.where(real, places, n_places).astype(np.int32), patches)
        if self._mesh.size == 1:
            return self._share, _put(picked, replicated(self._mesh))
        sent, taken = plan(np.where(real, owners, -1), picked, n_places, self._mesh.size)
        by_device = NamedSharding(self._mesh, PartitionSpec(AXIS))
        return self._share, _put(sent, by_device), _put(taken, split_items(self._mesh, leading=1))

    def _cut(
        self, name: str, owners: Rows, places: Rows, real: Bool[np.ndarray, "steps items"], uniforms: Uniforms
    ) -> Patches:
        """Return the chunk's random patches of a modality."""
        lengths, start = np.where(real, self._lengths[name][owners, places], 0), self._items.cuts[name].start
        drawn = zip(lengths.ravel().tolist(), uniforms.ravel().tolist(), strict=True)
        starts = np.array([start(n, uniform) if n else 0 for n, uniform in drawn], np.int32).reshape(lengths.shape)
        return Patches(self._firsts[name][owners, places] + starts, (lengths - starts).astype(np.int32))


def _put(tree: Any, sharding: NamedSharding) -> Any:
    """Put arrays on the devices, without asking the other processes, as `device_put` does, if theirs are the same."""
    return jax.tree.map(lambda a: jax.make_array_from_callback(a.shape, sharding, lambda part: a[part]), tree)


# --- the plan -----------------------------------------------------------------------------------------------


def deal(n_items: int, n_devices: int) -> Dealt:
    """Deal out the rows at random, as many to each device; each has its own in the split's order.

    No order of a `Schedule` is drawn from this seed: the device that holds a row says nothing about its place there.
    """
    rows = np.random.default_rng((0, 2)).permutation(n_items + -n_items % n_devices).astype(np.int32)
    return np.sort(rows.reshape(n_devices, -1), axis=1)


def _places_of(dealt: Dealt) -> tuple[Int32[np.ndarray, " all"], Int32[np.ndarray, " all"]]:
    """Return the device of each row, and its place there."""
    owners, places = np.empty((2, dealt.size), np.int32)
    owners[dealt], places[dealt] = np.indices(dealt.shape)
    return owners, places


def _firsts(lengths: Lengths) -> Int32[np.ndarray, "devices rows"]:
    """Return the first frame of each record among those of its device."""
    return (np.cumsum(lengths, axis=1) - lengths).astype(np.int32)


def plan(owners: Rows, picked: Pick, n_places: int, n_devices: int) -> tuple[Pick, Rows]:
    """Return what each device sends, and where each item is among what its device gets.

    `owners` are -1 for padding.  What is sent is a Pick of [from, to, room]; all devices have the same room for one
    another, filled up with padding.  Padding is taken from behind the last place.
    """
    steps, n_items = owners.shape
    takers = np.broadcast_to(np.arange(n_items) // (n_items // n_devices), owners.shape)
    pairs = np.where(owners < 0, n_devices**2, owners * n_devices + takers).ravel()
    order, counts = np.argsort(pairs, kind="stable"), np.bincount(pairs, minlength=n_devices**2 + 1)
    room = room_for(counts[:-1], steps * n_items)
    ranks = np.empty_like(pairs)
    ranks[order] = np.arange(len(pairs)) - np.repeat(np.cumsum(counts) - counts, counts)
    real = owners.ravel() >= 0

    def send(values: Rows, padding: int) -> Int32[np.ndarray, "devices devices room"]:
        sent = np.full((n_devices**2, room), padding, np.int32)
        sent[pairs[real], ranks[real]] = values.ravel()[real]
        return sent.reshape(n_devices, n_devices, room)

    patches = {name: Patches(*(send(values, 0) for values in one)) for name, one in picked.patches.items()}
    taken = np.where(real, owners.ravel() * room + ranks, n_devices * room).astype(np.int32)
    return Pick(send(picked.places, n_places), patches), taken.reshape(owners.shape)


def room_for(counts: Int[np.ndarray, " pairs"], n_items: int) -> int:
    """Return how many items a device may send to another one: as few as hold all of `counts`.

    A multiple of the mean and four deviations of a Poisson's, so that nearly all chunks of a size need the same: each
    room is another program.
    """
    mean = n_items / len(counts)
    likely = math.ceil(mean + 4 * math.sqrt(mean))
    return likely * max(1, math.ceil(counts.max() / likely))


# --- on the devices -----------------------------------------------------------------------------------------


def gather_alone(share: Share, picked: Pick, items: Items) -> Batch:
    """Gather a chunk on the one device that holds all rows."""
    inputs, labels = _take(share, picked, items)
    return Batch(inputs, labels, (picked.places < len(share.labels)).astype(jnp.float32))


def gather_dealt(share: Share, sent: Pick, taken: Int32[Array, "steps items"], items: Items, mesh: Mesh) -> Batch:
    """Gather a chunk on the devices of a mesh: each sends the others what is theirs."""

    def on_one(share: Share, sent: Pick, taken: Int32[Array, "steps part"]) -> Batch:
        sent = jax.tree.map(lambda array: array[0], sent)
        n_received = sent.places.size

        def exchange(array: Array) -> Array:
            received = lax.all_to_all(array, AXIS, 0, 0)
            return _rows(received.reshape(n_received, *array.shape[2:]), taken)

        inputs, labels = jax.tree.map(exchange, _take(share, sent, items))
        return Batch(inputs, labels, (taken < n_received).astype(jnp.float32))

    by_device = PartitionSpec(AXIS)
    program = on_each_device(on_one, mesh, in_specs=(by_device, by_device, SPLIT), out_specs=SPLIT)
    return program(share, sent, taken)


def _take(share: Share, picked: Pick, items: Items) -> tuple[Any, Array]:
    """Return inputs and labels of items of one device; zeros for padding."""
    whole = {name: one for name, one in share.inputs.items() if name not in items.cuts}
    inputs, labels = jax.tree.map(lambda array: _rows(array, picked.places), (whole, share.labels))
    for name, patches in picked.patches.items():
        inputs[name] = _cut(share.inputs[name], patches, items.item[name].shape[0], items.cuts[name])
    return inputs, labels


def _rows(array: Shaped[Array, "rows ..."], places: Int32[Array, "*n"]) -> Shaped[Array, "..."]:
    return jnp.take(array, places, axis=0, mode="fill", fill_value=0)


def _cut(
    frames: Shaped[Array, "all bins"], patches: Patches, n_frames: int, cut: Cut
) -> Shaped[Array, "*n frames bins"]:
    """Cut patches of `n_frames`, which are so many at least before the end of `frames`; zeros for padding."""
    slices = lax.GatherDimensionNumbers(tuple(range(patches.starts.ndim, patches.starts.ndim + 2)), (), (0,))
    found = lax.gather(frames, patches.starts[..., None], slices, (n_frames, frames.shape[1]), mode="clip")
    lengths, i = patches.lengths[..., None], jnp.arange(n_frames)
    if cut.filling is None:
        found = jnp.take_along_axis(found, (i % jnp.maximum(lengths, 1))[..., None], axis=-2)
    else:
        found = jnp.where((i < lengths)[..., None], found, np.asarray(cut.filling, frames.dtype))
    return jnp.where((lengths > 0)[..., None], found, 0)


# --- loading ------------------------------------------------------------------------------------------------


def _load(items: Items, dealt: Dealt, mesh: Mesh, read_threads: int) -> tuple[Share, dict[str, Lengths]]:
    """Read every row once, by the process whose device will hold it; also return the lengths of records, by modality.

    Records that patches are cut from wait on the host until the lengths of all are known.
    """
    if jax.default_backend() == "cpu":
        keep_freed_chunks()
    devices = [device for device in mesh.devices.flat if device.process_index == jax.process_index()]
    shares, ragged = [], []
    for device, rows in zip(mesh.devices.flat, dealt, strict=True):
        if device in devices:
            share, records = _read(items, rows, read_threads)
            shares.append(jax.device_put(share, device))
            ragged.append(records)
    share, lengths = _join(shares, mesh), {}
    for name in items.cuts:
        own = [np.concatenate([block.lengths for block in records[name]]) for records in ragged]
        lengths[name] = _on_the_host(_join(list(map(jax.device_put, own, devices)), mesh), mesh)
        longest = int(lengths[name].sum(axis=1).max()) + items.item[name].shape[0]  # a patch may begin at the last one
        stacked = (_stack(records.pop(name), longest) for records in ragged)
        share.inputs[name] = _join(list(map(jax.device_put, stacked, devices)), mesh)
    return share, lengths


def _read(items: Items, rows: Int32[np.ndarray, " rows"], read_threads: int) -> tuple[Share, dict[str, list[Ragged]]]:
    """Read a device's rows: its share without what patches are cut from, and that in blocks by modality."""
    fixed = {name: one for name, one in items.item.items() if name not in items.cuts}
    room = jax.tree.map(lambda leaf: np.empty((len(rows), *leaf.shape), leaf.dtype), fixed)
    share, at = Share(room, np.empty((len(rows), items.n_labels), np.uint8)), 0
    records: dict[str, list[Ragged]] = {name: [] for name in items.cuts}
    for inputs, labels in read_blocks(items, rows, read_threads):
        for name, blocks in records.items():
            blocks.append(inputs.pop(name))
        jax.tree.map(partial(_put_at, at), share, Share(inputs, labels))
        at += len(labels)
    return share, records


def _put_at(at: int, whole: np.ndarray, block: np.ndarray) -> None:
    whole[at : at + len(block)] = block


def _stack(blocks: list[Ragged], n_frames: int) -> Shaped[np.ndarray, "frames ..."]:
    """Return the frames of all records, and zeros up to `n_frames`."""
    values = [block.values for block in blocks]
    frames = np.zeros((n_frames, *values[0].shape[1:]), values[0].dtype)
    np.concatenate(values, out=frames[: sum(map(len, values))])
    return frames


def _join(shares: Sequence[Any], mesh: Mesh) -> Any:
    """Join what lies on each of this process's devices, and on those of the others, to arrays over the mesh."""

    def join(*leaves: jax.Array) -> jax.Array:
        shape = (len(leaves[0]) * mesh.size, *leaves[0].shape[1:])
        return jax.make_array_from_single_device_arrays(shape, split_items(mesh), list(leaves))

    return jax.tree.map(join, *shares)


def _on_the_host(lengths: Int32[Array, " all"], mesh: Mesh) -> Lengths:
    """Return on every host the lengths of the records on all devices."""
    everywhere = jax.jit(lambda array: array, out_shardings=replicated(mesh))(lengths)
    return np.asarray(everywhere).reshape(mesh.size, -1)
