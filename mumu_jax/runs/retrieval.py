"""Retrieval by a joint network's embeddings: if each song finds its own lyrics among those of all songs, and back."""

from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from mumu_jax.data.store.records import Records
from mumu_jax.objectives.contrastive import CONTRAST, PAIRS
from mumu_jax.objectives.cosine import l2_normalize
from mumu_jax.runs.folder import TrainedRun
from mumu_jax.runs.prediction import Watch, predict_tracks

_ROWS = 1024  # compared with all items at a time


@dataclass(frozen=True)
class Projections:
    """A joint network whose penultimate vector is both embeddings that its contrastive loss compares."""

    model: nn.Module

    def apply(self, variables: Any, inputs: Any) -> tuple[Array, Float[Array, "items d"]]:
        """Return (output, embeddings): one after the other, in the alphabetical order of the modalities."""
        (output, _), sown = self.model.apply(variables, inputs, mutable=[PAIRS])
        pair: Any = sown[PAIRS][CONTRAST][0]
        return output, jnp.concatenate(pair[:2], axis=1)


def score_retrieval(run: TrainedRun, records: Records, watch: Watch) -> dict[str, float]:
    """Return recall@1 by direction, such as `lyrics_to_mel`, and by chance; {} of a run without contrastive loss."""
    network = run.first.network
    if not network.contrast:
        return {}
    model: Any = Projections(network.model)
    first = replace(run.first, network=network._replace(model=model))
    both = predict_tracks(first, run.inputs, records, len(run.labels), watch).embedding
    # Those of several patches are means, which are shorter than 1.
    a, b = (np.asarray(l2_normalize(jnp.asarray(half))) for half in np.split(both, 2, axis=1))
    name, other = sorted(run.config.inputs)
    return {
        f"{name}_to_{other}": recall_at_1(a, b),
        f"{other}_to_{name}": recall_at_1(b, a),
        "chance": 1 / len(both),
    }


def recall_at_1(queries: Float[np.ndarray, "items d"], others: Float[np.ndarray, "items d"]) -> float:
    """Return the share of queries whose own counterpart is the most similar one, by the product of both.

    Counterparts that are as similar share the place: n equal ones count 1/n, so that constant embeddings are chance.
    """
    hits = 0.0
    for low in range(0, len(queries), _ROWS):
        rows = queries[low : low + _ROWS] @ others.T
        own = np.take_along_axis(rows, np.arange(low, low + len(rows))[:, None], axis=1)
        hits += np.sum((rows <= own).all(axis=1) / (rows == own).sum(axis=1))
    return float(hits / len(queries))
