"""The registry of model families, by the name that `config.model.family` gives."""

from collections.abc import Callable, Collection
from typing import NamedTuple

from flax import linen as nn

from mumu_jax.config import ModelSettings


class Output(NamedTuple):
    """The output layer that an objective needs."""

    size: int
    unit: bool  # l2-normalised


Builder = Callable[[ModelSettings, Output], nn.Module]


class Family(NamedTuple):
    """A family of networks: its builder, the modalities that it may see, and the fields of ModelSettings it reads."""

    build: Builder
    sees: frozenset[str]
    settings: frozenset[str]


FAMILIES: dict[str, Family] = {}


def register(name: str, sees: Collection[str], settings: Collection[str]) -> Callable[[Builder], Builder]:
    """Register the decorated builder as `config.model.family=name`.

    `sees` holds values of `config.modality`, each a modality or several joined by "+".  A network of one modality is
    called with its array, a network of several with a dict of arrays by modality.
    """

    def add(build: Builder) -> Builder:
        FAMILIES[name] = Family(build, frozenset(sees), frozenset(settings))
        return build

    return add
