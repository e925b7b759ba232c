"""A network's predictions for all items of a split."""

from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, UInt8

from mumu_jax import parallel
from mumu_jax.batch import Batch
from mumu_jax.objective import Constants
from mumu_jax.step import Network, predict_step


class SplitPredictions(NamedTuple):
    """Of all items of a split, in its order; on the host."""

    loss: float
    scores: Float[np.ndarray, "items labels"]
    labels: UInt8[np.ndarray, "items labels"]
    embedding: Float[np.ndarray, "items d"]


_predict = partial(jax.jit, static_argnames="network")(predict_step)


def predict(
    params: Any, batches: Iterable[Batch], constants: Constants, network: Network, mesh: Mesh
) -> SplitPredictions:
    """Run the network over `batches` (padding is dropped).  The loss is the mean over the items that count."""
    losses, weights, scores, labels, embeddings = [], [], [], [], []
    for batch in batches:
        real = batch.mask > 0
        found = jax.device_get(_predict(params, parallel.put_batch(batch, mesh), constants, network))
        losses.append(found.loss)
        weights.append(found.weight)
        scores.append(found.scores[real])
        labels.append(batch.labels[real])
        embeddings.append(found.embedding[real])
    total = float(np.sum(weights, dtype=np.float64))
    loss = float(np.dot(np.array(losses, np.float64), weights)) / total if total else float("nan")
    return SplitPredictions(loss, *map(np.concatenate, (scores, labels, embeddings)))
