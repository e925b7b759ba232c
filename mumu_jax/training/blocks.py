"""Rows of a split in blocks, for devices that hold them: whole records where random patches are seen."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int32, Shaped, UInt8

from mumu_jax.data.loader import Items
from mumu_jax.system.allocator import keep_freed_memory

BLOCK_ITEMS = 256  # read at a time

Rows = Int32[np.ndarray, " n"]


class Ragged(NamedTuple):
    """Arrays of different lengths, one behind the other."""

    values: Shaped[np.ndarray, "frames ..."]
    lengths: Int32[np.ndarray, " n"]


def read_blocks(items: Items, rows: Rows, read_threads: int) -> Iterator[tuple[dict[str, Any], Any]]:
    """Yield `read_whole` of `rows`, in blocks, in order."""
    import grain  # here, because a split that is made up on a device needs none of it

    keep_freed_memory()
    blocks = grain.MapDataset.range(0, len(rows), BLOCK_ITEMS).map(
        lambda low: read_whole(items, rows[low : low + BLOCK_ITEMS])
    )
    options = grain.ReadOptions(num_threads=read_threads, prefetch_buffer_size=2 * read_threads)
    return iter(blocks.to_iter_dataset(options))


def read_whole(items: Items, rows: Rows) -> tuple[dict[str, Any], UInt8[np.ndarray, "n labels"]]:
    """Return (inputs, labels) of `rows`, Ragged in place of random patches; zeros or nothing for padding."""
    n_real = int(np.searchsorted(rows >= len(items), True))
    fixed = {name: one for name, one in items.item.items() if name not in items.cuts}
    inputs = jax.tree.map(lambda leaf: np.zeros((len(rows), *leaf.shape), leaf.dtype), fixed)
    inputs |= {name: np.empty(len(rows), object) for name in items.cuts}
    labels = np.zeros((len(rows), items.n_labels), np.uint8)
    real = jax.tree.map(lambda leaf: leaf[:n_real], inputs)
    items.read(rows[:n_real], None, real, labels[:n_real])
    return inputs | {name: _joined(real[name], len(rows), items.item[name]) for name in items.cuts}, labels


def _joined(records: Shaped[np.ndarray, " m"], n: int, item: Any) -> Ragged:
    """Join an array of arrays; those from its end to `n` are empty."""
    lengths = np.zeros(n, np.int32)
    lengths[: len(records)] = [len(record) for record in records]
    return Ragged(np.concatenate([np.empty((0, *item.shape[1:]), item.dtype), *records]), lengths)
