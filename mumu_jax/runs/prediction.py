"""Predictions of a trained run: scores and vectors of its items, and of albums the mean vectors of their tracks."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from mumu_jax.batch import Batch
from mumu_jax.compute import devices
from mumu_jax.compute.network import VECTORS
from mumu_jax.compute.predict import SplitPredictions, predict
from mumu_jax.config import Config
from mumu_jax.data.loader import Items, Records, Schedule, array_items, spread_items
from mumu_jax.data.modalities.audio.patches import spread
from mumu_jax.data.modalities.inputs import Inputs
from mumu_jax.runs.folder import Trained, TrainedRun
from mumu_jax.training.feed import Feed

Watch = Callable[[Iterable[Batch]], Iterator[Batch]]
Fold = Callable[[Float[np.ndarray, "items d"]], None]  # takes the vectors of the next items


class AlbumVectors(NamedTuple):
    """Albums in the order of their first track."""

    album_ids: list[str]
    vectors: Float32[np.ndarray, "albums d"]
    labels: UInt8[np.ndarray, "albums labels"]

    @property
    def items(self) -> Items:
        """The albums as an album network sees them."""
        return array_items({VECTORS: self.vectors}, self.labels)


class AlbumMeans:
    """The mean vector of each album's items, summed up while the items are predicted, in their order.

    MuMu's tracks have 2 GB of vectors, its albums 0.4 GB: sums are in float64 within a call of `add`, in float32 from
    one to the next.  `patches` is the number of vectors of each item.
    """

    def __init__(self, album_ids: Sequence[str], patches: int = 1) -> None:
        self.album_ids, group, self.first = group_by_album(album_ids)
        self._group, self._n_added, self._sums = group.repeat(patches), 0, np.zeros((), np.float32)

    def add(self, vectors: Float[np.ndarray, "items d"]) -> None:
        """Add the vectors of the next items."""
        if not self._n_added:
            self._sums = np.zeros((len(self.album_ids), vectors.shape[1]), np.float32)
        albums, place = np.unique(self._group[self._n_added : self._n_added + len(vectors)], return_inverse=True)
        sums = np.zeros((len(albums), vectors.shape[1]))
        np.add.at(sums, place, vectors)
        self._sums[albums] += sums
        self._n_added += len(vectors)

    def means(self) -> Float32[np.ndarray, "albums d"]:
        """Return the means, when all items were added."""
        return self._sums / np.bincount(self._group).astype(np.float32)[:, None]

    def albums(self, labels: UInt8[np.ndarray, "items labels"]) -> AlbumVectors:
        """Return the albums, when all items were added, whose labels these are."""
        return AlbumVectors(self.album_ids, self.means(), labels[self.first])


def predict_items(
    trained: Trained, feed: Feed, batch_size: int, chunk_steps: int, watch: Watch = iter, fold: Fold | None = None
) -> SplitPredictions:
    """Return the predictions of a network that was read from a run's folder, which may come from another machine.

    Batches are of `batch_size` items, or of as many more as it takes for the devices to divide them; `watch` sees
    their chunks pass, and may end it all.  `fold` is as for `predict`.
    """
    in_order = Schedule(len(feed.items), batch_size + -batch_size % feed.mesh.size, chunk_steps)
    chunks = watch(feed.chunks(in_order, range(in_order.epoch_chunks)))
    variables, constants = devices.put_replicated((trained.variables, trained.constants), feed.mesh)
    return predict(variables, chunks, constants, trained.network, feed.mesh, fold=fold)


def predict_once(
    trained: Trained, items: Items, config: Config, watch: Watch = iter, fold: Fold | None = None
) -> SplitPredictions:
    """Return `predict_items` for items that are needed once, in the run's own batches."""
    feed = Feed(items, "streaming", config.data.read_threads, devices.make_mesh())
    return predict_items(trained, feed, config.optim.batch_size, config.loop.chunk_steps, watch, fold)


def predict_tracks(
    trained: Trained, inputs: Inputs, records: Records, n_labels: int, watch: Watch = iter, fold: Fold | None = None
) -> SplitPredictions:
    """Return the predictions for records: of tracks for their fixed patch, or the mean of `config.data.patches`.

    `fold` takes the vectors of all patches.
    """
    n = inputs.config.data.patches
    items = inputs.items(records, n_labels, "random" if n else "fixed")
    if not n:
        return predict_once(trained, items, inputs.config, watch, fold)
    predictions = predict_once(trained, spread_items(items, spread(n)), inputs.config, watch, fold)
    shape = (len(records), n)
    scores, embedding = (one.reshape(*shape, one.shape[1]) for one in (predictions.scores, predictions.embedding))
    return predictions._replace(
        scores=trained.network.objective.of_patches(scores),
        labels=predictions.labels[::n],
        embedding=embedding.mean(axis=1),
        patches=scores,
    )


def see_items(run: TrainedRun, records: Records, watch: Watch = iter) -> tuple[SplitPredictions, AlbumVectors]:
    """Return the first network's predictions for the records, and the feature vectors of their albums.

    The vectors are the mean of an album's tracks (Oramas et al. 2017, section 5.1, step 2), or of the album's own item.
    Predictions for tracks are without their vectors.
    """
    seen = (run.first, run.inputs, records, len(run.labels), watch)
    if run.inputs.level == "album":
        predictions = predict_tracks(*seen)
        return predictions, AlbumVectors(records.album_ids, predictions.embedding, predictions.labels)
    means = AlbumMeans(records.album_ids, max(1, run.inputs.config.data.patches))
    predictions = predict_tracks(*seen, means.add)
    return predictions, means.albums(predictions.labels)


def mean_by_album(
    vectors: Float[np.ndarray, "items d"], album_ids: Sequence[str]
) -> tuple[list[str], Float32[np.ndarray, "albums d"], Int[np.ndarray, " albums"]]:
    """Return the albums in the order of their first item, the mean of each one's vectors, and its first item's row."""
    means = AlbumMeans(album_ids)
    means.add(vectors)
    return means.album_ids, means.means(), means.first


def group_by_album(
    album_ids: Sequence[str],
) -> tuple[list[str], Int[np.ndarray, " items"], Int[np.ndarray, " albums"]]:
    """Return the albums in the order of their first item, the number of each item's album, and each one's first row."""
    row: dict[str, int] = {}
    group = np.array([row.setdefault(album, len(row)) for album in album_ids])
    _, first = np.unique(group, return_index=True)
    return list(row), group, first
