"""Boosted trees as a Flax module, so that runs, scores, tags and exports treat them as any network.

`runs/boosting.py` grows the trees (Chen and Guestrin, XGBoost, 2016); no gradient reaches them.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float, Key

from mumu_jax.config import ModelSettings
from mumu_jax.errors import UserError
from mumu_jax.models.head import Shallow
from mumu_jax.models.registry import Output, register


class Forest(NamedTuple):
    """A tree for each output in each round, all of them complete binary trees.

    Split i of a tree sends an item whose `feature` is below `threshold` to split 2i + 1, and others to split 2i + 2;
    behind the last splits are the leaves.  An output is `start` and the sum of its leaves' values.
    """

    feature: Any  # int32 [rounds, outputs, splits]
    threshold: Any  # float32, likewise
    value: Any  # float32 [rounds, outputs, leaves]
    start: Any  # float32 [outputs]

    def outputs(self, x: Float[Array, "items d"]) -> Float[Array, "items outputs"]:
        """Return the outputs of rows.  Rounds after the last one that an output has grown in are left out."""
        n_splits = self.feature.shape[-1]
        grown = (jnp.asarray(self.value) != 0).any(axis=(1, 2))
        n_rounds = jnp.max(jnp.where(grown, jnp.arange(1, len(grown) + 1), 0))

        def add_round(i: Array, total: Array) -> Array:
            trees = (self.feature, self.threshold, self.value)
            feature, threshold, value = (lax.dynamic_index_in_dim(one, i, keepdims=False) for one in trees)
            place = jnp.zeros(total.shape, jnp.int32)
            output = jnp.arange(total.shape[1])
            for _ in range((n_splits + 1).bit_length() - 1):
                is_above = jnp.take_along_axis(x, feature[output, place], axis=1) >= threshold[output, place]
                place = 2 * place + 1 + is_above
            return total + value[output, place - n_splits]

        total = jnp.broadcast_to(self.start, (x.shape[0], len(self.start)))
        return lax.fori_loop(0, n_rounds, add_round, total)


class Trees(nn.Module):
    """A forest, and an output layer that hands its outputs on: an album's are the mean of its tracks'.

    The forest is kept with the running statistics, which no optimizer changes.
    """

    n_outputs: int
    unit_output: bool
    rounds: int
    depth: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "items d"], dropout_keys: Key[Array, " items"] | None = None, members: Any = None
    ) -> tuple[Float[Array, "items outputs"], Float[Array, "items outputs"]]:
        """Return (output, embedding) of standardised rows: the same, once the output layer is the identity."""
        forest = self.variable("batch_stats", "forest", self._random, x.shape[1]).value
        return Shallow(self.n_outputs, self.unit_output, name="output")(Forest(**forest).outputs(x))

    def _random(self, width: int) -> dict[str, Array]:
        """Return a forest of random splits and values."""
        n_splits = 2**self.depth - 1
        trees = (self.rounds, self.n_outputs)
        keys = jax.random.split(self.make_rng("params"), 3)
        forest = Forest(
            feature=jax.random.randint(keys[0], (*trees, n_splits), 0, width),
            threshold=jax.random.normal(keys[1], (*trees, n_splits)),
            value=jax.random.normal(keys[2], (*trees, n_splits + 1)),
            start=jnp.zeros(self.n_outputs),
        )
        return forest._asdict()


@register(
    "trees",
    sees=("timbre", "descriptors", "fusion"),
    settings=("rounds", "tree_depth", "subsample"),
    by_gradient=False,
)
def build_trees(settings: ModelSettings, output: Output) -> Trees:
    """Build the trees that `settings` name; raises UserError if their outputs are not logits."""
    if output.unit:
        raise UserError(
            "config.target.kind='cosine' has factors as targets, and boosted trees predict logits; use 'logistic', or "
            "'softmax' for one genre an album"
        )
    return Trees(output.size, output.unit, settings.rounds, settings.tree_depth)


def identity_layer(n_outputs: int) -> dict[str, Any]:
    """Return the parameters of an output layer that hands its input on."""
    return {"dense": {"kernel": np.eye(n_outputs, dtype=np.float32), "bias": np.zeros(n_outputs, np.float32)}}
