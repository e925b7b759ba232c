"""The check of an experiment's settings before anything is read: which it uses, and if its network can be built."""

from collections.abc import Iterator
from typing import Any

import jax
from flax.traverse_util import flatten_dict

from mumu_jax.compute.network import item_network
from mumu_jax.compute.optim import ALGORITHMS
from mumu_jax.compute.state import abstract_variables, n_values
from mumu_jax.config import Config, OptimSettings, flatten
from mumu_jax.data.modalities import NETWORK_INPUTS
from mumu_jax.data.modalities.inputs import Inputs, level_of, modalities_of
from mumu_jax.errors import UserError
from mumu_jax.models import family_of
from mumu_jax.models.batch_norm import trains
from mumu_jax.models.registry import FAMILIES
from mumu_jax.objectives import OBJECTIVES, make_objective

MUMU_LABELS = 250  # the number of labels that the paper's parameter counts are counted for
LAYERS_SHOWN = 30
EVERY_MODEL = frozenset({"family", "trainable"})


def unused_settings(config: Config) -> dict[str, str]:
    """Return the settings that this experiment does not read, by dotted name, each with what reads it."""
    return dict([*_of_other_modalities(config), *_of_other_models(config), *_of_other_optimizers(config)])


def _of_other_modalities(config: Config) -> Iterator[tuple[str, str]]:
    every = flatten(config)
    sections: dict[str, list[str]] = {}
    for modality in NETWORK_INPUTS.values():
        for section in modality.sections:
            sections.setdefault(section, []).append(modality.name)
        if modality.name not in config.inputs:
            yield from ((name, f"modality {modality.name!r}") for name in modality.own_settings)
    for section, owners in sections.items():
        if not {*owners} & {*config.inputs}:
            said = f"modality {' or '.join(map(repr, owners))}"
            yield from ((name, said) for name in every if name.startswith(f"{section}."))


def _of_other_models(config: Config) -> Iterator[tuple[str, str]]:
    used = family_of(config).settings | EVERY_MODEL
    for name in flatten(config.model):
        if name not in used:
            owners = [family for family, one in FAMILIES.items() if name in one.settings]
            yield f"model.{name}", f"model.family {' or '.join(map(repr, owners))}"
    used = make_objective(config.target).settings | {"kind"}
    for name in flatten(config.target):
        if name not in used:
            owners = [kind for kind, one in OBJECTIVES.items() if name in one.settings]
            yield f"target.{name}", f"target.kind {' or '.join(map(repr, owners))}"


def _of_other_optimizers(config: Config) -> Iterator[tuple[str, str]]:
    yield from _unused_optimizer("optim", config.optim)
    if level_of(config) == "track":
        yield from _unused_optimizer("album_optim", config.album_optim)
    else:
        yield from ((f"album_optim.{name}", "a modality of tracks") for name in flatten(config.album_optim))


def _unused_optimizer(section: str, settings: OptimSettings) -> Iterator[tuple[str, str]]:
    special = frozenset().union(*(one.settings for one in ALGORITHMS.values()))
    for name in sorted(special - ALGORITHMS[settings.algorithm].settings):
        owners = [algorithm for algorithm, one in ALGORITHMS.items() if name in one.settings]
        yield f"{section}.{name}", f"{section}.algorithm {' or '.join(map(repr, owners))}"
    if not settings.decay_epochs:
        yield f"{section}.decay_factor", f"{section}.decay_epochs above 0"


def check_settings(config: Config) -> None:
    """Raise UserError if a name is not registered, or if a setting has a value that this experiment does not read.

    Starts no device: several processes are joined after this.
    """
    modalities_of(config)
    values, defaults = flatten(config), flatten(Config())
    for name, owner in unused_settings(config).items():
        if values[name] != defaults[name]:
            raise UserError(
                f"config.{name}={values[name]!r} has no effect on {config.name or 'this experiment'}: only {owner} "
                "reads it; leave it out"
            )


def check_network(config: Config) -> None:
    """Raise UserError if the network cannot be built for inputs of this size, or if nothing of it would train."""
    try:
        params = _params(config)
    except (TypeError, ValueError, ZeroDivisionError) as error:
        items = Inputs.unfitted(config).item.items()
        shapes = ", ".join(f"{name} {leaf.shape}" for name, item in items for leaf in jax.tree.leaves(item))
        raise UserError(
            f"config.model.family={config.model.family!r} with {_model_settings(config)} cannot see inputs of the "
            f"shape {shapes}: {' '.join(str(error).split())[:200]}; the paper's patches are 322 × 96, and the "
            "published image networks are made for config.augment.size_px=224"
        ) from error
    _check_trainable(config, params)


def count_params(config: Config) -> int:
    """Return the parameters of the items' network for MuMu's labels, without allocating them."""
    return n_values(_params(config))


def _params(config: Config) -> Any:
    inputs = Inputs.unfitted(config)
    return abstract_variables(item_network(config, MUMU_LABELS, {}), inputs.item)["params"]


def _model_settings(config: Config) -> str:
    settings = flatten(config.model)
    return ", ".join(f"{name}={settings[name]!r}" for name in sorted(family_of(config).settings - {"weights"}))


def _check_trainable(config: Config, params: Any) -> None:
    pattern = config.model.trainable
    if not any(trains(pattern, path) for path in flatten_dict(params)):
        names = sorted(params, key=len)[:LAYERS_SHOWN]
        raise UserError(
            f"config.model.trainable={pattern!r} has no match among the paths of the network's parameters; "
            f"its {len(params)} layers are {', '.join(names)}{', …' if len(params) > LAYERS_SHOWN else ''}"
        )
