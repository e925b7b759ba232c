"""A network as the step runs it: what it sees of an item, and what it makes of that."""

import dataclasses
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from mumu_jax.batch import Sparse
from mumu_jax.compute.augment import Augmentation, augment, centre_view
from mumu_jax.config import Config
from mumu_jax.models import build_item_network
from mumu_jax.models.batch_norm import Members
from mumu_jax.objectives.objective import Constants

Keys = Key[Array, " items"]


class Network(NamedTuple):
    """What turns variables (parameters and running statistics) into predictions; static under `jit`."""

    model: nn.Module
    kind: str  # of target: cosine, logistic or softmax
    trainable: str = ""  # as in config.model
    augmentation: Augmentation | None = None  # of networks that see images


def item_network(config: Config, n_outputs: int, n_terms: int | None = None) -> Network:
    """The network that sees the items; `n_outputs` and `n_terms` as in `models.build_item_network`."""
    images = config.modality == "image"
    augmentation = Augmentation(**dataclasses.asdict(config.augment)) if images else None
    model = build_item_network(config, n_outputs, n_terms)
    return Network(model, config.target.kind, config.model.trainable, augmentation)


def see(network: Network, inputs: Any, constants: Constants, keys: Keys | None = None) -> Any:
    """What the network sees of items as they are stored: zero mean and unit variance at each position, float32.

    Of an image a random view, where there is a key an item, else its centre.  The cast is here, on the device.  Sparse
    rows stay as they are: without their zeros they would not be sparse.
    """
    if isinstance(inputs, Sparse):
        return inputs
    how = network.augmentation
    if how is not None:
        inputs = centre_view(inputs, how.size_px) if keys is None else augment(inputs, keys, how)
    return (inputs.astype(jnp.float32) - constants.mean) / constants.std


def example_of(network: Network, item: Any) -> Any:
    """What the network sees of one item [1, …] that is all zero; `item` is a tree of `jax.ShapeDtypeStruct`."""
    zeros = jax.tree.map(lambda leaf: jnp.zeros((1, *leaf.shape), leaf.dtype), item)
    return see(network, zeros, Constants(jnp.zeros(()), jnp.ones(()), None))


def apply(
    network: Network, variables: Any, inputs: Any
) -> tuple[Float[Array, "items outputs"], Float[Array, "items d"]]:
    """The network's (output, penultimate vectors) for what it sees."""
    output, embedding = cast(tuple[Array, Array], network.model.apply(variables, inputs))
    return output, embedding


def apply_in_training(
    network: Network, variables: Any, inputs: Any, dropout_keys: Keys, mask: Float[Array, " items"], axis: str | None
) -> tuple[Float[Array, "items outputs"], Any]:
    """(output, new running statistics): with dropout, and normalised by the statistics of the batch itself.

    The batch is the real items, `mask`, on all devices of `axis`.
    """
    given = (Members(mask, axis, network.trainable),) if variables["batch_stats"] else ()
    (output, _), new = network.model.apply(variables, inputs, dropout_keys, *given, mutable=["batch_stats"])
    return output, new.get("batch_stats", {})
