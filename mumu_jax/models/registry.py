"""The registry of model families, by the name that `config.model.family` gives."""

from collections.abc import Callable, Collection
from functools import partial
from typing import Any, NamedTuple, TypeVar

from flax import linen as nn

from mumu_jax.config import ModelSettings
from mumu_jax.models.kernels.precision import compute_dtype


class Output(NamedTuple):
    """The output layer that an objective needs."""

    size: int
    unit: bool  # l2-normalised


Builder = Callable[[ModelSettings, Output], nn.Module]


class Family(NamedTuple):
    """A family of networks: its builder, the modalities that it may see, and the fields of ModelSettings it reads.

    `by_gradient` is False if it is not trained by steps of an optimizer.
    """

    build: Builder
    sees: frozenset[str]
    settings: frozenset[str]
    by_gradient: bool = True


FAMILIES: dict[str, Family] = {}
Registered = TypeVar("Registered", bound=Builder | type[nn.Module])


def register(
    name: str, sees: Collection[str], settings: Collection[str], by_gradient: bool = True
) -> Callable[[Registered], Registered]:
    """Register the decorated builder, or the network that `fields_of` suffice for, as `config.model.family=name`.

    `sees` holds values of `config.modality`, each a modality or several joined by "+".  A network of one modality is
    called with its array, a network of several with a dict of arrays by modality.
    """

    def add(network: Registered) -> Registered:
        build: Any = network
        if isinstance(build, type):
            build = partial(_build, build)
        FAMILIES[name] = Family(build, frozenset(sees), frozenset(settings), by_gradient)
        return network

    return add


def fields_of(settings: ModelSettings, output: Output) -> dict[str, Any]:
    """Return the fields that most networks have in common."""
    return {
        "n_outputs": output.size,
        "unit_output": output.unit,
        "dropout": settings.dropout,
        "dtype": compute_dtype(settings.precision),
    }


def _build(network: type[nn.Module], settings: ModelSettings, output: Output) -> nn.Module:
    return network(**fields_of(settings, output))
