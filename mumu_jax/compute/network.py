"""Preprocessing and forward pass, as the training step calls them."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Float, Key

from mumu_jax.compression import Compression
from mumu_jax.compute.augment import Augmentation, augment, centre_view
from mumu_jax.config import Config
from mumu_jax.models import family_of
from mumu_jax.models.batch_norm import Members
from mumu_jax.models.head import GRAPH, Shallow
from mumu_jax.models.registry import Output
from mumu_jax.objectives import Fitted, Objective, make_objective
from mumu_jax.objectives.contrastive import CONTRAST, PAIRS
from mumu_jax.objectives.label_graph import ADJACENCY, FEATURES

Keys = Key[Array, " items"]
Inputs = Mapping[str, Any]  # by modality, as `Batch.inputs`

VECTORS = "vectors"  # the input of an album network: the mean feature vector of an album's tracks


@struct.dataclass
class Standardisation:
    """The mean and standard deviation of each position of an input (of images, of each colour)."""

    mean: Any  # float32
    std: Any


@struct.dataclass
class Constants:
    """Arrays that the step needs beside parameters: fitted on the data, kept in the run's folder."""

    inputs: dict[str, Standardisation]  # by modality
    fitted: Fitted  # the objective's, such as label factors


class Network(NamedTuple):
    """Everything that turns variables (parameters and running statistics) into predictions; static under `jit`."""

    model: nn.Module
    objective: Objective
    trainable: str = ""  # config.model.trained
    views: tuple[tuple[str, Augmentation], ...] = ()  # by modality, of those that are seen in random views
    compressions: tuple[tuple[str, Compression], ...] = ()  # likewise, of those whose logarithm is seen
    contrast: float = 0.0  # the share of the contrastive loss, of a model that sows pairs
    graph: tuple[int, int] | None = None  # of a graph head: the labels, and the width of their features


def item_network(config: Config, n_labels: int, fitted: Fitted) -> Network:
    """Build the network that sees the items; `fitted` is the objective's, {} if nothing is fitted yet."""
    objective = make_objective(config.target)
    output = Output(objective.n_outputs(n_labels, fitted), objective.unit_output)
    views = (("image", Augmentation(**dataclasses.asdict(config.augment))),)
    views = tuple(view for view in views if view[0] in config.inputs)
    compressions = (("mel", Compression(config.mel.level, config.mel.floor_db)),)
    compressions = tuple(one for one in compressions if one[0] in config.inputs)
    family = family_of(config)
    model = family.build(config.model, output)
    contrast = config.model.joint.contrast if "joint.contrast" in family.settings else 0.0
    graph = _graph_shape(config, n_labels, fitted)
    return Network(model, objective, config.model.trained, views, compressions, contrast, graph)


def album_network(config: Config, n_labels: int, fitted: Fitted) -> Network:
    """Build the network that sees the mean feature vectors of albums, as VECTORS (Oramas et al. 2017, section 5.1)."""
    objective = make_objective(config.target)
    model = Shallow(objective.n_outputs(n_labels, fitted), objective.unit_output)
    return Network(model, objective, graph=_graph_shape(config, n_labels, fitted))


def _graph_shape(config: Config, n_labels: int, fitted: Fitted) -> tuple[int, int] | None:
    """Return the labels and the width of their features, at most if nothing is fitted; None without a graph head."""
    if config.target.head != "graph":
        return None
    if fitted:
        return n_labels, fitted[FEATURES].shape[1]
    return n_labels, config.model.bert.width if config.names_labels else min(config.target.n_factors, n_labels)


def constants_of_vectors(constants: Constants, width: int) -> Constants:
    """Return the album network's constants: it sees vectors as they are (Oramas et al. 2017, section 5.1, step 3)."""
    unchanged = Standardisation(np.zeros(width, np.float32), np.ones(width, np.float32))
    return Constants({VECTORS: unchanged}, constants.fitted)


def see(network: Network, inputs: Inputs, constants: Constants, keys: Keys | None = None) -> Any:
    """Standardise stored inputs (float32) on the device.

    Images are augmented if `keys` is given, else centre-cropped; of mel spectrograms the logarithm is taken first.

    Sparse rows stay as they are: without their zeros they would not be sparse.  So do the ids of tokens, int32.
    Returns the one modality's array, or a dict of arrays if there are several.
    """
    views, compressions = dict(network.views), dict(network.compressions)

    def see_one(name: str, array: Any) -> Any:
        if not hasattr(array, "astype") or array.dtype == jnp.int32:
            return array
        if name in views:
            view = views[name]
            array = centre_view(array, view.size_px) if keys is None else augment(array, keys, view)
        array = array.astype(jnp.float32)
        if name in compressions:
            array = compressions[name](array, jnp)
        return (array - constants.inputs[name].mean) / constants.inputs[name].std

    seen = {name: see_one(name, array) for name, array in inputs.items()}
    return seen if len(seen) > 1 else next(iter(seen.values()))


def example_of(network: Network, item: Inputs) -> Any:
    """Return what the network sees of one item [1, …] that is all zero; `item` is a tree of `jax.ShapeDtypeStruct`."""
    zeros = jax.tree.map(lambda leaf: jnp.zeros((1, *leaf.shape), leaf.dtype), dict(item))
    unchanged = dict.fromkeys(item, Standardisation(jnp.zeros(()), jnp.ones(())))
    return see(network, zeros, Constants(unchanged, {}))


def initial_variables(network: Network, key: Key[Array, ""], item: Inputs) -> dict[str, Any]:
    """Return the first parameters and running statistics, for inputs of the shapes and dtypes of `item`."""
    graph = {}
    if network.graph is not None:
        n_labels, width = network.graph
        graph = _graph(network, {ADJACENCY: jnp.zeros((n_labels, n_labels)), FEATURES: jnp.zeros((n_labels, width))})
    kept = nn.DenyList(["intermediates", GRAPH])
    _, variables = network.model.apply(graph, example_of(network, item), rngs={"params": key}, mutable=kept)
    return {name: variables.get(name, {}) for name in ("params", "batch_stats")}


def apply(
    network: Network, variables: Any, inputs: Any, constants: Constants
) -> tuple[Float[Array, "items outputs"], Float[Array, "items d"]]:
    """Return the network's output and penultimate vectors for what it sees."""
    variables = {**variables, **_graph(network, constants.fitted)}
    output, embedding = cast(tuple[Array, Array], network.model.apply(variables, inputs))
    return output, embedding


class InTraining(NamedTuple):
    """The results of a network in training for a batch."""

    output: Float[Array, "items outputs"]
    batch_stats: Any  # the new running statistics
    pair: Any  # of a model that sows pairs: two embeddings of each item, and the logarithm of the temperature


def apply_in_training(
    network: Network, variables: Any, inputs: Any, constants: Constants, dropout_keys: Keys, members: Members
) -> InTraining:
    """Apply the network with dropout and the statistics of the batch, whose `members` are on all devices."""
    of_batch = (members,) if variables["batch_stats"] else ()
    collections = ["batch_stats", PAIRS] if network.contrast else ["batch_stats"]
    variables = {**variables, **_graph(network, constants.fitted)}
    (output, _), new = network.model.apply(variables, inputs, dropout_keys, *of_batch, mutable=collections)
    return InTraining(output, new.get("batch_stats", {}), new[PAIRS][CONTRAST][0] if network.contrast else None)


def _graph(network: Network, fitted: Fitted) -> dict[str, Any]:
    """Return the collection of variables in which the output layer finds the graph of the labels; none without one."""
    if network.graph is None:
        return {}
    graph = {"adjacency": fitted[ADJACENCY], "features": fitted[FEATURES]}
    return {GRAPH: graph if isinstance(network.model, Shallow) else {"output": graph}}
