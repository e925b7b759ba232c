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
from mumu_jax.models.head import Shallow
from mumu_jax.models.registry import Output
from mumu_jax.objectives import Fitted, Objective, make_objective

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
    trainable: str = ""  # as in config.model
    views: tuple[tuple[str, Augmentation], ...] = ()  # by modality, of those that are seen in random views
    compressions: tuple[tuple[str, Compression], ...] = ()  # likewise, of those whose logarithm is seen


def item_network(config: Config, n_labels: int, fitted: Fitted) -> Network:
    """Build the network that sees the items; `fitted` is the objective's, {} if nothing is fitted yet."""
    objective = make_objective(config.target)
    output = Output(objective.n_outputs(n_labels, fitted), objective.unit_output)
    views = (("image", Augmentation(**dataclasses.asdict(config.augment))),)
    views = tuple(view for view in views if view[0] in config.inputs)
    compressions = (("mel", Compression(config.mel.level, config.mel.floor_db)),)
    compressions = tuple(one for one in compressions if one[0] in config.inputs)
    model = family_of(config).build(config.model, output)
    return Network(model, objective, config.model.trainable, views, compressions)


def album_network(config: Config, n_labels: int, fitted: Fitted) -> Network:
    """Build the network that sees the mean feature vectors of albums, as VECTORS (Oramas et al. 2017, section 5.1)."""
    objective = make_objective(config.target)
    return Network(Shallow(objective.n_outputs(n_labels, fitted), objective.unit_output), objective)


def constants_of_vectors(constants: Constants, width: int) -> Constants:
    """Return the album network's constants: it sees vectors as they are (Oramas et al. 2017, section 5.1, step 3)."""
    unchanged = Standardisation(np.zeros(width, np.float32), np.ones(width, np.float32))
    return Constants({VECTORS: unchanged}, constants.fitted)


def see(network: Network, inputs: Inputs, constants: Constants, keys: Keys | None = None) -> Any:
    """Standardise stored inputs (float32) on the device.

    Images are augmented if `keys` is given, else centre-cropped; of mel spectrograms the logarithm is taken first.

    Sparse rows stay as they are, without their zeros they would not be sparse, and so do int32 ids.  Returns the one
    modality's array, or a dict of arrays if there are several.
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


def apply(
    network: Network, variables: Any, inputs: Any
) -> tuple[Float[Array, "items outputs"], Float[Array, "items d"]]:
    """Return the network's output and penultimate vectors for what it sees."""
    output, embedding = cast(tuple[Array, Array], network.model.apply(variables, inputs))
    return output, embedding


def apply_in_training(
    network: Network, variables: Any, inputs: Any, dropout_keys: Keys, mask: Float[Array, " items"], axis: str | None
) -> tuple[Float[Array, "items outputs"], Any]:
    """Return the output and new running statistics, with dropout and the batch's own statistics.

    The batch is the real items, `mask`, on all devices of `axis`.
    """
    members = (Members(mask, axis, network.trainable),) if variables["batch_stats"] else ()
    (output, _), new = network.model.apply(variables, inputs, dropout_keys, *members, mutable=["batch_stats"])
    return output, new.get("batch_stats", {})
