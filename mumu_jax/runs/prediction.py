"""Predictions of a trained run: scores and vectors of its items, and of albums the mean vectors of their tracks."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from jaxtyping import Float

from mumu_jax.batch import Batch
from mumu_jax.compute import devices
from mumu_jax.compute.predict import SplitPredictions, predict
from mumu_jax.config import Config
from mumu_jax.data.loader import Items, Records, Schedule, spread_items
from mumu_jax.data.modalities.audio.patches import spread
from mumu_jax.data.modalities.inputs import Inputs
from mumu_jax.runs.albums import AlbumMeans, AlbumVectors
from mumu_jax.runs.folder import Trained, TrainedRun
from mumu_jax.training.feed import Feed

Watch = Callable[[Iterable[Batch]], Iterator[Batch]]
Fold = Callable[[Float[np.ndarray, "items d"]], None]  # takes the vectors of the next items


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
    """Return the predictions for records: of tracks for their fixed patch, or the mean of `config.data.patches`."""
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
