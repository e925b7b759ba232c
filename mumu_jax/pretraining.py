"""The weights that a run's first network starts from: published ones, or random."""

import dataclasses
import sys
from pathlib import Path

import jax
import optax
from jax.sharding import Mesh

from mumu_jax import parallel
from mumu_jax.config import Config, ModelSettings
from mumu_jax.data.weights import Pretrained, load_pretrained
from mumu_jax.distributed import is_main
from mumu_jax.errors import UserError
from mumu_jax.inputs import item_of
from mumu_jax.models.pretrained import adopt, published_name
from mumu_jax.network import Network
from mumu_jax.state import TrainState, create_state

WITHOUT_PUBLISHED = ("cnn", "mlp", "shallow")  # families


def start(state: TrainState, settings: ModelSettings, source: dict[str, str] | None, mesh: Mesh) -> TrainState:
    """The initial `state` with the weights that `settings` name, if they name any; says which a network starts from.

    Raises UserError unless these come from `source`, as they did when `check` saw them.
    """
    if not settings.weights:
        if is_main() and settings.family not in WITHOUT_PUBLISHED:
            print("starting from random weights; --config.model.weights=FILE names published ones", file=sys.stderr)
        return state
    pretrained = load_for(settings)
    if pretrained.about != source:
        raise UserError(
            f"config.model.weights={settings.weights} is another file than the run was begun with; "
            "put that one back, or use another --workdir"
        )
    variables, with_head = adopt(jax.device_get(state.variables), pretrained.variables)
    variables = parallel.put_replicated(variables, mesh)
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
    state = jax.eval_shape(lambda: create_state(network, optax.identity(), item_of(config), seed=0))
    adopt(state.variables, pretrained.variables)
    return pretrained.about


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
