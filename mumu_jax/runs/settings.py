"""The check of an experiment's settings before anything is read: which it uses, and if its network can be built."""

import contextlib
from collections.abc import Mapping, Set
from dataclasses import replace
from typing import Any

import jax
from flax.traverse_util import flatten_dict

from mumu_jax.compute.network import item_network
from mumu_jax.compute.optim import ALGORITHMS
from mumu_jax.compute.stages import stages_of
from mumu_jax.compute.state import abstract_variables, n_values
from mumu_jax.config import Config, OptimSettings
from mumu_jax.data.modalities import NETWORK_INPUTS
from mumu_jax.data.modalities.inputs import Inputs, level_of, modalities_of
from mumu_jax.data.preparation.census import FOR_FEW_SONGS, LABEL_MORE
from mumu_jax.errors import UserError, reason_of
from mumu_jax.fields import flatten
from mumu_jax.models import family_of
from mumu_jax.models.batch_norm import trains
from mumu_jax.models.head import output_layer
from mumu_jax.models.registry import FAMILIES
from mumu_jax.objectives import OBJECTIVES, make_objective

MUMU_LABELS = 250  # the number of labels that the paper's parameter counts are counted for
LAYERS_SHOWN = 30
SIZE_ERRORS = (TypeError, ValueError, ArithmeticError)  # what layers raise that are larger than their inputs


def unused_settings(config: Config) -> dict[str, str]:
    """Return the settings that this experiment does not read, by dotted name, each with what reads it."""
    unused = _of_other_modalities(config)
    unused |= _of_others("model.family", config.model, family_of(config).settings, FAMILIES)
    unused |= _of_others("target.kind", config.target, make_objective(config.target).settings, OBJECTIVES)
    if config.target.head != "graph":
        unused["target.label_features"] = "config.target.head='graph'"
    elif not config.names_labels:
        unused.pop("target.n_factors", None)
    unused |= _of_joint(config)
    if family_of(config).by_gradient:
        unused |= _of_other_optimizers("optim", config.optim)
    else:
        others = {*flatten(config.optim)} - {"learning_rate", "patience", "batch_size"}
        unused |= {f"optim.{name}": "a network that is trained by gradients" for name in others}
    if level_of(config) == "album":
        unused["model.albums"] = "a modality of tracks"
    if has_album_network(config):
        return unused | _of_other_optimizers("album_optim", config.album_optim)
    reader = "a modality of tracks with config.model.albums='network'"
    return unused | {f"album_optim.{name}": reader for name in flatten(config.album_optim)}


def has_album_network(config: Config) -> bool:
    """Return True if a second network, of albums, is trained: Oramas et al. 2017, section 5.1, step 3."""
    return level_of(config) == "track" and config.model.albums == "network"


def _of_other_modalities(config: Config) -> dict[str, str]:
    unused = {}
    for name in flatten(config):
        section = name.partition(".")[0]
        owners = [one.name for one in NETWORK_INPUTS.values() if section in one.sections or name in one.own_settings]
        if owners and not {*owners} & {*config.inputs}:
            unused[name] = f"modality {' or '.join(map(repr, owners))}"
    return unused


def _of_others(choice: str, settings: Any, read: Set[str], registry: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings that only other entries of a registry read than the chosen ones, which have `read`."""
    unused = {}
    for name in flatten(settings):
        owners = [key for key, one in registry.items() if name in one.settings]
        if owners and name not in read:
            unused[f"{choice.partition('.')[0]}.{name}"] = f"{choice} {' or '.join(map(repr, owners))}"
    return unused


def _of_joint(config: Config) -> dict[str, str]:
    """Return the settings of the attention and the contrastive loss that this joint network does without."""
    joint, reads = config.model.joint, family_of(config).settings
    unused = {}
    if "joint.attention" in reads and not joint.attention:
        unused["model.joint.heads"] = "config.model.joint.attention=True"
    if "joint.contrast" in reads and not joint.contrast:
        unused["model.joint.projection"] = "config.model.joint.contrast above 0"
    return unused


def _of_other_optimizers(section: str, settings: OptimSettings) -> dict[str, str]:
    stages = stages_of(settings, f"config.{section}")
    read = {name for stage in stages for name in ALGORITHMS[stage.algorithm].settings}
    unused = _of_others(f"{section}.algorithm", settings, read, ALGORITHMS)
    return unused if settings.decay_epochs else unused | {f"{section}.decay_factor": f"{section}.decay_epochs above 0"}


def check_settings(config: Config) -> None:
    """Raise UserError if a name is not registered, or if a setting has a value that this experiment does not read.

    Starts no device: several processes are joined after this.
    """
    modalities_of(config)
    _check_target(config)
    reads_tokens = "bert.n_tokens" in family_of(config).settings and "lyrics" in config.inputs
    if reads_tokens and config.tokens.n_terms > config.model.bert.n_tokens:
        raise UserError(
            f"config.tokens.n_terms={config.tokens.n_terms} is more than config.model.bert.n_tokens="
            f"{config.model.bert.n_tokens}, which the encoder has vectors for; make them equal"
        )
    values, defaults = flatten(config), flatten(Config())
    for name, owner in unused_settings(config).items():
        if values[name] != defaults[name]:
            raise UserError(
                f"config.{name}={values[name]!r} has no effect on {config.name or 'this experiment'}: only {owner} "
                "reads it; leave it out"
            )


def _check_target(config: Config) -> None:
    """Raise UserError if a graph head or a contrastive loss does not fit the objective or the family."""
    family, of_factors = family_of(config), make_objective(config.target).unit_output
    if config.target.head == "graph" and of_factors:
        raise UserError(
            f"config.target.head='graph' makes a score for each genre, and config.target.kind={config.target.kind!r} "
            "predicts label factors; choose 'logistic', 'softmax' or 'shares'"
        )
    if config.target.head == "graph" and not family.by_gradient:
        raise UserError(
            f"config.target.head='graph' is trained by gradients, and config.model.family={config.model.family!r} is "
            "not; choose config.target.head='dense'"
        )
    if config.target.label_features == "names" and not (
        "lyrics" in config.inputs and config.model.weights and config.tokens.vocabulary
    ):
        raise UserError(
            "config.target.label_features='names' needs a network of lyrics with a published BERT: give "
            "config.model.weights and config.tokens.vocabulary, or choose 'factors'"
        )
    if of_factors and "joint.contrast" in family.settings and config.model.joint.contrast:
        raise UserError(
            f"config.model.joint.contrast={config.model.joint.contrast:g} needs a target for every item, which "
            f"config.target.kind={config.target.kind!r} does not have; set it to 0, or choose 'logistic'"
        )


def check_network(config: Config) -> None:
    """Raise UserError if the network cannot be built for inputs of this size, or if nothing of it would train."""
    try:
        params = _params(config)
    except SIZE_ERRORS as error:
        _explain(config, error)
        raise
    if config.model.albums == "mean" and set(output_layer(params)) not in ({"dense"}, {"labels"}):
        raise UserError(
            f"config.model.albums='mean' needs a network that ends in `Shallow` of models/head.py, and "
            f"config.model.family={config.model.family!r} does not; use 'network'"
        )
    if not family_of(config).by_gradient and level_of(config) == "track" and config.model.albums != "mean":
        raise UserError(
            f"config.model.albums={config.model.albums!r} trains a network on the mean vectors of albums, and "
            f"config.model.family={config.model.family!r} has no such vectors; use 'mean'"
        )
    if not any(trains(config.model.trained, path) for path in flatten_dict(params)):
        names = sorted(params, key=len)[:LAYERS_SHOWN]
        raise UserError(
            f"config.model.trainable={config.model.trainable!r} has no match among the paths of the network's "
            f"parameters; its {len(params)} layers are {', '.join(names)}{', …' if len(params) > LAYERS_SHOWN else ''}"
        )


def _explain(config: Config, error: Exception) -> None:
    """Raise UserError if the size of the inputs is what a network could not be built for: it can for the usual size."""
    sections = {section for modality in modalities_of(config).values() for section in modality.sections}
    usual = replace(config, **{section: getattr(Config(), section) for section in sections})
    with contextlib.suppress(*SIZE_ERRORS):
        _params(usual)
        before = flatten(usual)
        changes = [f"config.{name}={value!r}" for name, value in flatten(config).items() if value != before[name]]
        settings = flatten(config.model)
        said = ", ".join(f"{name}={settings[name]!r}" for name in sorted(family_of(config).settings - {"weights"}))
        raise UserError(
            f"config.model.family={config.model.family!r} with {said} cannot see inputs of the shape {_shapes(config)} "
            f"({reason_of(error)}), and can see {_shapes(usual)}; change {', '.join(changes)}, or choose another "
            "network"
        ) from error


def _shapes(config: Config) -> str:
    """Name the shapes of an item's inputs."""
    items = Inputs.unfitted(config).item.items()
    return ", ".join(f"{name} {leaf.shape}" for name, item in items for leaf in jax.tree.leaves(item))


def remedy_of_few(config: Config) -> str:
    """Return what to do if there are too few albums for an experiment, in words."""
    is_the_papers = config.inputs == ("audio",) and config.model.pooling == "flatten"
    return f"{LABEL_MORE}, or {FOR_FEW_SONGS}" if is_the_papers else LABEL_MORE


def count_params(config: Config) -> int:
    """Return the parameters of the items' network for MuMu's labels, without allocating them."""
    return n_values(_params(config))


def _params(config: Config) -> Any:
    inputs = Inputs.unfitted(config)
    return abstract_variables(item_network(config, MUMU_LABELS, {}), inputs.item)["params"]
