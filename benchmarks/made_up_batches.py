"""Made-up batches: noise in the shape of an experiment's training data, and the network that it trains.

It needs as few packages as `benchmarks.device`, unlike `made_up`, which writes prepared data.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mumu_jax.batch import Batch, Sparse
from mumu_jax.compute.network import Constants, Standardisation, item_network
from mumu_jax.config import Config
from mumu_jax.models.kernels.sparse import densify
from mumu_jax.objectives import make_objective
from mumu_jax.objectives.label_graph import fit_label_graph

N_LABELS, LABELS_PER_ITEM = 250, 5.97  # MuMu's
N_GENRES = 18  # the album-cover study's, one an album
N_DIFFERENT = 1_024  # items of a chunk; more are the same ones again, because noise takes long to draw
N_FITTED = 1_000  # albums that the objective is fitted on
NNZ = 100  # different words in 1,000 characters, about
N_TOKENS = 128  # of a text with an encoder
ZIPF = 0.8  # exponent: the larger, the more often the common words come

Shape = tuple[int, int]  # steps, items


class Problem:
    """An experiment's network and constants, and batches of noise to train it on."""

    def __init__(self, config: Config, n_labels: int | None = None):
        self.config, self._objective = config, make_objective(config.target)
        self.n_labels = n_labels or (N_GENRES if self._objective.single_label else N_LABELS)
        rng = np.random.default_rng(0)
        labels = self._labels((1, N_FITTED), rng)[0]
        fitted = self._objective.fit(labels)
        if config.target.head == "graph":
            width = config.model.bert.width if config.names_labels else config.target.n_factors
            fitted |= fit_label_graph(labels, rng.normal(size=(self.n_labels, width)))
        self.constants = Constants({name: STANDARDISATIONS[name](config) for name in config.inputs}, fitted)
        self.network = item_network(config, self.n_labels, fitted)

    def chunk(self, n_steps: int, batch_size: int) -> Batch:
        """Return a chunk on the host, the same for the same arguments."""
        shape, rng = (n_steps, batch_size), np.random.default_rng(0)
        rows = np.arange(n_steps * batch_size) % N_DIFFERENT
        different = (1, min(len(rows), N_DIFFERENT))
        inputs = {name: NOISES[name](self.config, different, rng) for name in self.config.inputs}

        def repeat(leaf: np.ndarray) -> np.ndarray:
            return leaf[0, rows].reshape(*shape, *leaf.shape[2:])

        inputs, labels = jax.tree.map(repeat, (inputs, self._labels(different, rng)))
        return Batch(inputs, labels, np.ones(shape, np.float32))

    def _labels(self, shape: Shape, rng: np.random.Generator) -> np.ndarray:
        """Return multi-hot labels: about six an item, or one if the objective needs that."""
        if self._objective.single_label:
            return (rng.integers(self.n_labels, size=shape)[..., None] == np.arange(self.n_labels)).astype(np.uint8)
        share = min(LABELS_PER_ITEM / self.n_labels, 0.5)
        return (rng.random((*shape, self.n_labels)) < share).astype(np.uint8)


def item_of(chunk: Batch) -> Any:
    """Return the shapes and dtypes of one item's inputs."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[2:], leaf.dtype), chunk.inputs)


def densified(chunk: Batch) -> Batch:
    """Return the chunk with the zeros of its sparse rows."""

    def dense(inputs: Any) -> Any:
        if not isinstance(inputs, Sparse):
            return inputs
        return np.asarray(jax.vmap(partial(densify, n_terms=inputs.n_columns))(inputs))

    return Batch({name: dense(inputs) for name, inputs in chunk.inputs.items()}, chunk.labels, chunk.mask)


# --- by modality ------------------------------------------------------------------------------------------------


def _patches(config: Config, shape: Shape, rng: np.random.Generator) -> np.ndarray:
    patches = rng.uniform(config.audio.floor_db, 0, (*shape, config.audio.patch_frames, config.audio.n_bins))
    return patches.astype(np.float16)


def _mel(config: Config, shape: Shape, rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(0, 1, (*shape, config.mel.patch_frames, config.mel.n_bins)).astype(np.float16)


def _images(config: Config, shape: Shape, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (*shape, config.image.side_px, config.image.side_px, 3), np.uint8)


def _texts(config: Config, shape: Shape, rng: np.random.Generator) -> Sparse:
    """Return texts of NNZ different words, common ones more often, in rows of length 1 as tf-idf gives them."""
    n_terms = config.tfidf.n_terms
    shares = np.arange(1.0, n_terms + 1) ** -ZIPF
    # The words with the NNZ smallest exponential times of these rates: drawn by their shares, none twice.
    times = rng.exponential(size=(*shape, n_terms)) / shares
    columns = np.argpartition(times, NNZ, axis=-1)[..., :NNZ].astype(np.int32)
    values = rng.uniform(0.5, 1.5, (*shape, NNZ)).astype(np.float32) / NNZ**0.5
    return Sparse(columns, values, n_terms)


def _tokens(config: Config, shape: Shape, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(1, config.model.bert.n_tokens, (*shape, N_TOKENS), np.int32)


NOISES: dict[str, Callable[[Config, Shape, np.random.Generator], Any]] = {
    "audio": _patches,
    "mel": _mel,
    "image": _images,
    "text": _texts,
    "lyrics": _tokens,
}


def _constant(shape: tuple[int, ...], mean: float, std: float) -> Standardisation:
    return Standardisation(jnp.full(shape, mean), jnp.full(shape, std))


# Of the noise, about; that of texts leaves dense rows as they are.
STANDARDISATIONS: dict[str, Callable[[Config], Standardisation]] = {
    "audio": lambda config: _constant((config.audio.patch_frames, config.audio.n_bins), -40, 23),
    "mel": lambda config: _constant((), 0, 1),  # the networks standardise it themselves
    "image": lambda config: _constant((3,), 0.5, 0.29),
    "text": lambda config: _constant((), 0, 1),
    "lyrics": lambda config: _constant((), 0, 1),
}
