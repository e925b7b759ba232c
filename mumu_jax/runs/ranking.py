"""The order of a published network's tags."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64
from scipy.special import logit

from mumu_jax.data.manifest import Label

LEAST_PROBABILITY = 1e-7  # keeps a logit finite


def log_odds(probabilities: Float[np.ndarray, "..."]) -> Float64[np.ndarray, "..."]:
    """Return the finite log-odds of probabilities, 0 and 1 among them."""
    return logit(np.clip(probabilities.astype(np.float64), LEAST_PROBABILITY, 1 - LEAST_PROBABILITY))


class Ranking(NamedTuple):
    """The order of a published network's tags: which of them are genres, and the logit of each for what tells nothing.

    The frequent tags of a vocabulary are probable for every song; those that a song has above its prior describe it.
    """

    is_genre: Bool[np.ndarray, " labels"]
    prior: Float[np.ndarray, " labels"]

    def best(
        self, labels: Sequence[Label], scores: Float[np.ndarray, " labels"], n: int, all_tags: bool
    ) -> list[tuple[str, float]]:
        """Return the `n` genres, or tags, whose logits are most above their priors, with their probabilities."""
        order = np.argsort(self.prior - log_odds(scores), kind="stable")
        chosen = [i for i in order if all_tags or self.is_genre[i]]
        return [(labels[i].name, float(scores[i])) for i in chosen[:n]]
