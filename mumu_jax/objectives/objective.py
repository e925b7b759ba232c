"""The interface of an objective, and the registry of objectives by the name that `config.target.kind` gives."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Shaped

from mumu_jax.config import TargetSettings
from mumu_jax.errors import UserError

Fitted = Mapping[str, Any]  # arrays by name, as `Objective.fit` returns them


class Objective(ABC):
    """The meaning of a network's output: its loss against the labels, and its scores for them.

    An objective is static under `jit`: a frozen dataclass whose fields are its settings.  The arrays that `fit`
    returns are kept in the run's folder and passed to the other methods as `fitted`.
    """

    settings: ClassVar[frozenset[str]] = frozenset()  # the fields of TargetSettings that it reads, beside `kind`
    unit_output: ClassVar[bool] = False  # whether the network's output is l2-normalised
    single_label: ClassVar[bool] = False  # whether every item has exactly one label
    meaning: ClassVar[str]  # of its readable scores, in words
    unseen: ClassVar[str] = "no network can learn them"  # what becomes of the labels on no training item, in words
    untargeted: ClassVar[str] = ""  # what becomes of the labels that `has_target` leaves out, in words

    @classmethod
    def from_settings(cls, settings: TargetSettings) -> "Objective":
        """Build the objective from the fields of `settings` that it reads."""
        return cls(**{name: getattr(settings, name) for name in cls.settings})

    def fit(self, labels: Shaped[np.ndarray, "albums labels"]) -> dict[str, Array]:
        """Fit what the targets need on multi-hot training labels.  Raises ValueError if they cannot be used."""
        return {}

    def n_outputs(self, n_labels: int, fitted: Fitted) -> int:
        """Return the width of the output layer; the most that it may be if nothing is fitted yet."""
        return n_labels

    def has_target(self, n_labels: int, fitted: Fitted) -> Bool[np.ndarray, " labels"]:
        """Return which labels some target can express."""
        return np.ones(n_labels, bool)

    @abstractmethod
    def loss(
        self, output: Float[Array, "items outputs"], labels: Shaped[Array, "items labels"], fitted: Fitted
    ) -> tuple[Float[Array, " items"], Float[Array, " items"]]:
        """Return the loss of each item and its weight: 0 for an item without a target, else 1."""

    def scores(self, output: Float[Array, "items outputs"], fitted: Fitted) -> Float[Array, "items labels"]:
        """Return how well each label fits each item; any numbers that rank."""
        return output

    def readable(self, scores: Float[Array | np.ndarray, "items labels"]) -> Float[Array | np.ndarray, "items labels"]:
        """Return scores for people to read, an item's in the same order."""
        return scores

    def of_patches(self, scores: Float[np.ndarray, "items patches labels"]) -> Float[np.ndarray, "items labels"]:
        """Return the scores of items from those of their patches: of the mean of what `readable` makes of them."""
        return scores.mean(axis=1)

    def summed_loss(
        self,
        output: Float[Array, "items outputs"],
        labels: Shaped[Array, "items labels"],
        fitted: Fitted,
        mask: Float[Array, " items"],
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Return the summed loss and the number of items it covers: unpadded items that have a target.

        Sums, because those of several devices add up.  Losses of other items may be anything, NaN included.
        """
        loss, weight = self.loss(output, labels, fitted)
        weight = mask * weight
        return jnp.sum(jnp.where(weight != 0, loss, 0) * weight), weight.sum()


OBJECTIVES: dict[str, type[Objective]] = {}


def register(kind: str, objective: type[Objective]) -> None:
    """Make `objective` the one that `config.target.kind=kind` names."""
    OBJECTIVES[kind] = objective


def make_objective(settings: TargetSettings) -> Objective:
    """Build the objective that `settings` name; raises UserError if none has that name."""
    if settings.kind not in OBJECTIVES:
        known = ", ".join(map(repr, OBJECTIVES))
        raise UserError(f"config.target.kind is {settings.kind!r}; choose one of {known}")
    return OBJECTIVES[settings.kind].from_settings(settings)
