"""The weights that a run's first network starts from: published ones, or random."""

import dataclasses
import sys
from pathlib import Path

import jax
from flax.traverse_util import flatten_dict
from jax.sharding import Mesh

from mumu_jax.compute import devices
from mumu_jax.compute.network import Network
from mumu_jax.compute.state import TrainState, abstract_variables
from mumu_jax.config import FAMILIES, Config, ModelSettings
from mumu_jax.errors import UserError
from mumu_jax.models.pretrained import HEAD, NETWORKS, adopt, name_of, published_name
from mumu_jax.models.trainable import trains
from mumu_jax.runs.inputs import item_of
from mumu_jax.system.processes import is_main
from mumu_jax.training.weights import Pretrained, load_pretrained


def start(state: TrainState, settings: ModelSettings, source: dict[str, str] | None, mesh: Mesh) -> TrainState:
    """The initial `state` with the weights that `settings` name, if they name any; says which a network starts from.

    Raises UserError unless these come from `source`, as they did when `check` saw them.
    """
    if not settings.weights:
        if is_main() and settings.family in FAMILIES["image"]:
            hint = "; --config.model.weights=FILE names published ones" if name_of(settings) in NETWORKS else ""
            print(f"starting from random weights{hint}", file=sys.stderr)
        return state
    pretrained = load_for(settings)
    if pretrained.about != source:
        raise UserError(
            f"config.model.weights={settings.weights} is another file than the run was begun with; "
            "put that one back, or use another --workdir"
        )
    variables, with_head = adopt(jax.device_get(state.variables), pretrained.variables)
    variables = devices.put_replicated(variables, mesh)
    if is_main():
        name, sha256 = pretrained.about["source"], pretrained.about["sha256"]
        head = "its last layer included" if with_head else "with a last layer of random weights"
        print(f"starting from {name} (SHA-256 {sha256[:8]}…), {head}", file=sys.stderr)
    return dataclasses.replace(state, params=variables["params"], batch_stats=variables.get("batch_stats", {}))


def check(config: Config, network: Network) -> dict[str, str] | None:
    """Where the weights come from that `config` names, None if none.  Raises UserError unless they fit the network."""
    if not config.model.weights:
        return None
    pretrained = load_for(config.model)
    adopt(abstract_variables(network, item_of(config)), pretrained.variables)
    return pretrained.about


def say_what_trains(config: Config, network: Network) -> None:
    """On the terminal, where it is not all; above all where a last layer of random weights does not."""
    if not (config.model.trainable and is_main()):
        return
    paths = list(flatten_dict(abstract_variables(network, item_of(config))["params"]))
    kept = [path for path in paths if not trains(config.model.trainable, path)]
    what = ", and the last layer (output) is among those that do not" if HEAD[1:] in {path[:2] for path in kept} else ""
    print(f"{len(paths) - len(kept)} of {len(paths)} parameter arrays train{what}", file=sys.stderr)


def load_for(settings: ModelSettings) -> Pretrained:
    """The weights that `settings` name.  Raises UserError where they are of another network, or cannot be read."""
    name = published_name(settings)
    if not Path(settings.weights).is_file():
        raise UserError(
            f"config.model.weights={settings.weights} is no file; name one that scripts/convert_weights.py wrote"
        )
    found = load_pretrained(Path(settings.weights))
    if found.model != name:
        raise UserError(
            f"config.model.weights={settings.weights} is of {found.model}, and the network is {name}; "
            f"convert the weights of {name} (scripts/convert_weights.py), or choose another network"
        )
    return found
