"""The loader: the order in which items come, and Grain pipelines that read them from prepared records.

Order and random patches depend on the seed and the chunk's number alone, so that number is a loader's whole state,
and whoever holds a split otherwise (on the devices, say) can serve the same examples in the same order.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Float, Int32, UInt8

from mumu_jax.batch import Batch
from mumu_jax.system.allocator import keep_freed_memory

PREFETCH_BYTES = 1_000_000_000  # at most this much is read ahead, unless one chunk is more

Rows = Int32[np.ndarray, " n"]
Uniforms = Float[np.ndarray, " n"]  # in [0, 1): where a random patch lies


class Cut(NamedTuple):
    """The way to cut random patches, each as long as an item's input, out of whole records: arrays [frames, …]."""

    start: Callable[[int, float], int]  # (frames of the record, uniform) → first frame of the patch
    filling: float | None  # of what a record is shorter than a patch; None: it is repeated
    n_bytes: int  # of all records


@dataclass(frozen=True)
class Items:
    """A split as a network sees it: `read(rows, uniforms, inputs, labels)` fills in those rows of the split.

    `item` tells the shape and dtype of an item's input, which may be a tree of arrays, as `batch.Sparse` is.  `cuts`
    are by modality, of those that are seen in random patches: without uniforms, `read` puts their whole records there.
    """

    read: Callable[[Rows, Uniforms | None, Any, UInt8[np.ndarray, "n labels"]], None]
    n_items: int
    item: Any
    n_labels: int
    cuts: Mapping[str, Cut] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.n_items

    @property
    def item_bytes(self) -> int:
        """The size of an item's input and labels."""
        return _n_bytes(self.item) + self.n_labels

    @property
    def n_bytes(self) -> int:
        """The size of all items, as arrays of inputs and labels; with whole records in place of random patches."""
        patches = sum(_n_bytes(self.item[name]) for name in self.cuts)
        return self.n_items * (self.item_bytes - patches) + sum(cut.n_bytes for cut in self.cuts.values())

    def empty(self, n: int) -> Any:
        """Return room for the inputs of `n` items."""
        return jax.tree.map(lambda leaf: np.empty((n, *leaf.shape), leaf.dtype), self.item)


def _n_bytes(item: Any) -> int:
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(item))


@dataclass(frozen=True)
class Schedule:
    """The rows of a split that each batch holds: chunks of up to `chunk_steps` batches, epoch after epoch.

    Every epoch has a new order (without `seed`: that of the split).  No chunk crosses an epoch's end.
    """

    n_items: int
    batch_size: int
    chunk_steps: int
    seed: int | None = None

    @property
    def epoch_steps(self) -> int:
        """Steps of an epoch; the last batch may be partly padding."""
        return math.ceil(self.n_items / self.batch_size)

    @property
    def epoch_chunks(self) -> int:
        return math.ceil(self.epoch_steps / self.chunk_steps)

    def chunk_of(self, step: int) -> int:
        """Return the number of the chunk that begins after `step` steps."""
        epoch, rest = divmod(step, self.epoch_steps)
        return epoch * self.epoch_chunks + rest // self.chunk_steps

    def rows(self, chunk: int) -> Int32[np.ndarray, "steps items"]:
        """Return the chunk's rows; `n_items`, which is no row, stands for padding in the epoch's last batch."""
        epoch, part = divmod(chunk, self.epoch_chunks)
        order = _epoch_order(self, epoch)
        return order[part * self.chunk_steps : (part + 1) * self.chunk_steps]

    def n_items_of(self, chunk: int) -> int:
        """Return the number of items in the chunk, without padding."""
        return int(np.count_nonzero(self.rows(chunk) < self.n_items))

    def uniforms(self, chunk: int) -> Float[np.ndarray, "steps items"]:
        """Return where the chunk's random patches start, 0 to below 1."""
        return np.random.default_rng((self.seed or 0, 1, chunk)).random(self.rows(chunk).shape)


@lru_cache(maxsize=8)
def _epoch_order(schedule: Schedule, epoch: int) -> Int32[np.ndarray, "steps items"]:
    n_items, steps = schedule.n_items, schedule.epoch_steps
    order = np.full(steps * schedule.batch_size, n_items, np.int32)
    if schedule.seed is None:
        order[:n_items] = np.arange(n_items)
    else:
        order[:n_items] = np.random.default_rng((schedule.seed, 0, epoch)).permutation(n_items)
    return order.reshape(steps, schedule.batch_size)


@runtime_checkable
class Records(Protocol):
    """Random access to the records of a split, as `store` gives it."""

    @property
    def album_ids(self) -> list[str]: ...

    @property
    def item_ids(self) -> list[str]: ...

    def __len__(self) -> int: ...

    def read(self, rows: Any) -> Iterable[dict[str, Any]]: ...


def join_items(
    parts: Mapping[str, tuple[Items, Int32[np.ndarray, " items"] | None]], n_items: int, cuts: Mapping[str, Cut]
) -> Items:
    """Return items whose input is a dict of the parts' inputs by modality.

    Beside each part are the rows of it that belong to the items; None if they are all its own, in its own order.  The
    labels are those of the first part.
    """
    first, _ = next(iter(parts.values()))

    def read(rows: Rows, uniforms: Uniforms | None, inputs: dict[str, Any], labels: Any) -> None:
        for name, (items, own_rows) in parts.items():
            its_labels = labels if items is first else np.zeros_like(labels)
            items.read(rows if own_rows is None else own_rows[rows], uniforms, inputs[name], its_labels)

    shapes = {name: items.item for name, (items, _) in parts.items()}
    return Items(read, n_items, shapes, first.n_labels, cuts)


def spread_items(items: Items, uniforms: Sequence[float]) -> Items:
    """Return items of which each n rows are one of the given ones, which takes uniforms, with n `uniforms`."""
    n, places = len(uniforms), np.array(uniforms)

    def read(rows: Rows, _: Uniforms | None, inputs: Any, labels: Any) -> None:
        items.read(rows // n, places[rows % n], inputs, labels)

    return Items(read, n * len(items), items.item, items.n_labels)


def array_items(inputs: Any, labels: UInt8[np.ndarray, "n labels"]) -> Items:
    """Return items that are rows of arrays in memory: feature vectors [n, d] or `Sparse` rows, and labels."""

    def read(rows: Rows, _: Uniforms | None, inputs_out: Any, labels_out: np.ndarray) -> None:
        def take(source: np.ndarray, out: np.ndarray) -> None:
            np.take(source, rows, axis=0, out=out, mode="clip")

        jax.tree.map(take, (inputs, labels), (inputs_out, labels_out))

    item = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), inputs)
    return Items(read, len(labels), item, labels.shape[1])


def multi_hot(columns: Sequence[int] | np.ndarray, n_labels: int) -> np.ndarray:
    """Return [n_labels] uint8 with 1 at `columns`."""
    labels = np.zeros(n_labels, np.uint8)
    labels[columns] = 1
    return labels


def read_rows(
    items: Items, rows: Int32[np.ndarray, " n"], uniforms: Uniforms
) -> tuple[Any, UInt8[np.ndarray, "n labels"]]:
    """Return (inputs, labels) of `rows`; zeros for the last ones if they are padding."""
    n_real = int(np.searchsorted(rows >= len(items), True))
    inputs, labels = items.empty(len(rows)), np.zeros((len(rows), items.n_labels), np.uint8)
    real = jax.tree.map(lambda leaf: leaf[:n_real], inputs)
    items.read(rows[:n_real], uniforms[:n_real], real, labels[:n_real])
    for leaf in jax.tree.leaves(inputs):
        leaf[n_real:] = 0
    return inputs, labels


def read_chunk(items: Items, schedule: Schedule, chunk: int, part: slice = slice(None)) -> Batch:
    """Read a chunk [steps, items, …], of each batch the items in `part`; padded with zeros, and masked."""
    rows, uniforms = schedule.rows(chunk)[:, part], schedule.uniforms(chunk)[:, part]
    inputs, labels = read_rows(items, rows.ravel(), uniforms.ravel())
    mask = (rows < len(items)).astype(np.float32)
    inputs, labels = jax.tree.map(lambda leaf: leaf.reshape(*rows.shape, *leaf.shape[1:]), (inputs, labels))
    return Batch(inputs, labels, mask)


def stream(
    items: Items, schedule: Schedule, chunks: range, read_threads: int, part: slice = slice(None)
) -> Iterator[Batch]:
    """Yield those chunks of the schedule, read ahead by `read_threads` threads."""
    import grain  # here, because the order of a split that is held on a device needs none of it

    keep_freed_memory()
    numbers = grain.MapDataset.range(chunks.start, chunks.stop)
    ahead = max(1, PREFETCH_BYTES // (items.item_bytes * schedule.batch_size * schedule.chunk_steps))
    options = grain.ReadOptions(num_threads=min(read_threads, ahead), prefetch_buffer_size=min(2 * read_threads, ahead))
    return iter(numbers.map(lambda chunk: read_chunk(items, schedule, chunk, part)).to_iter_dataset(options))
