"""The loader: Grain pipelines from prepared records to batches.

Order, shuffle and random patches depend on the seed and the epoch alone, so an iterator's whole state is the number
of chunks it has given.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grain
import numpy as np

from mumu_jax.batch import Batch
from mumu_jax.config import AudioSettings
from mumu_jax.data import patches

Item = tuple[np.ndarray, np.ndarray]  # inputs, multi-hot labels


@dataclass(frozen=True)
class Items:
    """A split as the networks see it: item i is `read(i, u)`, where u in [0, 1) places a random patch.

    `item_shape` is that of one item's inputs.
    """

    read: Callable[[int, float], Item]
    n_items: int
    item_shape: tuple[int, ...]
    random: bool = False

    def __len__(self) -> int:
        return self.n_items


def patch_items(
    records: Sequence[Mapping[str, Any]], n_labels: int, settings: AudioSettings, patch: str = "fixed"
) -> Items:
    """One patch a track: always the same one (`fixed`), or a new one each epoch (`random`)."""

    def read(i: int, uniform: float) -> Item:
        record = records[i]
        n_frames = len(record["cqt"])
        if patch == "random":
            start = patches.random_start(n_frames, uniform, settings)
        else:
            start = patches.fixed_start(record["track_id"], n_frames, settings)
        return patches.cut(record["cqt"], start, settings), multi_hot(record["labels"], n_labels)

    shape = (settings.patch_frames, settings.n_bins)
    return Items(read, len(records), shape, random=patch == "random")


def array_items(inputs: np.ndarray, labels: np.ndarray) -> Items:
    """Items that are rows of arrays in memory: an album's feature vector and its labels."""
    return Items(lambda i, _: (inputs[i], labels[i]), len(inputs), inputs.shape[1:])


def multi_hot(columns: Sequence[int] | np.ndarray, n_labels: int) -> np.ndarray:
    """[n_labels] uint8 with 1 at `columns`."""
    labels = np.zeros(n_labels, np.uint8)
    labels[columns] = 1
    return labels


def steps_per_epoch(n_items: int, batch_size: int) -> int:
    """The last batch may be partly padding."""
    return math.ceil(n_items / batch_size)


def train_chunks(
    items: Items, batch_size: int, chunk_steps: int, seed: int, read_threads: int
) -> grain.DatasetIterator[Batch]:
    """Endless chunks of up to `chunk_steps` batches, every epoch in a new order; no chunk crosses an epoch's end.

    A chunk's leaves are [steps, batch_size, …]; the epoch's last batch is padded and masked.
    """
    order = grain.MapDataset.range(len(items)).seed(seed).shuffle()
    if items.random:
        read = order.random_map(lambda i, rng: (i, items.read(i, rng.random())))
    else:
        read = order.map(lambda i: (i, items.read(i, 0.0)))
    chunks = read.batch(batch_size * chunk_steps, batch_fn=lambda rows: _collate(rows, batch_size))
    options = grain.ReadOptions(num_threads=read_threads, prefetch_buffer_size=2 * read_threads)
    return iter(chunks.repeat().to_iter_dataset(options))


def batches(items: Items, batch_size: int, read_threads: int) -> Iterator[Batch]:
    """The items once, in order, in batches of one shape; the last one padded and masked."""
    read = grain.MapDataset.range(len(items)).map(lambda i: (i, items.read(i, 0.0)))
    chunks = read.batch(batch_size, batch_fn=lambda rows: _collate(rows, batch_size))
    options = grain.ReadOptions(num_threads=read_threads, prefetch_buffer_size=2 * read_threads)
    for chunk in chunks.to_iter_dataset(options):
        yield Batch(*(leaf[0] for leaf in (chunk.inputs, chunk.labels, chunk.mask, chunk.index)))


def _collate(rows: Sequence[tuple[int, Item]], batch_size: int) -> Batch:
    """Rows → a chunk [steps, batch_size, …], padded with zeros to whole batches."""
    n_steps = math.ceil(len(rows) / batch_size)

    def stack(values: Sequence[Any], dtype: Any) -> np.ndarray:
        shape = np.shape(values[0])
        out = np.zeros((n_steps * batch_size, *shape), dtype)
        np.stack(values, out=out[: len(values)])
        return out.reshape(n_steps, batch_size, *shape)

    index, items = zip(*rows, strict=True)
    inputs, labels = zip(*items, strict=True)
    return Batch(
        inputs=stack(inputs, inputs[0].dtype),
        labels=stack(labels, np.uint8),
        mask=stack([1] * len(rows), np.float32),
        index=stack(index, np.int32),
    )
